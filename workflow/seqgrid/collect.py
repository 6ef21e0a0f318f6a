"""`python -m seqgrid.collect STUDY`: the files of a study's cells become its Parquet tables."""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seqgrid import (
    collection,
    control_results,
    controls,
    facts,
    metrics,
    plan,
    study,
    tables,
)
from seqgrid.job import WRONG_CALL, say
from seqgrid.metric_names import BETTER
from seqgrid.plan import Standing
from seqgrid.store import write_bytes
from seqgrid.study_file import StudyError

RESULTS = Path("results")
PLACE = ("evaluated_seqlen_tokens", "test_set", "slice")  # where a test value or level holds
MADE = ("cells", "parts", "history", "evaluations", "levels", "controls", "reported")


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
    behind = controls.behind(options.study, rows, RESULTS)
    gathered = gather(options.study, loaded, standings, RESULTS)
    gathered["controls"] = _controls(options.study, rows, behind)
    for name in MADE:
        tables.write(gathered[name], RESULTS / "studies" / options.study / f"{name}.parquet")
    if options.stamp:
        options.stamp.parent.mkdir(parents=True, exist_ok=True)
        content = collection.digest(loaded, standings, behind) + "\n"
        write_bytes(options.stamp, content.encode())
        for old in options.stamp.parent.iterdir():
            if old.name.partition(".")[0] != options.stamp.stem:
                shutil.rmtree(old) if old.is_dir() else old.unlink()
    return 0


def gather(
    name: str, loaded: study.Study, standings: list[Standing], results: Path
) -> dict[str, pa.Table]:
    """The tables of a study, with what the report says of it in their metadata.

    `controls` is empty: those are cells of other studies. `reported` is that of imported ones.
    """
    about = {"seqgrid.study": json.dumps(_about(name, loaded))}
    collected = Collector(name, standings, results).tables()
    collected["controls"] = tables.from_rows("controls", [])
    collected["reported"] = tables.from_rows("reported", [])
    return {
        table: made.replace_schema_metadata({**(made.schema.metadata or {}), **about})
        for table, made in collected.items()
    }


def _controls(name: str, rows: list[study.Row], behind: list[controls.Controls]) -> pa.Table:
    """The table `controls` of a study; empty where it is a control study itself."""
    files = [] if name in controls.STUDIES else list(dict.fromkeys(row.cell.task for row in rows))
    read = [(found, gather(found.name, found.study, found.standings, RESULTS)) for found in behind]
    return tables.from_rows("controls", control_results.rows(files, read))


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
        for outcome in (*s.others, *s.outcomes):
            self.rows["parts"].append(who | facts.part(outcome))
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
            "mixed_sources": len({facts.made_by(o) for o in s.outcomes}) > 1,
            "evaluation_seconds": s.evaluation.seconds if s.evaluation else None,
        }
        if s.evaluation and s.evaluation.error:
            row["error"] = s.evaluation.error
            row["reason"] += "; the evaluation failed"
        if last is None:
            return row
        progress = last.progress
        row |= facts.provenance(last)
        row |= {
            "error": last.error or row.get("error"),
            "reused": last.provenance.asked_by not in (None, self.name),
            "trained_for": last.provenance.asked_by,
            "step_steps": progress.step,
            "seen_tokens": progress.seen_tokens,
            "seen_examples": facts.seen(cell, progress.step),
            "log2_inputs": facts.log2_inputs(cell),
            "known_plateau_steps": facts.known_plateau(cell),
            "solved_step_steps": progress.solved_step,
            "solved_seconds": progress.solved_seconds,
            "best_step_steps": progress.best_step,
            "best_validation_metric": progress.best_metric,
            "last_validation_metric": progress.last_metric,
            "parameters": progress.parameters,
            "state_bytes": progress.state_bytes,
            "flops_per_token": progress.flops_per_token,
            **{name: getattr(progress, name) for name in tables.CIRCUITS},
            "started_at": facts.time(s.outcomes[0].started_at),
            "ended_at": facts.time(last.ended_at),
        }
        for name in ("training_seconds", "validation_seconds", "checkpoint_seconds"):
            row[name] = sum(getattr(o.progress, name) for o in s.outcomes)
        if row["training_seconds"]:
            row["tokens_per_second"] = progress.seen_tokens / row["training_seconds"]
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
                "better": BETTER[level["metric"]],
                "level": level["name"],
                "kind": level["kind"],
                "value": level["value"],
                "derivation": level["derivation"],
            }
        ceilings = {
            (*(level.get(name, "") for name in PLACE), level["metric"]): level
            for level in json.loads(about.get("seqgrid.model_ceilings", "[]"))
        }
        parts = _parts(table)
        for group, columns in parts:
            found = metrics.summarise(_numbers(columns), about["seqgrid.loss"])  # type: ignore[arg-type]
            for metric, summary in found.items():
                ceiling = ceilings.get((*(group[name] for name in PLACE), metric), {})
                self.rows["evaluations"].append(
                    who
                    | group
                    | {
                        "outcome": s.state,
                        "origin": "test",
                        "metric": metric,
                        "primary": metric == about["seqgrid.metric"],
                        "value": summary.value,
                        "low": summary.low,
                        "high": summary.high,
                        "interval": summary.interval,
                        "examples": summary.examples,
                        "scored": summary.scored,
                        "correct": summary.correct,
                        "model_ceiling": ceiling.get("value"),
                        "model_ceiling_name": ceiling.get("name"),
                        "model_ceiling_derivation": ceiling.get("derivation"),
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


if __name__ == "__main__":
    sys.exit(main())
