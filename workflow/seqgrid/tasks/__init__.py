"""One file a task: `tasks/mqar.py` is `mqar`. Files with a leading underscore are shared."""
