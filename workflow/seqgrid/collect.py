"""`python -m seqgrid.collect STUDY`: the files of a study's cells become its Parquet tables."""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from seqgrid import collection, control_results, controls, plan, study, tables, task_metrics
from seqgrid.collector import Collector
from seqgrid.job import WRONG_CALL, say
from seqgrid.plan import Standing
from seqgrid.store import write_bytes
from seqgrid.study_file import StudyError

RESULTS = Path("results")
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
    about = {"seqgrid.study": json.dumps(_about(name, loaded, standings))}
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


def _about(name: str, loaded: study.Study, standings: list[Standing]) -> dict[str, Any]:
    """What the report says of the study as such."""
    judged = {s.row.task: task_metrics.judged(s.row.cell.task) for s in standings}
    return {
        "name": name,
        "question": loaded.question,
        "models": list(loaded.models),
        "tasks": list(loaded.tasks),
        "lengths": loaded.lengths,
        "seeds": loaded.seeds,
        "sweep": loaded.sweep,
        "judged_by": {label: metric for label, metric in judged.items() if metric},
        "config": loaded.model_dump(mode="json"),
    }


if __name__ == "__main__":
    sys.exit(main())
