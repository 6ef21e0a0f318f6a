"""A process with torch loaded that forks trainers: the real `main`, without its start-up time."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

SERVER = """
import importlib, json, os, select, signal, sys
import torch
from seqgrid import checkpoint, evaluate, loop, status, tables, train, worker

torch.set_num_threads(1)
ours, theirs = os.pipe()
os.set_blocking(theirs, False)
signal.set_wakeup_fd(theirs)
signal.signal(signal.SIGCHLD, lambda number, frame: None)
running = {}
print("ready", flush=True)
while True:
    ready, _, _ = select.select([0, ours], [], [])
    if ours in ready:
        os.read(ours, 4096)
        while running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            path = running.pop(pid)
            with open(path + ".part", "w") as file:
                file.write(str(os.waitstatus_to_exitcode(status)))
            os.rename(path + ".part", path)
    if 0 in ready:
        line = os.read(0, 65536)
        if not line:
            sys.exit()
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os.setsid()
                log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                null = os.open(os.devnull, os.O_RDWR)
                for number, target in ((0, null), (1, log), (2, log)):
                    os.dup2(target, number)
                os.closerange(3, 64)
                os.environ.update(asked["environment"])
                os.chdir(asked["folder"])
                exec(asked["before"])
                code = importlib.import_module("seqgrid." + asked["what"]).main(asked["words"])
            except SystemExit as error:
                code = error.code
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        running[pid] = asked["status"]
        print(pid, flush=True)
"""


class Forge:
    """Starts trainers and evaluations within milliseconds."""

    def __init__(self, folder):
        self.folder, self.number = folder, 0
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert self.server.stdout.readline() == b"ready\n"

    def start(self, what, *words, folder=".", before="", **environment):
        """Start `python -m seqgrid.WHAT WORDS` in a session of its own."""
        self.number += 1
        log = self.folder / f"{self.number}.log"
        request = {
            "what": what,
            "words": list(map(str, words)),
            "folder": str(folder),
            "before": before,
            "environment": environment,
            "log": str(log),
            "status": str(log.with_suffix(".status")),
        }
        self.server.stdin.write(json.dumps(request).encode())
        return Forged(int(self.server.stdout.readline()), log)

    def close(self):
        """End the server; what it started is the test's to end."""
        self.server.stdin.close()
        self.server.wait(timeout=10)
        self.server.stdout.close()


class Forged:
    """One process that a Forge started."""

    def __init__(self, pid, log):
        self.pid, self.log, self.status = pid, log, log.with_suffix(".status")

    @property
    def said(self):
        return self.log.read_text() if self.log.exists() else ""

    def poll(self):
        return int(self.status.read_text()) if self.status.exists() else None

    def wait(self, seconds=120):
        deadline = time.monotonic() + seconds
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self.poll() is not None, f"still running; said so far:\n{self.said}"
        return self.poll()

    def send(self, number):
        """A signal to the process itself; False where it has ended."""
        return self.poll() is None and _send(os.kill, self.pid, number)

    def send_all(self, number):
        """A signal to the process and all that it started."""
        return _send(os.killpg, self.pid, number)


def _send(function, pid, number):
    try:
        function(pid, number)
    except ProcessLookupError:
        return False
    return True


def ended(pid):
    """Whether a process is gone, or dead and not yet reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def wait_until(condition, words, seconds=60):
    """Wait for a condition; a message in words where it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, words() if callable(words) else words
        time.sleep(0.005)
