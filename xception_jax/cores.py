"""The number of CPU cores that this process may use: affinity and containers' quotas."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def usable_cores(root: Path = Path("/")) -> int:
    """The number of CPU cores that this process may use, at least 1.

    It is the smaller of the cores that it may run on (its affinity, which cpusets set) and the
    whole cores that the quotas of its control groups give it. `docker run --cpus=2` sets such a
    quota and leaves the affinity at all cores of the machine.

    Args:
        root: where /proc and /sys lie.
    """
    quotas = [quota for group in _groups(root) if (quota := _quota(group)) is not None]
    return max(1, min([runnable_cores(), *(int(quota) for quota in quotas)]))


def runnable_cores() -> int:
    """The number of CPU cores that this process may run on, whatever its quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _quota(group: Path) -> float | None:
    """The quota that a control group sets, in cores; None: it sets none."""
    try:
        if (limit := group / "cpu.max").exists():  # version 2
            quota, period = limit.read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text()
            period = (group / "cpu.cfs_period_us").read_text()
        cores = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
        return None
    return cores if cores > 0 else None  # version 1 says -1 for none


def _groups(root: Path) -> Iterator[Path]:
    """The directories of the process's control groups of CPUs, each with all groups around it."""
    memberships = _memberships(root)
    for kind, top, mount_point in _mounts(root):
        path = memberships.get(kind)
        if path is None:
            continue
        # A container may see its own group as the top, and yet be told the path on its host.
        inside = path.relative_to(top) if path.is_relative_to(top) else PurePosixPath()
        directory = root / mount_point.relative_to("/")
        yield from (directory / group for group in (inside, *inside.parents))


def _memberships(root: Path) -> dict[str, PurePosixPath]:
    """The process's control groups: "" for version 2, "cpu" for that of version 1."""
    paths = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = (line.split(":", 2) + [""] * 2)[:3]
        if controllers == "" or "cpu" in controllers.split(","):
            paths["cpu" if controllers else ""] = PurePosixPath(path)
    return paths


def _mounts(root: Path) -> Iterator[tuple[str, PurePosixPath, PurePosixPath]]:
    """Where control groups of CPUs are mounted: version as above, the group there, mount point."""
    for line in _lines(root / "proc/self/mountinfo"):
        mount, _, file_system = line.partition(" - ")
        kind, options = file_system.partition(" ")[0], file_system.rpartition(" ")[2]
        top, mount_point = map(PurePosixPath, (mount.split(" ") + [""] * 5)[3:5])
        if kind == "cgroup2":
            yield "", top, mount_point
        elif kind == "cgroup" and "cpu" in options.split(","):
            yield "cpu", top, mount_point


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "surrogateescape").splitlines()  # it may name any path
    except OSError:  # another system than Linux
        return []
