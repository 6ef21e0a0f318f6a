"""`python -m seqgrid.collect STUDY`: the files of a study's cells become its Parquet tables."""

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seqgrid import collection, metrics, plan, study, tables
from seqgrid.job import WRONG_CALL, say
from seqgrid.outcome import Outcome
from seqgrid.plan import Standing
from seqgrid.store import write_bytes
from seqgrid.study_file import StudyError

RESULTS = Path("results")
PLACE = ("evaluated_seqlen_tokens", "test_set", "slice")  # where a test value or level holds
MADE = ("cells", "parts", "history", "evaluations", "levels")


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m seqgrid.collect", description=__doc__)
    parser.add_argument("study", help="a file name in config/studies, without .yaml")
    parser.add_argument("--stamp", type=Path, help="file that says what was collected")
    options = parser.parse_args(arguments)
    try:
        loaded, rows = study.load(options.study)
    except StudyError as error:
        say(str(error))
        return WRONG_CALL
    standings = plan.plan(rows, RESULTS)
    gathered = Collector(options.study, standings, RESULTS).tables()
    folder = RESULTS / "studies" / options.study
    about = {"seqgrid.study": json.dumps(_about(options.study, loaded))}
    for name in MADE:
        tables.write(
            gathered[name].replace_schema_metadata(
                {**(gathered[name].schema.metadata or {}), **about}
            ),
            folder / f"{name}.parquet",
        )
    if options.stamp:
        options.stamp.parent.mkdir(parents=True, exist_ok=True)
        content = collection.digest(loaded, standings) + "\n"
        write_bytes(options.stamp, content.encode())
        for old in options.stamp.parent.iterdir():
            if old.stem != options.stamp.stem:
                old.unlink()
    return 0


def _about(name: str, loaded: study.Study) -> dict[str, Any]:
    """What the report says of the study as such."""
    return {
        "name": name,
        "question": loaded.question,
        "models": list(loaded.models),
        "tasks": list(loaded.tasks),
        "lengths": loaded.lengths,
        "seeds": loaded.seeds,
        "sweep": loaded.sweep,
        "config": loaded.model_dump(mode="json"),
    }


class Collector:
    """Reads every cell of a study once."""

    def __init__(self, name: str, standings: list[Standing], results: Path) -> None:
        self.name, self.standings, self.cells = name, standings, results / "cells"
        self.rows: dict[str, list[dict]] = {
            table: [] for table in ("cells", "parts", "evaluations")
        }
        self.history: list[pa.Table] = []
        self.levels: dict[tuple, dict] = {}

    def tables(self) -> dict[str, pa.Table]:
        """The five tables."""
        for standing in self.standings:
            self._cell(standing)
        made = {name: tables.from_rows(name, rows) for name, rows in self.rows.items()}
        schema = tables.schema("history")
        empty = schema.empty_table()
        made["history"] = pa.concat_tables([empty, *(t.cast(schema) for t in self.history)])
        made["levels"] = tables.from_rows("levels", sorted(self.levels.values(), key=self._order))
        return made

    def _order(self, level: dict[str, Any]) -> tuple:
        tasks = list(dict.fromkeys(s.row.task for s in self.standings))
        sign = 1 if level["better"] == "higher" else -1
        place = (level["metric"], *(level[name] for name in PLACE), sign * level["value"])
        return (tasks.index(level["task"]), *place)

    def _cell(self, s: Standing) -> None:
        cell = s.row.cell
        who = {
            "model": s.row.model,
            "task": s.row.task,
            "seqlen_tokens": cell.seqlen,
            "variant": s.row.variant,
            "seed": cell.seed,
            "fingerprint": cell.fingerprint,
            "path": cell.path,
        }
        evaluated, refused = self._evaluations(s, who)
        tested = {"evaluated": evaluated, "refused": refused}
        self.rows["cells"].append(who | self._standing(s) | tested)
        for outcome in s.outcomes:
            self.rows["parts"].append(who | _part(outcome))
        if s.last:
            self._history(s, who)

    def _standing(self, s: Standing) -> dict[str, Any]:
        cell, last = s.row.cell, s.last
        row: dict[str, Any] = {
            "outcome": s.state,
            "reason": s.reason,
            "complete": s.state == "finished",
            "stale": s.stale,
            "evaluation_stale": bool(s.evaluation and s.evaluation.stale),
            "model_file": cell.model,
            "task_file": cell.task,
            "settings": self._settings(s),
            "parts": len(s.outcomes),
            "budget_steps": cell.training.steps,
            "reused": False,
            "mixed_sources": len({_made_by(o) for o in s.outcomes}) > 1,
            "evaluation_seconds": s.evaluation.seconds if s.evaluation else None,
        }
        if s.evaluation and s.evaluation.error:
            row["error"] = s.evaluation.error
            row["reason"] += "; the evaluation failed"
        if last is None:
            return row
        progress = last.progress
        row |= _facts(last)
        row |= {
            "error": last.error or row.get("error"),
            "reused": last.provenance.asked_by not in (None, self.name),
            "step_steps": progress.step,
            "seen_tokens": progress.seen_tokens,
            "solved_step_steps": progress.solved_step,
            "solved_seconds": progress.solved_seconds,
            "best_step_steps": progress.best_step,
            "best_validation_metric": progress.best_metric,
            "last_validation_metric": progress.last_metric,
            "parameters": progress.parameters,
            "state_bytes": progress.state_bytes,
            "started_at": _time(s.outcomes[0].started_at),
            "ended_at": _time(last.ended_at),
        }
        for name in ("training_seconds", "validation_seconds", "checkpoint_seconds"):
            row[name] = sum(getattr(o.progress, name) for o in s.outcomes)
        for name in ("peak_memory_bytes", "peak_host_bytes", "pieces"):
            found = [getattr(o.progress, name) for o in s.outcomes]
            row[name] = max(filter(None, found), default=None)
        return row

    def _settings(self, s: Standing) -> str:
        """The settings a training was begun with; where none was, those asked for."""
        try:
            text = (self.cells / s.row.cell.path / s.reported_run / "cell.json").read_text()
            return json.dumps(json.loads(text))
        except (OSError, ValueError):
            return s.row.cell.model_dump_json()

    def _folder(self, s: Standing) -> Path:
        assert s.last
        return self.cells / s.row.cell.path / s.reported_run / f"part{s.last.part}"

    def _history(self, s: Standing, who: dict[str, Any]) -> None:
        table = pq.read_table(self._folder(s) / "history.parquet")
        for place, (name, value) in enumerate(who.items()):
            column = pa.array([value] * len(table), tables.schema("history").field(name).type)
            table = table.add_column(place, name, column)
        self.history.append(table.replace_schema_metadata(None))

    def _evaluations(self, s: Standing, who: dict[str, Any]) -> tuple[bool, str | None]:
        """Add the rows of a cell's evaluation: whether there are any, and what was refused."""
        if not s.last or not s.evaluation or not s.evaluation.valid:
            return False, None
        table = pq.read_table(self._folder(s) / f"evaluation-{s.evaluation.name}.parquet")
        about = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
        for level in json.loads(about.get("seqgrid.levels", "[]")):
            place = {name: level.get(name, "") for name in PLACE}
            key = (s.row.task, *place.values(), level["metric"], level["name"], level["kind"])
            self.levels[key] = {
                "task": s.row.task,
                **place,
                "metric": level["metric"],
                "better": metrics.BETTER[level["metric"]],
                "level": level["name"],
                "kind": level["kind"],
                "value": level["value"],
                "derivation": level["derivation"],
            }
        parts = _parts(table)
        for group, columns in parts:
            found = metrics.summarise(_numbers(columns), about["seqgrid.loss"])  # type: ignore[arg-type]
            for metric, summary in found.items():
                self.rows["evaluations"].append(
                    who
                    | group
                    | {
                        "outcome": s.state,
                        "metric": metric,
                        "primary": metric == about["seqgrid.metric"],
                        "value": summary.value,
                        "low": summary.low,
                        "high": summary.high,
                        "interval": summary.interval,
                        "examples": summary.examples,
                        "scored": summary.scored,
                        "correct": summary.correct,
                    }
                )
        refused = json.loads(about.get("seqgrid.refused", "{}"))
        words = "; ".join(f"{seqlen} tokens: {reason}" for seqlen, reason in refused.items())
        return bool(parts), words or None


def _parts(table: pa.Table) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """An evaluation's rows by weights, length, test set and slice: what they share, and columns."""
    for name in ("test_set", "slice"):  # files written before there were any
        if name not in table.column_names:
            table = table.append_column(name, pa.repeat("", len(table)))
    names = ["weights", "step_steps", *PLACE]
    codes = np.zeros(len(table), dtype=np.int64)
    for name in names:
        column = table[name].combine_chunks().dictionary_encode()
        codes = codes * max(1, len(column.dictionary)) + column.indices.to_numpy()
    _, first, code = np.unique(codes, return_index=True, return_inverse=True)
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    return [
        ({name: columns[name][start] for name in names},
         {name: column[code == number] for name, column in columns.items() if name not in names})
        for number, start in sorted(enumerate(first), key=lambda pair: pair[1])
    ]  # fmt: skip


def _numbers(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The numeric columns that are not wholly null."""
    found = {}
    for name in ("scored", "correct", "loss_sum", "target_sum", "target_square_sum"):
        column = columns[name].astype(float)
        if name in ("scored", "loss_sum") or not np.isnan(column).all():
            found[name] = column
    return found


def _made_by(outcome: Outcome) -> tuple:
    """What must not change from part to part of one training."""
    made = outcome.provenance
    torch = made.versions.get("torch")
    return made.source_digest, made.device, made.dtype, str(made.backend), torch


def _facts(outcome: Outcome) -> dict[str, Any]:
    facts = outcome.provenance.model_dump(exclude={"asked_by"})
    return facts | {
        "versions": json.dumps(facts["versions"]),
        "backend": json.dumps(facts["backend"]),
    }


def _part(outcome: Outcome) -> dict[str, Any]:
    progress = outcome.progress
    costs = ("training_seconds", "validation_seconds", "checkpoint_seconds", "peak_memory_bytes",
             "peak_host_bytes", "pieces")  # fmt: skip
    jobs = ("attempts", "silent_deaths", "jobs", "asked_minutes", "asked_mb", "wall_seconds")
    return {
        "run": outcome.run,
        "part": outcome.part,
        "outcome": outcome.outcome,
        "reason": outcome.reason,
        "error": outcome.error,
        "first_step_steps": progress.first_step,
        "last_step_steps": progress.step,
        **{name: getattr(outcome, name) for name in jobs},
        **_death(outcome),
        **{name: getattr(progress, name) for name in costs},
        "started_at": _time(outcome.started_at),
        "ended_at": _time(outcome.ended_at),
        **_facts(outcome),
    }


def _death(outcome: Outcome) -> dict[str, Any]:
    death = outcome.last_death
    if death is None:
        return {}
    known = death.step is not None and death.kept_step is not None
    return {
        "last_death": death.state,
        "last_death_reason": death.words,
        "last_death_host": death.host,
        "last_death_job_id": death.job_id,
        "last_death_lost_steps": death.step - death.kept_step if known else None,
    }


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


if __name__ == "__main__":
    sys.exit(main())
