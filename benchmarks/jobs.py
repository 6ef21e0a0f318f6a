"""What a job costs besides its steps: train and evaluate of a one-step cell."""

import itertools
from pathlib import Path

from measure import Cost, interleaved, least
from table import Table, ratio
from workspace import Workspace, workspace

from seqgrid import plan, study

STUDY = """
question: what does a job cost?
models: {{gru: {{settings: {{d_model: 8, num_layers: 1}}}}}}
tasks: {{adding_problem: }}
lengths: [8]
seeds: 0..{last}
training: {{steps: 1, batch_size: 4}}
validation: {{every_steps: 1, examples: 4}}
evaluation: {{examples: 4}}
"""


def run(quick: bool) -> list[Table]:
    """Processor seconds of a job, with all of its processes."""
    rounds = 1 if quick else 7
    with workspace() as place:
        place.study("jobs", STUDY.format(last=rounds - 1))
        with place.inside():
            loaded, rows = study.load("jobs")
            plan.prepare(plan.plan(rows, Path("results")), "jobs", loaded, Path("results"))
        folders = [f"results/cells/{row.cell.path}" for row in rows]
        train, evaluate = itertools.cycle(folders), itertools.cycle(folders)
        rivals = {
            'python -c "import torch"': lambda: place.python("-c", "import torch"),
            "train": lambda: place.python("-m", "seqgrid.train", next(train)),
            "evaluate": lambda: _evaluate(place, next(evaluate)),
        }
        found = interleaved(rivals, rounds)
    table = Table("A job of one step", ["command", "processor s", "to importing torch"])
    rival = least(found['python -c "import torch"'])
    for name, costs in found.items():
        table.add(f"`{name}`", f"{least(costs):.2f}", ratio(least(costs), rival))
    table.notes = [
        'Rival: `python -c "import torch"`. Least processor time of '
        f"{rounds} interleaved rounds, supervisor",
        "and training process together.",
    ]
    return [table]


def _evaluate(place: Workspace, folder: str) -> Cost:
    return place.python("-m", "seqgrid.evaluate", f"{folder}/part1", "--as", "L8-n4")
