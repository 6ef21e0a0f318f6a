"""Small and read-only file systems, seen through the root of the process that has them."""

import contextlib
import os
import subprocess

import pytest

# Sizes and modes that root cannot walk around, in a mount namespace that ends with its process.
COMMANDS = {
    "small": "mount -t tmpfs -o size={size} tmpfs {folder}",
    "read-only": "mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}",
}


@contextlib.contextmanager
def mounted(kind, folder, size="8m"):
    """A path at which `folder` is a file system of that kind, for every process of this user."""
    command = COMMANDS[kind].format(folder=folder, size=size)
    user = [] if os.getuid() == 0 else ["--map-root-user"]
    keeper = subprocess.Popen(
        ["unshare", *user, "--mount", "sh", "-c", f"{command} && echo mounted && exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        if keeper.stdout.readline() != "mounted\n":
            words = f"no file system of our own here: {keeper.stderr.read().strip()}"
            if os.environ.get("SEQGRID_REQUIRE_SLURM"):
                pytest.fail(words)
            pytest.skip(words)
        yield type(folder)(f"/proc/{keeper.pid}/root{folder}")
    finally:
        keeper.communicate()


def fill(folder, leave=0):
    """Leave so many free bytes, as the file system counts them; returns the file to delete."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        # A trainer may write, and delete, while we do.
        for _ in range(20):
            stat = os.statvfs(folder)
            free = stat.f_bavail * stat.f_frsize
            if free == leave:
                return ballast
            assert leave < free < 1 << 26, "not the small disk of a test"
            with contextlib.suppress(OSError):
                file.write(b"\0" * (free - leave))
    raise AssertionError(f"{free} bytes free, not {leave}")
