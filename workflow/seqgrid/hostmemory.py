"""Whether the kernel killed for want of memory: what the control group of this process counts."""

from pathlib import Path


def oom_kills() -> int | None:
    """Processes of this control group that the kernel has killed to free memory so far.

    Returns:
        None where no control group counts them, or its file cannot be read.
    """
    try:
        groups = Path("/proc/self/cgroup").read_text()
        mounts = Path("/proc/self/mountinfo").read_text()
    except OSError:
        return None
    for file in counters(groups, mounts):
        try:
            lines = file.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, number = line.partition(" ")
            if name == "oom_kill" and number.isdigit():
                return int(number)
    return None


def counters(groups: str, mounts: str) -> list[Path]:
    """Files that may hold the count, by the content of /proc/self/cgroup and mountinfo."""
    paths = {}
    for line in groups.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        paths["memory" if "memory" in controllers.split(",") else controllers] = path
    found = []
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if len(fields) < 5 or len(kind) < 3:
            continue
        root, mount = fields[3], Path(fields[4])
        if kind[0] == "cgroup" and "memory" in kind[2].split(","):
            path, name = paths.get("memory"), "memory.oom_control"
        elif kind[0] == "cgroup2":
            path, name = paths.get(""), "memory.events"
        else:
            continue
        if path is not None:
            # In a container the mount shows the tree from `root` downwards.
            inside = path.removeprefix(root) if root != "/" else path
            found.append(mount / inside.lstrip("/") / name)
    return found
