"""One file a model: `models/gru.py` is `gru`. Files with a leading underscore are shared."""
