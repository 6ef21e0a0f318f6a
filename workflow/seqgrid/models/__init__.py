"""One file a model: `models/gru.py` is the model `gru`. Files with a leading underscore are shared."""
