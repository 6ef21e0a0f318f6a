"""Synthetic study tables: cells of every kind, without training anything."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from seqgrid import tables
from seqgrid.report.reading import INPUTS

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PROVENANCE = {
    "source_digest": "d1",
    "git_commit": "a" * 40,
    "git_dirty": False,
    "versions": json.dumps({"python": "3.12.1", "torch": "2.13.0"}),
    "host": "node1",
    "device": "cpu",
    "dtype": "float32",
    "backend": json.dumps({"scan": "chunked"}),
    "threads": 1,
    "job_id": None,
}


def _ceiling(given):
    if given is None:
        return {}
    name, value = given
    words = "knowing this much"
    columns = {"": value, "_name": name, "_derivation": words}
    return {f"model_ceiling{column}": said for column, said in columns.items()}


class Tables:
    """Collects rows; `read()` gives the five Arrow tables, `write(folder)` puts them on disk."""

    def __init__(self, **about):
        self.rows = {name: [] for name in INPUTS}
        self.about = {"name": "synthetic", "question": "Which models learn which tasks?"} | about

    def levels(
        self,
        task,
        seqlens,
        metric="accuracy",
        better="higher",
        shortcuts=None,
        test_set="",
        part="",
        **kinds,
    ):
        """Level rows: `chance=`, `ceiling=`, `solved=` and named shortcuts at each length."""
        named = [(kind, kind, value) for kind, value in kinds.items()]
        named += [(name, "shortcut", value) for name, value in (shortcuts or {}).items()]
        for seqlen in seqlens:
            for level, kind, value in named:
                self.rows["levels"].append(
                    {
                        "task": task,
                        "evaluated_seqlen_tokens": seqlen,
                        "test_set": test_set,
                        "slice": part,
                        "metric": metric,
                        "better": better,
                        "level": level,
                        "kind": kind,
                        "value": value,
                        "derivation": "given",
                    }
                )
        return self

    def cell(
        self,
        model,
        task,
        seqlen,
        seed,
        value=None,
        *,
        outcome="finished",
        variant="",
        metric="accuracy",
        half=0.01,
        last=None,
        curve=None,
        elsewhere=None,
        reason=None,
        error=None,
        died=None,
        model_ceiling=None,
        origin="test",
        **columns,
    ):
        """One cell; `value` is its test score, `curve` its validations.

        model_ceiling: (name, the best that the model can score).

        elsewhere: {length, or (length, test set, slice): score}.
        """
        who = {
            "model": model,
            "task": task,
            "seqlen_tokens": seqlen,
            "variant": variant,
            "seed": seed,
            "fingerprint": "0123456789",
            "path": f"cells/{model}/{task}/L{seqlen}/seed{seed}-{variant or '0'}",
        }
        ran = outcome not in ("missing", "skipped", "corrupt")
        if curve is None and value is not None and not np.isnan(value):
            curve = list(value * (1 - np.exp(-np.arange(1, 21) / 4)))
        steps = [100 * (i + 1) for i in range(len(curve or []))]
        cost = {
            "training_seconds": 20.0,
            "validation_seconds": 2.0,
            "checkpoint_seconds": 0.5,
            "peak_memory_bytes": 300_000_000,
            "peak_host_bytes": 250_000_000,
            "pieces": 1,
        }
        times = {"started_at": START, "ended_at": START + timedelta(seconds=23)}
        spent = (cost | times | PROVENANCE) if ran else {}
        self.rows["cells"].append(
            who
            | {
                "outcome": outcome,
                "reason": reason,
                "error": error,
                "complete": outcome == "finished",
                "evaluated": value is not None,
                "reused": False,
                "stale": False,
                "evaluation_stale": False,
                "mixed_sources": False,
                "model_file": model,
                "task_file": task,
                "settings": "{}",
                "parts": int(ran),
                "step_steps": steps[-1] if steps else None,
                "budget_steps": 2000,
                "seen_tokens": 64 * seqlen * steps[-1] if steps else None,
                "best_step_steps": steps[int(np.nanargmax(curve))] if steps else None,
                "best_validation_metric": max(curve) if steps else None,
                "last_validation_metric": curve[-1] if steps else None,
                "parameters": 100_000 if ran else None,
                "state_bytes": 4096 if ran else None,
                "evaluation_seconds": 1.0 if value is not None else None,
            }
            | spent
            | columns
        )
        if ran:
            part = {"run": "", "part": 1, "outcome": outcome, "reason": reason, "error": error}
            counts = {"first_step_steps": 0, "last_step_steps": 2000, "attempts": 1}
            dead = {"silent_deaths": int(bool(died)), "last_death": died}
            self.rows["parts"].append(who | part | counts | dead | spent)
        for step, score in zip(steps, curve or [], strict=True):
            self.rows["history"].append(
                who
                | {
                    "part": 1,
                    "step_steps": step,
                    "metric": metric,
                    "validation_metric": float(score),
                    "validation_standard_error": half / 2,
                    "train_loss": 1.0,
                    "validation_loss": 1.0,
                    "training_seconds": step / 100,
                }
            )
        scores = ({} if value is None else {seqlen: value}) | (elsewhere or {})
        for place, score in scores.items():
            length, test_set, part = place if isinstance(place, tuple) else (place, "", "")
            for weights, shown in (("best", score), ("last", score if last is None else last)):
                self.rows["evaluations"].append(
                    who
                    | {
                        "outcome": outcome,
                        "weights": weights,
                        "origin": origin,
                        "step_steps": steps[-1] if steps else None,
                        "evaluated_seqlen_tokens": length,
                        "test_set": test_set,
                        "slice": part,
                        "metric": metric,
                        "primary": True,
                        "value": shown,
                        "low": shown - half,
                        "high": shown + half,
                        **_ceiling(model_ceiling),
                        "interval": "bootstrap",
                        "examples": 500,
                        "scored": 500,
                    }
                )
        return self

    def control(self, task, expected="SOLVED", state="passed", **columns):
        """A control of a task's file."""
        self.rows["controls"].append(
            {
                "task_file": task,
                "control": "gru, trained at 8 tokens",
                "expected": expected,
                "observed": expected if state == "passed" else "AT CHANCE",
                "state": state,
                "reason": "1 of 1 seeds solved it",
                "settings": "{}",
                "why": "it is known to",
                "study": "controls",
                "paths": ["gru/task/L8/seed0-0123456789"],
            }
            | columns
        )
        return self

    def cells(self, model, task, seqlen, values, **columns):
        """Seeds 0, 1, ... with these test scores."""
        for seed, value in enumerate(values):
            self.cell(model, task, seqlen, seed, value, **columns)
        return self

    def read(self) -> dict[str, pa.Table]:
        """The tables that a report is made from."""
        about = {"seqgrid.study": json.dumps(self.about)}
        return {name: tables.from_rows(name, rows, about) for name, rows in self.rows.items()}

    def write(self, folder: Path) -> Path:
        """The five tables as Parquet files in `folder`."""
        for name, table in self.read().items():
            tables.write(table, folder / f"{name}.parquet")
        return folder


def everything() -> Tables:
    """Every kind of cell a grid can have, in one study."""
    made = Tables(
        models=["attention", "lstm", "deltanet", "mamba2"],
        tasks=["mqar", "selective_copy"],
        seeds=[0, 1, 2],
        lengths=[64, 128],
    )
    made.levels("mqar", (64, 128, 256), chance=0.01, ceiling=1.0, solved=0.99)
    made.levels("mqar", (64, 128, 256), shortcuts={"random_value_in_context": 0.06})
    for seqlen, bag in ((64, 0.161), (128, 0.131)):
        made.levels(
            "selective_copy",
            [seqlen],
            metric="r2",
            chance=0.0,
            ceiling=1.0,
            solved=0.95,
            shortcuts={"order_blind": bag},
        )
    solved = {"solved_step_steps": 900, "solved_seconds": 9.0}
    made.cells("attention", "mqar", 64, [0.999, 0.998, 1.0], elsewhere={256: 0.4}, **solved)
    made.cells("attention", "mqar", 128, [0.997, 0.995, 0.999], elsewhere={256: 0.7}, **solved)
    made.cells("lstm", "mqar", 64, [0.012, 0.009, 0.011], half=0.006, died="NODE_FAIL")
    made.cells("lstm", "mqar", 128, [0.061, 0.058, 0.063])
    peak = [0.1, 0.5, 0.9, *[0.95] * 8, 0.7, 0.5, 0.4, 0.35, 0.3, 0.3, 0.3, 0.3, 0.3]
    made.cell("deltanet", "mqar", 64, 0, 0.997, died="OUT_OF_MEMORY", **solved)
    made.cell("deltanet", "mqar", 64, 1, 0.02, half=0.012)
    made.cell("deltanet", "mqar", 64, 2, 0.94, last=0.3, curve=peak)
    made.cell("deltanet", "mqar", 128, 0, 0.996, **solved)
    made.cell("deltanet", "mqar", 128, 1, 0.5, outcome="timed_out", reason="part 1 ran out of time")
    made.cell("deltanet", "mqar", 128, 2, outcome="missing")
    made.cells(
        "mamba2", "mqar", 64, [None] * 3, outcome="skipped", reason="needs a multiple of 96 tokens"
    )
    trace = 'Traceback (most recent call last):\n  File "x.py", line 1\nRuntimeError: boom'
    made.cells(
        *("mamba2", "mqar", 128, [None] * 3),
        **{"outcome": "failed", "reason": "RuntimeError: boom", "error": trace},
    )
    r2 = {"metric": "r2", "half": 0.03}
    made.cells("attention", "selective_copy", 64, [0.97, 0.98, 0.975], **r2, **solved)
    made.cells("attention", "selective_copy", 128, [0.9, 0.91, 0.905], **r2)
    made.cells("lstm", "selective_copy", 64, [0.169, 0.155, 0.163], **r2)
    made.cells("lstm", "selective_copy", 128, [0.131, 0.128, 0.14], **r2)
    made.cells("deltanet", "selective_copy", 64, [-0.01, -40.0, 0.996], **r2)
    made.cell("deltanet", "selective_copy", 128, 0, outcome="diverged", reason="loss is NaN")
    made.cell(
        *("deltanet", "selective_copy", 128, 1),
        **{"outcome": "out_of_memory", "reason": "24.1 GiB asked, 23.7 GiB there"},
    )
    made.cell("deltanet", "selective_copy", 128, 2, float("nan"), **r2)
    made.cells("mamba2", "selective_copy", 64, [0.5, 0.52, 0.51], stale=True, **r2)
    made.cells("mamba2", "selective_copy", 128, [0.5, 0.52, 0.51], **r2)
    return made
