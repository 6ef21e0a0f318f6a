"""What scores mean on a task at one length, from its file: for cells without an evaluation."""

from dataclasses import asdict
from typing import Any

from seqgrid import registry
from seqgrid.cell import Cell
from seqgrid.job import say


def at_training_length(cell: Cell) -> list[dict[str, Any]]:
    """Levels of the task at the cell's training length, as an evaluation there writes them.

    None where the task's file fails: a report is no place to mend it.
    """
    try:
        task = registry.make_task(cell.task, cell.task_settings, cell.seqlen)
        own = {"evaluated_seqlen_tokens": cell.seqlen}
        return [
            own | asdict(level) | {"test_set": name}
            for name, tested in task.tested(cell.seqlen).items()
            for level in tested.levels()
        ]
    except Exception as error:
        say(f"{cell.path}: levels of tasks/{cell.task}.py: {type(error).__name__}: {error}")
        return []
