"""One file a task: `tasks/mqar.py` is the task `mqar`. Files with a leading underscore are shared."""
