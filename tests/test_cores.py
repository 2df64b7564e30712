"""The cores that a process may use are those of its affinity and of its container's quota."""

import os
import sys
from pathlib import Path

import pytest

from tests.programs import run_program
from xception_jax.cores import usable_cores

# What a container sees of its own control group, by the runtime and the version of the interface.
V2 = "30 23 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n"
V1 = "33 32 0:29 / /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
V1_OF_HOST = "33 32 0:29 /docker/ab /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n"


def fabricate(root: Path, mounts: str, memberships: str, files: dict[str, str]) -> Path:
    """A root directory with /proc/self and control groups, files by path below /sys/fs/cgroup."""
    contents = {"proc/self/mountinfo": mounts, "proc/self/cgroup": memberships} | {
        f"sys/fs/cgroup/{name}": text for name, text in files.items()
    }
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def v1(quota: int, period: int = 100_000, group: str = "cpu,cpuacct") -> dict[str, str]:
    names = f"{group}/cpu.cfs_quota_us", f"{group}/cpu.cfs_period_us"
    return dict(zip(names, (f"{quota}\n", f"{period}\n"), strict=True))


@pytest.mark.parametrize(
    ("cores", "mounts", "memberships", "files"),
    [
        (2, V2, "0::/\n", {"cpu.max": "200000 100000\n"}),
        (1, V2, "0::/\n", {"cpu.max": "50000 100000\n"}),
        (2, V2, "0::/\n", {"cpu.max": "290000 100000\n"}),  # a third device would be throttled
        (64, V2, "0::/\n", {"cpu.max": "max 100000\n"}),
        (64, V2, "0::/\n", {"cpu.max": "12800000 100000\n"}),  # more than the affinity
        (64, V2, "0::/\n", {}),
        (64, V2, "0::/\n", {"cpu.max": "damaged\n"}),
        # Kubernetes and Slurm: the quota is that of a group around the process's.
        (3, V2, "0::/pod/main\n", {"pod/cpu.max": "300000 100000\n", "pod/main/cpu.max": "max 1"}),
        (2, V2, "0::/a/b\n", {"a/cpu.max": "400000 100000\n", "a/b/cpu.max": "200000 100000\n"}),
        (2, V1, "4:cpu,cpuacct:/\n", v1(200_000)),
        (64, V1, "4:cpu,cpuacct:/\n", v1(-1)),
        (1, V1, "4:cpu,cpuacct:/job\n", v1(150_000, group="cpu,cpuacct/job")),
        (4, V1_OF_HOST, "4:cpu:/docker/ab\n", v1(200_000, 50_000, "cpu")),
        (2, V1_OF_HOST, "4:cpu:/docker/ab/in\n", v1(200_000, group="cpu/in")),
        (2, V1_OF_HOST, "4:cpu:/elsewhere\n", v1(200_000, group="cpu")),
        # Both versions, the controller in one of them.
        (2, V2 + V1, "4:cpu,cpuacct:/\n0::/\n", v1(200_000)),
        (64, V2, "0::/../outside\n", {}),
        (64, "nothing of the kind\n", "neither\n", {}),
    ],
)
def test_a_quota_counts_where_it_is_less_than_the_affinity(
    *, cores, mounts, memberships, files, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert usable_cores(fabricate(tmp_path, mounts, memberships, files)) == cores


def test_a_mount_may_have_a_name_in_any_encoding(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    root = fabricate(tmp_path, V2, "0::/\n", {"cpu.max": "200000 100000\n"})
    mounts = root / "proc/self/mountinfo"
    mounts.write_bytes(b"31 23 8:1 / /media/caf\xe9 rw - vfat /dev/sdb1 rw\n" + mounts.read_bytes())
    assert usable_cores(root) == 2


def test_without_control_groups_the_affinity_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert usable_cores(tmp_path) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_a_quota_bounds_devices_and_threads(tmp_path):
    root = fabricate(tmp_path, V2, "0::/\n", {"cpu.max": "300000 100000\n"})
    done = run_program("cores_under_a_quota", root, XLA_FLAGS="")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3", "3"]
