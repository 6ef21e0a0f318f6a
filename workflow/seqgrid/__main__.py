"""`seqgrid COMMAND ...`, or `python -m seqgrid COMMAND ...`: what is not a job of the workflow."""

import importlib
import os
import sys

from seqgrid.job import say

# Command -> module with `main(arguments)`, and what it is for.
COMMANDS = {
    "report": ("seqgrid.report.__main__", "write the report of a study from its tables"),
    "diff": ("seqgrid.diff", "what changed between two collected studies"),
    "import": ("seqgrid.imports", "tables of a study run elsewhere, for the same report"),
    "inspect": ("seqgrid.inspect", "what a folder of PyTorch checkpoints holds"),
    "cost": ("seqgrid.cost", "parameters, state and FLOPs of models, before training"),
}

STOPPED = 130  # exit status of a process that Ctrl-C ends


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if not given or given[0] not in COMMANDS:
        asked = given and given[0] not in ("-h", "--help")
        if asked:
            sys.stderr.write(f"'{given[0]}' is not a command; ")
        lines = [f"  {name:8} {words}" for name, (_, words) in COMMANDS.items()]
        stream = sys.stderr if asked or not given else sys.stdout
        stream.write("usage: seqgrid COMMAND ...\n" + "\n".join(lines) + "\n")
        return 0 if given and not asked else 2
    try:
        module = importlib.import_module(COMMANDS[given[0]][0])
        code = module.main(given[1:]) or 0
        sys.stdout.flush()
    except KeyboardInterrupt:
        say(f"seqgrid {given[0]}: stopped")
        return STOPPED
    except OSError as error:  # of a file that is named, or else of what this prints to
        if not isinstance(error, BrokenPipeError):  # as by `| head`, which has what it wanted
            say(f"seqgrid {given[0]}: {error.filename or 'its output'}: {error.strerror or error}")
        _silence()
        return 1
    return code


def _silence() -> None:
    """What could not be printed is not tried again at the end of the process."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
