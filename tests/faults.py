"""The fault table: what is done to a run, what its user sees, what is lost, what happens next.

The tests assert these rows, and `docs/generate.py` prints them as docs/faults.md. In `sees`, …
stands for any text; the rest must stand in one line of what the user sees.
"""

import re
from dataclasses import dataclass
from typing import Literal

INTERVAL = "what was trained since the last checkpoint: `checkpoint_seconds` at most"
NOTHING = "nothing"


@dataclass(frozen=True)
class Fault:
    """One row."""

    key: str
    done: str
    sees: str
    lost: str
    then: str
    how: str = "real trainer"  # what the test runs
    where: Literal["process", "slurm"] = "process"

    @property
    def pattern(self) -> str:
        """The line the user sees, as a regular expression."""
        return ".*".join(map(re.escape, self.sees.split("…")))

    def assert_seen(self, text: str) -> None:
        """That the line stands in a text, and no traceback beside it."""
        assert re.search(self.pattern, text), f"{self.key}: no line '{self.sees}' in:\n{text}"
        assert "Traceback" not in text, text


_GOES_ON = "`resume` makes the next part from there"
_SIGNALS = [
    Fault(
        key=name,
        done=f"{name} to the trainer at a random moment",
        sees=f"interrupted, {name} at step … of …",
        lost=NOTHING,
        then=_GOES_ON,
    )
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2")
]
_KILLS = [
    Fault(
        key="kill training",
        done="SIGKILL to the training process at a random moment",
        sees="the training process ended with signal 9 (SIGKILL); starting it again",
        lost=INTERVAL,
        then="its supervisor starts it again at once",
    ),
    Fault(
        key="kill everything",
        done="SIGKILL to the trainer with all its processes at a random moment",
        sees="goes on from …/live/step…pt",
        lost=INTERVAL,
        then="the next run goes on within the same part",
    ),
    Fault(
        key="kill in write",
        done="SIGKILL inside the write of a checkpoint",
        sees="goes on from …/live/step…pt",
        lost="the checkpoint being written; the one before stands",
        then="the next run goes on from the one before, and clears away the torn file",
    ),
    Fault(
        key="kill supervisor",
        done="SIGKILL to the supervisor alone",
        sees="published again, nothing to train",
        lost=NOTHING,
        then="the kernel stops the training process, which saves; the next run publishes that",
    ),
]
_LEASES = [
    Fault(
        key="frozen",
        done="a trainer freezes (SIGSTOP, suspended, cut off) where locks do not travel, "
        "is replaced, and wakes up",
        sees="this process lost the lease while it was silent, process … holds it; it stops here",
        lost="the frozen trainer's steps since its last checkpoint",
        then="the new trainer goes on; the old one writes nothing more and exits 75",
        how="real trainers; their flock answers 'no locks available'",
    ),
    Fault(
        key="dead holder",
        done="a trainer dies elsewhere without giving its lease back",
        sees="taken over from process …: its heartbeat was silent for … s",
        lost=INTERVAL,
        then="the next trainer watches for 30 s, takes the cell over and states its proof",
        how="real trainers; their flock answers 'no locks available'",
    ),
    Fault(
        key="left over",
        done="a trainer outlives what started it, as after a cancelled job",
        sees="held by process …: left over, what started it is gone; to end it: kill …",
        lost=NOTHING,
        then="the next trainer waits for 60 s and publishes what the other one made; "
        "where that takes longer it exits 75 and names the leftover",
    ),
    Fault(
        key="two trainers",
        done="a second trainer of the same cell, as from two drivers on one results folder",
        sees="held by process …; waiting up to … s for its end",
        lost=NOTHING,
        then="it waits for 60 s, publishes what the first one made and exits 0; else 75",
    ),
]
_SNAKEMAKE = "Snakemake in a copy of the project"
_DRIVERS = [
    Fault(
        key="kill driver",
        done="SIGKILL to Snakemake alone, which is started again; its trainers go on",
        sees="unlocked: the Snakemake that held the lock is gone (process … on …)",
        lost=NOTHING,
        then="the trainers end and store what they made; the next run removes the lock, waits "
        "for them, publishes that and goes on",
        how=_SNAKEMAKE,
    ),
    Fault(
        key="kill whole run",
        done="SIGKILL to Snakemake and all its trainers, as after a power cut",
        sees="goes on from gru/…",
        lost=INTERVAL,
        then="the next run removes the lock and goes on within the same parts",
        how=_SNAKEMAKE,
    ),
    Fault(
        key="lock without proof",
        done="the lock of a Snakemake that may live: on another host, or without a record",
        sees="…can be removed with the --unlock argument.",
        lost=NOTHING,
        then="nothing, until that one ends or `snakemake --unlock` says that it is gone",
        how=_SNAKEMAKE,
    ),
    Fault(
        key="two drivers",
        done="two Snakemakes on one results folder, from two clones",
        sees="held by process …; waiting up to 60 s for its end",
        lost=NOTHING,
        then="each cell is trained once and both end well; where a cell takes longer than 60 s, "
        "the second driver's job exits 75 and its next run finds the result",
        how=_SNAKEMAKE,
    ),
]
_TMPFS = "real trainer on a tmpfs of a few MB"
_FULL = "cannot write results (…No space left on device…); nothing is lost, try again"
_DISK = [
    Fault(
        key="full at checkpoint",
        done="no space left while a checkpoint is written",
        sees="no checkpoint at step … (…No space left on device…); training goes on",
        lost=NOTHING + ", unless it is killed before there is space again",
        then="the next checkpoint is tried in its turn",
        how=_TMPFS,
    ),
    Fault(
        key="full at end",
        done="no space left for the last checkpoint of a part, or when a trainer starts",
        sees=_FULL,
        lost=INTERVAL,
        then="exit 75; the next run goes on from the last checkpoint",
        how=_TMPFS,
    ),
    *(
        Fault(
            key=f"full at {file}",
            done=f"no space left for the {file} at the end of a part",
            sees=_FULL,
            lost=NOTHING + ": the last checkpoint was saved before",
            then="exit 75; the next run writes the end, and trains nothing",
            how=_TMPFS,
        )
        for file in ("history", "outcome")
    ),
    Fault(
        key="read-only",
        done="the results folder is read-only",
        sees="cannot write results (…Read-only file system…); nothing is lost, try again",
        lost=NOTHING,
        then="exit 75; the next run trains",
        how="real trainer on a read-only mount",
    ),
    Fault(
        key="read-only driver",
        done="the results folder is read-only when a run starts",
        sees="results…: Read-only file system; nothing was started",
        lost=NOTHING,
        then="Snakemake ends; the next run starts",
        how="Snakemake on a read-only mount",
    ),
]
_RECORDED = "corrupt: …: {file} …recorded…"
_DAMAGES = {
    "truncated": {"outcome": "corrupt: …: outcome.json: Invalid JSON: EOF while parsing …"},
    "empty": {"outcome": "corrupt: …: outcome.json: Invalid JSON: EOF while parsing …"},
    "bit-flipped": {"outcome": "corrupt: …: outcome.json does not have the content it was …"},
    "foreign": {"outcome": "corrupt: …: outcome.json belongs to …"},
    "future-version": {
        "outcome": "corrupt: …: outcome.json: made by a newer seqgrid (schema 2, this one reads 1)",
    },
}
_NAMES = {
    "checkpoint": "checkpoint.pt", "history": "history.parquet", "outcome": "outcome.json"
}  # fmt: skip
_FILES = [
    Fault(
        key=f"{damage} {kind}",
        done=f"{damage} {name} of a part",
        sees=lines.get(kind, _RECORDED.format(file=name)),
        lost=NOTHING
        if (damage, kind) == ("future-version", "outcome")
        else "what was trained since the older of the two last checkpoints"
        if kind == "checkpoint"
        else NOTHING,
        then="nothing until `rerun=corrupt`: the newer version can go on with it"
        if (damage, kind) == ("future-version", "outcome")
        else "`resume` makes the next part from the newest good checkpoint",
        how="real status view, plan and trainer",
    )
    for damage, lines in _DAMAGES.items()
    for kind, name in _NAMES.items()
]
_ROLLING = [
    Fault(
        key="foreign state",
        done="another cell's checkpoint among those a trainer goes on from",
        sees="step….pt belongs to gru/adding_problem/L9/…; passed over",
        lost=NOTHING,
        then="it goes on from the newest of its own",
    ),
    Fault(
        key="future-version state",
        done="a checkpoint of a later format among those a trainer goes on from",
        sees="step….pt was made by a newer seqgrid (format 2, this one reads 1); go on with …",
        lost=NOTHING,
        then="exit 2, whenever it is tried; the newer version goes on",
    ),
    Fault(
        key="damaged state",
        done="the newest checkpoint is truncated, emptied or bit-flipped while nobody trains",
        sees="goes on from …/live/step….pt",
        lost="what was trained since the older of the two last checkpoints",
        then="it goes on from the older one",
    ),
    Fault(
        key="pickle with code",
        done="a checkpoint (a pickle) that runs code when it is read",
        sees="step….pt asks to run code, which is refused; passed over",
        lost=NOTHING,
        then="it goes on from the newest that does not; the code has not run",
    ),
    Fault(
        key="YAML with code",
        done="a study that runs code when it is read",
        sees="config/studies/small.yaml: line …: could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/object/apply:os.system'",
        lost=NOTHING,
        then="Snakemake ends; the code has not run",
        how=_SNAKEMAKE,
    ),
]
_PLACES = [
    Fault(
        key="clock back a day",
        done="the clock jumps back a day during a training, or between two runs",
        sees="finished, budget of … steps",
        lost=NOTHING,
        then="it goes on; only the dates in `outcome.json` show it",
        how="real trainer and Snakemake under libfaketime",
    ),
    Fault(
        key="moved",
        done="the results folder is moved between two parts",
        sees="goes on from gru/adding_problem/…",
        lost=NOTHING,
        then="`resume` goes on where the folder is now",
        how="real plan and trainer",
    ),
    Fault(
        key="long path",
        done="the project lies at a path of more than 300 characters",
        sees="finished, budget of … steps",
        lost=NOTHING,
        then="it goes on",
        how=_SNAKEMAKE,
    ),
]
_MODELS = [
    Fault(
        key="NaN",
        done="the loss becomes NaN",
        sees="diverged, the training loss was not finite by step …",
        lost=NOTHING + ": the best weights until then are kept and evaluated",
        then="`evaluate`; the other cells go on",
    ),
    Fault(
        key="exception",
        done="the model raises an exception",
        sees="failed, KeyError: 'no such gate' …",
        lost="what was trained since the last checkpoint, which is evaluated",
        then="`evaluate`; the other cells go on; `rerun=failed` goes on from the checkpoint",
    ),
    Fault(
        key="three deaths",
        done="the training process dies three times in a row without a step of progress",
        sees="killed, died 3 times at step … without progress (the training's own: 3); "
        "last: process … ended signal 9 (SIGKILL)…",
        lost=INTERVAL,
        then="`evaluate` of the last checkpoint; `rerun=killed` goes on from it",
    ),
]
# Rows about a cluster are in faults_slurm.py.
ROWS = [*_SIGNALS, *_KILLS, *_LEASES, *_DRIVERS, *_DISK, *_FILES, *_ROLLING, *_PLACES, *_MODELS]
FAULTS = {row.key: row for row in ROWS}
