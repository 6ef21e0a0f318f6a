"""The files of a study's cells, read once: rows of the tables that are collected."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from seqgrid import begun, facts, metrics, tables, task_levels, underway
from seqgrid.begun import Begun
from seqgrid.cell import Cell
from seqgrid.evaluation_rows import PLACE, numbers, parts
from seqgrid.metric_names import BETTER
from seqgrid.outcome import Progress
from seqgrid.plan import Standing


class Collector:
    """Reads every cell of a study once."""

    def __init__(self, name: str, standings: list[Standing], results: Path) -> None:
        self.name, self.standings, self.results = name, standings, results
        self.cells = results / "cells"
        self.rows: dict[str, list[dict]] = {
            table: [] for table in ("cells", "parts", "evaluations")
        }
        self.history: list[pa.Table] = []
        self.levels: dict[tuple, dict] = {}
        self.trained: dict[tuple[str, int], Cell] = {}  # by task and length, with validations

    def tables(self) -> dict[str, pa.Table]:
        """The five tables."""
        for standing in self.standings:
            self._cell(standing)
        # Advice and curves of a place need its levels, also where nothing there is evaluated yet.
        for place, cell in self.trained.items():
            if not any(key[:2] == place for key in self.levels):
                self._levels(place[0], task_levels.at_training_length(cell))
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
        left = begun.read(s, self.results)
        # A run that is to replace a result does not hide it.
        shown = left if left and left.part.run == s.reported_run else None
        self.rows["cells"].append(who | self._standing(s, left, shown) | tested)
        for outcome in (*s.others, *s.outcomes):
            self.rows["parts"].append(who | facts.part(outcome))
        if left and left.reached is None:
            self.rows["parts"].append(who | left.row())
        self._history(s, who, shown)

    def _standing(self, s: Standing, left: Begun | None, shown: Begun | None) -> dict[str, Any]:
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
        if left and left.reached is not None:
            row["reached_steps"] = left.reached
            if not underway.again(s):
                row |= {"outcome": left.state, "reason": left.reason}
        elif shown:
            row |= {"outcome": shown.state, "reason": shown.reason, "parts": row["parts"] + 1}
        if last is not None:
            row |= facts.provenance(last)
            row |= {
                "error": last.error or row.get("error"),
                "reused": last.provenance.asked_by not in (None, self.name),
                "trained_for": last.provenance.asked_by,
                "started_at": facts.time(s.outcomes[0].started_at),
                "ended_at": facts.time(last.ended_at),
            }
        elif shown:
            row |= shown.provenance()
        ended = [o.progress for o in s.outcomes]
        if shown and shown.progress:
            ended.append(shown.progress)
        row |= self._trained(cell, ended)
        if shown:
            row |= shown.times(row.get("started_at"))
            if shown.last_metric is not None:
                row["last_validation_metric"] = shown.last_metric
        return row

    def _trained(self, cell: Cell, ended: list[Progress]) -> dict[str, Any]:
        """What the parts of a training came to, by column; nothing where there are none."""
        if not ended:
            return {}
        progress = ended[-1]
        row: dict[str, Any] = {
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
        }
        for name in ("parameters", "state_bytes", "flops_per_token", *tables.CIRCUITS):
            # A process that died did not say.
            known = [getattr(one, name) for one in ended if getattr(one, name) is not None]
            row[name] = known[-1] if known else None
        for name in ("training_seconds", "validation_seconds", "checkpoint_seconds"):
            row[name] = sum(getattr(one, name) for one in ended)
        if row["training_seconds"]:
            row["tokens_per_second"] = progress.seen_tokens / row["training_seconds"]
        for name in ("peak_memory_bytes", "peak_host_bytes", "pieces"):
            found = [getattr(one, name) for one in ended]
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

    def _history(self, s: Standing, who: dict[str, Any], shown: Begun | None) -> None:
        if shown and shown.rows is not None:  # of all parts
            table = tables.from_rows("history_file", shown.rows)
        elif s.last:
            table = pq.read_table(self._folder(s) / "history.parquet")
        else:
            return
        if len(table):
            self.trained[s.row.task, s.row.cell.seqlen] = s.row.cell
        for place, (name, value) in enumerate(who.items()):
            column = pa.array([value] * len(table), tables.schema("history").field(name).type)
            table = table.add_column(place, name, column)
        self.history.append(table.replace_schema_metadata(None))

    def _levels(self, task: str, levels: list[dict[str, Any]]) -> None:
        """Add levels as an evaluation has them, under the label of their task."""
        for level in levels:
            place = {name: level.get(name, "") for name in PLACE}
            key = (task, *place.values(), level["metric"], level["name"], level["kind"])
            self.levels[key] = {
                "task": task,
                **place,
                "metric": level["metric"],
                "better": BETTER[level["metric"]],
                "level": level["name"],
                "kind": level["kind"],
                "value": level["value"],
                "derivation": level["derivation"],
            }

    def _evaluations(self, s: Standing, who: dict[str, Any]) -> tuple[bool, str | None]:
        """Add the rows of a cell's evaluation: whether there are any, and what was refused."""
        if not s.last or not s.evaluation or not s.evaluation.valid:
            return False, None
        table = pq.read_table(self._folder(s) / f"evaluation-{s.evaluation.name}.parquet")
        about = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
        self._levels(s.row.task, json.loads(about.get("seqgrid.levels", "[]")))
        ceilings = {
            (*(level.get(name, "") for name in PLACE), level["metric"]): level
            for level in json.loads(about.get("seqgrid.model_ceilings", "[]"))
        }
        found = parts(table)
        for group, columns in found:
            values = metrics.summarise(numbers(columns), about["seqgrid.loss"])  # type: ignore[arg-type]
            for metric, summary in values.items():
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
        return bool(found), words or None
