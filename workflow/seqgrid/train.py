"""`python -m seqgrid.train RUN_FOLDER --part N`: make one part of a cell's training.

This process stays light: it takes the lease, republishes what is already there, and watches over
a child that does the training, so that even a death by signal becomes an outcome. Exit status:
0, the part has its outcome; 75, try again, nothing is lost; 2, the call is wrong.
"""

import argparse
import itertools
import os
import re
import select
import signal
import sys
import time
from pathlib import Path

from seqgrid import deaths, hostmemory, postmortem, provenance, sources
from seqgrid.cell import Cell
from seqgrid.job import (
    STOP_SIGNALS,
    TRY_AGAIN,
    WRONG_CALL,
    WrongCall,
    execution,
    say,
    started_again,
)
from seqgrid.lease import HEARTBEAT_SECONDS, SILENT_SECONDS, Lease, Lost, Taken
from seqgrid.outcome import Absent, Invalid, Newer, Progress
from seqgrid.scheduler import alive
from seqgrid.store import Part

RUN_FOLDER = re.compile(r"(?P<cell>[^/]+/[^/]+/L\d+/seed\d+-[0-9a-f]+)(/(?P<run>again\d+))?/?$")


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m seqgrid.train", description=__doc__)
    parser.add_argument("run_folder", help="results/cells/MODEL/TASK/L*/seed*[/again*]")
    parser.add_argument("--part", type=int, default=1, help="number of the part")
    parser.add_argument(
        "--asked", type=int, nargs=2, metavar=("MINUTES", "MB"), help="what the job asked for"
    )
    options = parser.parse_args(arguments)
    try:
        cell, part = find(options.run_folder, options.part)
    except WrongCall as error:
        say(str(error))
        return WRONG_CALL
    except OSError as error:
        say(f"{options.run_folder}: cannot write results ({error}); nothing is lost, try again")
        return TRY_AGAIN
    lease = Lease(part.cell_folder)
    try:
        if proof := lease.wait(part.heartbeats, alive, lambda text: say(f"{part}: {text}")):
            say(f"{part}: {proof}")
        # Within an allocation that cells share, none of them asked the scheduler for anything.
        asked = None if started_again() else options.asked
        return Supervisor(cell, part, lease, asked).run()
    except Taken as error:
        say(f"{part}: {error}; try again when it is done")
        return TRY_AGAIN
    except WrongCall as error:  # what is there was written by a newer version
        say(f"{part}: {error}")
        return WRONG_CALL
    except Lost as error:
        say(f"{part}: {error}")
        return TRY_AGAIN
    except OSError as error:
        say(f"{part}: cannot write results ({error}); nothing is lost, try again")
        return TRY_AGAIN
    finally:
        lease.release()


def find(run_folder: str, number: int) -> tuple[Cell, Part]:
    """The cell and the part of a run folder.

    Raises:
        WrongCall: there is no such cell, or the folder holds another one.
    """
    match = RUN_FOLDER.search(run_folder)
    if not match:
        raise WrongCall(f"{run_folder}: not a cell's folder, such as gru/mqar/L64/seed0-0123456789")
    try:
        cell = Cell.read(Path(run_folder))
    except FileNotFoundError:
        raise WrongCall(f"{run_folder}: no cell.json there; snakemake writes it") from None
    except (OSError, ValueError) as error:
        raise WrongCall(f"{run_folder}/cell.json: {str(error).splitlines()[0]}") from None
    if cell.path != match["cell"]:
        raise WrongCall(f"{run_folder}/cell.json: belongs to {cell.path}")
    cells = Path(run_folder[: match.start()] or ".")
    return cell, Part.of(cells, cell.path, match["run"] or "", number)


class Supervisor:
    """Watches over the training process of one part."""

    def __init__(
        self, cell: Cell, part: Part, lease: Lease, asked: tuple[int, int] | None = None
    ) -> None:
        self.cell, self.part, self.lease, self.asked = cell, part, lease, asked
        self.child: int | None = None
        self.stopping = False
        self.invocation = os.environ.get("SEQGRID_INVOCATION")

    def run(self) -> int:
        """Bring the part to its outcome; returns the exit status."""
        if self._republished():
            return 0
        try:
            reason = self.cell.unable()
        except Exception as error:
            words = (
                f"Settings.unable of models/{self.cell.model}.py: {type(error).__name__}: {error}"
            )
            return self._finish("failed", words)
        if reason:
            return self._finish("skipped", reason)
        for number in STOP_SIGNALS:
            signal.signal(number, self._forward)
        postmortem.explain(self.part)
        while True:
            if reason := self._enough():
                return self._finish("killed", reason)
            self.part.begin_attempt(self.invocation, self.asked)
            killed_before = hostmemory.oom_kills()
            ended = self._attempt()
            self.lease.check()
            spoken = ended in deaths.SPOKEN
            self.part.end_attempt("stopped" if self.stopping and not spoken else ended)
            if ended == "exit 0":
                self.part.publish()
                say(describe(self.cell, self.part))
                return 0
            if ended == f"exit {WRONG_CALL}":
                return WRONG_CALL
            if spoken or self.stopping:
                say(f"{self.part}: stopped at step {self.part.step()}, goes on in the next job")
                return TRY_AGAIN
            # A job has no more memory the next time; another one may be given more.
            if self._short_of_memory(ended, killed_before) and provenance.job_id():
                if not self._enough():
                    say(f"{self.part}: not tried again with the memory of this job")
                    return TRY_AGAIN
            else:
                say(f"{self.part}: the training process ended with {ended}; starting it again")

    def _enough(self) -> str | None:
        return deaths.enough(self.part.deaths_here(), self.part.step())

    def _short_of_memory(self, ended: str, before: int | None) -> bool:
        """Note whether it was the kernel that killed, for want of memory."""
        if ended != f"signal {signal.SIGKILL.value} (SIGKILL)":
            return False
        after = hostmemory.oom_kills()
        if before is None or after is None:
            say(f"{self.part}: whether it was for want of memory cannot be read on this host")
            return False
        if after > before:
            postmortem.note(self.part, self.part.attempts()[-1], {"state": deaths.HOST_OOM})
        return after > before

    def _republished(self) -> bool:
        """Publish what the store holds; True where the part then stands."""
        try:
            self.part.read()
            say(f"{self.part}: there already, nothing to train")
            return True
        except Absent:
            pass
        except Newer as error:
            raise WrongCall(str(error)) from None
        except Invalid as error:
            say(f"{self.part}: {error}; made again")
        if self.part.stored() is None:
            return False
        self.part.publish()
        say(f"{self.part}: published again, nothing to train")
        return True

    def _finish(self, outcome: str, reason: str) -> int:
        """Write an outcome without training."""
        from seqgrid.tables import history_bytes

        rows, progress, newest = [], Progress(), None
        if self.part.newest_state():
            from seqgrid.checkpoint import summary

            rows, progress, newest = summary(self.part)
        digest = sources.training_digest(self.cell.model, self.cell.task, self.cell.parts)
        self.part.finish(
            newest,
            history_bytes(rows),
            outcome=outcome,
            reason=reason,
            progress=progress,
            provenance=provenance.collect(digest, execution(self.part.run_folder).get("study")),
            fence=self.lease.check,
        )
        self.part.publish()
        say(describe(self.cell, self.part))
        return 0

    def _attempt(self) -> str:
        """Run the training in a child; returns 'exit N' or 'signal N (NAME)'."""
        ours, theirs = os.pipe()  # the child's end closes with it
        # A signal between the fork and its handlers would be nobody's.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        self.child = os.fork()
        if self.child == 0:
            status = 1
            try:
                from seqgrid.worker import work

                left = self._restarts_left()
                status = work(self.cell, self.part, self.lease, left, self.stopping)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        os.close(theirs)
        status = self._wait(self.child, ours)
        self.child = None
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            return f"signal {number} ({signal.Signals(number).name})"
        return f"exit {os.WEXITSTATUS(status)}"

    def _wait(self, child: int, pipe: int) -> int:
        """Keep the lease until the child ends, and the pipe with it; returns its wait status."""
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        lost_at = None
        try:
            while True:
                ending = poll.poll(HEARTBEAT_SECONDS * 1000)
                pid, status = os.waitpid(child, 0 if ending else os.WNOHANG)
                if pid:
                    return status
                if lost_at is not None and time.monotonic() - lost_at > SILENT_SECONDS:
                    os.kill(child, signal.SIGKILL)
                try:
                    self.lease.renew()
                except Lost:  # it notices by itself, unless it hangs
                    lost_at = lost_at or time.monotonic()
                    os.kill(child, signal.SIGTERM)
                except OSError:  # a file system that does not answer now
                    continue
        finally:
            os.close(pipe)

    def _restarts_left(self) -> int:
        """How often the workflow will still restart this job within its present invocation."""
        allowed = int(os.environ.get("SEQGRID_RETRIES", "0"))
        mine = {
            (a["host"], a["pid"]): (a["job"], a.get("job_started"))
            for a in self.part.attempts()
            if self.invocation and a["invocation"] == self.invocation
        }
        # What the scheduler itself started again, under the same id, is no restart of the workflow.
        used = sum(
            before[0] is None or before[0] != after[0] or before == after
            for before, after in itertools.pairwise(mine.values())
        )
        return allowed - used

    def _forward(self, number: int, frame: object) -> None:
        self.stopping = True
        if self.child:
            os.kill(self.child, number)


def describe(cell: Cell, part: Part) -> str:
    """One line about a part that has its outcome."""
    outcome = part.read()
    seconds = outcome.progress.training_seconds
    where = f"{cell.model} {cell.task} L{cell.seqlen} seed {cell.seed} part {part.number}"
    return f"{where}: {outcome.outcome}, {outcome.reason} ({seconds:.1f} s training)"


if __name__ == "__main__":
    sys.exit(main())
