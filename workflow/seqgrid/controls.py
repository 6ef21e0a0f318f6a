"""The controls of the task files: models whose verdict on a task is known beforehand.

`python -m seqgrid.controls` writes config/studies/controls.yaml, and controls_gpu.yaml, from what
the task files declare. `--show STUDY` prints how the expectations of a study stand; `--check STUDY`
too, and exits 1 unless all are met. Here is also which controls stand behind another study; that
takes neither torch nor tables.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seqgrid import plan, registry, study
from seqgrid.job import WRONG_CALL, say
from seqgrid.plan import Standing
from seqgrid.rows import Row
from seqgrid.study import Study
from seqgrid.study_file import StudyError

RESULTS = Path("results")
STUDIES = ("controls", "controls_gpu")


@dataclass(frozen=True)
class Controls:
    """The controls of some task files in one control study, as they stand on disk."""

    name: str
    study: Study
    standings: list[Standing]

    @property
    def seen(self) -> list:
        """What a digest of a study that uses those task files has to know besides the cells."""
        return [entry.model_dump() for entry in self.study.expect]


def behind(name: str, rows: Sequence[Row], results: Path) -> list[Controls]:
    """The controls of the task files that a study uses; none where it is a control study itself.

    A control study that cannot be read has none: the run that is asked for is another one.
    """
    if name in STUDIES:
        return []
    used = {row.cell.task for row in rows}
    found = []
    for other in STUDIES:
        if (study.STUDIES / f"{other}.yaml").is_file():
            try:
                loaded, rows = study.load(other, only=used)
            except StudyError as error:
                say(f"the controls cannot be read, and count as not declared: {error}")
                continue
            found.append(Controls(other, loaded, plan.plan(rows, results)))
    return found


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m seqgrid.controls", description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--show", metavar="STUDY", help="print how its expectations stand")
    which.add_argument("--check", metavar="STUDY", help="and exit 1 unless all are met")
    options = parser.parse_args(arguments)
    try:
        if name := options.show or options.check:
            met = _show(name)
            return 0 if met or options.show else 1
        from seqgrid import control_study

        control_study.write()
    except (StudyError, registry.RegistryError) as error:
        say(str(error))
        return WRONG_CALL
    return 0


def _show(name: str) -> bool:
    """Print the expectations of a study; whether there are any, and all are met."""
    from seqgrid import control_results
    from seqgrid.collect import gather

    loaded, rows = study.load(name)
    tables = gather(name, loaded, plan.plan(rows, RESULTS), RESULTS)
    found = control_results.expectations(tables)
    lines = control_results.lines(found)
    report = RESULTS / "studies" / name / "report.md"
    sys.stdout.write("\n".join([*lines, *([f"{report}"] if report.exists() else [])]) + "\n")
    return bool(found) and all(row["met"] for row in found)


if __name__ == "__main__":
    sys.exit(main())
