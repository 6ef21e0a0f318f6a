"""What it takes to start: processes that should not have to import torch or pandas."""

from pathlib import Path

from measure import Cost, interleaved, least
from table import Table, ratio
from workspace import Workspace, workspace

from seqgrid import plan, study

HEAVY = ("torch", "pandas", "pyarrow", "numpy")
STUDY = """
question: how long does starting take?
models: {gru: {settings: {d_model: 8, num_layers: 1}}}
tasks: {adding_problem: }
lengths: [8]
seeds: [0]
training: {steps: 1, batch_size: 4}
validation: {every_steps: 1, examples: 4}
evaluation: {examples: 4}
"""
BARE = """
rule all:
    input: "done"

rule only:
    output: "done"
    shell: "touch done"
"""
# Runs a module as `python -m` does and tells what it imported.
PROBE = """
import runpy, sys
sys.argv = {arguments}
try:
    runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code, end.code
print("imported:", *[name for name in {heavy} if name in sys.modules])
"""


def run(quick: bool) -> list[Table]:
    """Processor seconds of each start, and what it imported."""
    rounds = 1 if quick else 7
    table = Table("Start-up", ["command", "processor s", "to `pass`", "imported"])
    with workspace() as place:
        place.study("startup", STUDY)
        (place.folder / "bare.smk").write_text(BARE)
        run_folder = _trained(place)
        modules = {
            "python -m seqgrid.status": ["seqgrid.status", "quickstart"],
            "python -m seqgrid.train, published again": ["seqgrid.train", run_folder],
            "snakemake -n, one cell": ["snakemake", "-n", "--config", "study=startup"],
            "snakemake -n, bare Snakefile": [
                "snakemake", "-s", "bare.smk", "-n", "--cores", "1", "--workflow-profile", "none"
            ],
        }  # fmt: skip
        rivals = {
            'python -c "pass"': lambda: place.python("-c", "pass"),
            'python -c "import torch"': lambda: place.python("-c", "import torch"),
        }
        for name, arguments in modules.items():
            rivals[name] = lambda arguments=arguments: _started(place, run_folder, arguments)
        found = interleaved(rivals, rounds)
        imported = {name: _imported(place, run_folder, a) for name, a in modules.items()}
    rival = least(found['python -c "pass"'])
    for name, costs in found.items():
        seconds = least(costs)
        table.add(f"`{name}`", f"{seconds:.3f}", ratio(seconds, rival), imported.get(name, ""))
    table.notes = [
        f'Rival: `python -c "pass"`. Least processor time of {rounds} interleaved rounds.',
        f"Imported: which of {', '.join(HEAVY)} were in sys.modules at the end.",
        "Target: neither torch nor pandas.",
    ]
    return [table]


def _trained(place: Workspace) -> str:
    """Train the only cell; returns its folder."""
    with place.inside():
        loaded, rows = study.load("startup")
        plan.prepare(plan.plan(rows, Path("results")), "startup", loaded, Path("results"))
    folder = f"results/cells/{rows[0].cell.path}"
    place.python("-m", "seqgrid.train", folder)
    return folder


def _take_away(place: Workspace, run_folder: str) -> None:
    """Delete a declared output, so that there is something to publish again."""
    (place.folder / run_folder / "part1/outcome.json").unlink()


def _started(place: Workspace, run_folder: str, arguments: list[str]) -> Cost:
    if arguments[0] == "seqgrid.train":
        _take_away(place, run_folder)
    return place.python("-m", *arguments)


def _imported(place: Workspace, run_folder: str, arguments: list[str]) -> str:
    if arguments[0] == "seqgrid.train":
        _take_away(place, run_folder)
    code = PROBE.format(arguments=arguments, module=arguments[0], heavy=HEAVY)
    output = place.python("-c", code).output
    line = next(line for line in output.splitlines() if line.startswith("imported:"))
    return line.removeprefix("imported:").strip().replace(" ", ", ") or "none"
