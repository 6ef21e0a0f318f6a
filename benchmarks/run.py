"""`python benchmarks/run.py [NAMES]`: measure seqgrid against named rivals in the same run.

All benchmarks, without --quick, also write benchmarks/RESULTS.md.
"""

import argparse
import importlib
import os
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
NAMES = ("overhead", "generation", "planning", "startup", "jobs", "threads", "allocator")
ASKED = ("executors", "learning", "operators", "mixers", "quantum")  # run only when named


def main() -> int:
    """Entry point; returns the exit status."""
    import measure

    parser = argparse.ArgumentParser(prog="python benchmarks/run.py", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES + ASKED)}")
    parser.add_argument("--quick", action="store_true", help="smallest sizes; proves nothing")
    options = parser.parse_args()
    if unknown := set(options.names) - {*NAMES, *ASKED}:
        parser.error(f"no benchmark {sorted(unknown)[0]!r}; there are {', '.join(NAMES + ASKED)}")
    os.chdir(FOLDER.parent)
    sections = []
    for name in options.names or NAMES:
        for table in importlib.import_module(name).run(options.quick):
            sections.append(str(table))
            print(sections[-1] + "\n", flush=True)
    facts = "\n".join(["## Measured on", "", *measure.machine()])
    print(facts)
    if not options.names and not options.quick:
        text = "\n\n".join(["# Results of `make bench`", *sections, facts]) + "\n"
        (FOLDER / "RESULTS.md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
