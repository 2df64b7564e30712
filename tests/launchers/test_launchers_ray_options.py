"""The launcher asks Ray for what it takes, and says its errors, with a fake of its module.

`test_launchers_ray.py` has a real cluster, where the same is asked.
"""

import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from xception_jax.errors import InputError
from xception_jax.launchers import Ended, Unit
from xception_jax.launchers.ray import RayLauncher, parse_resources

ONE, OTHER = ("a" * 56, "b" * 56)
GONE = f"10.0.0.9 ({'c' * 8})"


class RayError(Exception):
    """The base of Ray's errors; the others have its names and bases, too."""


class RayTaskError(RayError):
    pass


class WorkerCrashedError(RayError):
    pass


class TaskCancelledError(RayError):
    pass


class NodeDiedError(RayError):
    pass


class LocalRayletDiedError(RayError):
    pass


ERRORS = (
    *(RayError, RayTaskError, WorkerCrashedError),
    *(TaskCancelledError, NodeDiedError, LocalRayletDiedError),
)


@dataclass
class FakeRay:
    """The part of Ray's module that the launcher uses; it keeps the options it was given."""

    refusal: str = ""
    raised: Exception | None = None
    connected: bool = False
    asked: list[dict[str, Any]] = field(default_factory=list)
    exceptions: Any = field(
        default_factory=lambda: SimpleNamespace(**{error.__name__: error for error in ERRORS})
    )

    def init(self, **_):
        self.connected = True

    def shutdown(self):
        self.connected = False

    def remote(self, **_):
        return lambda _: SimpleNamespace(options=self._options)

    def _options(self, **options):
        if self.refusal:  # Ray checks its options at once, and not when the task is submitted
            raise ValueError(self.refusal)
        self.asked.append(options)
        return SimpleNamespace(remote=lambda *_: "task")

    def nodes(self):
        return [{"NodeID": node, "NodeManagerAddress": "10.0.0.1"} for node in (ONE, OTHER)]

    def wait(self, tasks, timeout):
        return tasks, []

    def get(self, _):
        assert self.raised is not None
        raise self.raised


@pytest.fixture
def ray(monkeypatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    for name in ("RAY_AUTH_MODE", "RAY_USAGE_STATS_ENABLED"):  # the launcher sets them
        monkeypatch.setenv(name, "")
    return fake


@pytest.fixture
def unit(tmp_path) -> Unit:
    return Unit(0, "arm-s0", (tmp_path,), ("true",), tmp_path / "0.log")


def test_nodes_that_the_cluster_no_longer_has_are_not_asked_to_be_avoided(ray, unit):
    """Ray refuses a selector of no nodes."""
    launcher = RayLauncher(parse_resources(""))
    launcher.submit(unit, {GONE})
    launcher.submit(unit, set())
    assert [options.get("label_selector") for options in ray.asked] == [None] * 3
    launcher.submit(unit, {GONE, f"10.0.0.1 ({OTHER[:8]})"})
    assert ray.asked[-1]["label_selector"] == {"ray.io/node-id": f"!in({OTHER})"}


def test_memory_is_asked_for_by_an_option_of_its_own(ray, unit):
    """Ray refuses it among the resources that a cluster gives names to."""
    RayLauncher(parse_resources("memory=8589934592,slots=2")).submit(unit, ())
    for options in ray.asked:
        assert (options["memory"], options["resources"]) == (8589934592, {"slots": 2})


def test_resources_that_ray_refuses_are_one_line(ray):
    ray.refusal = "The number of requested 'TPU' was set to 3.0"
    with pytest.raises(InputError) as refused:
        RayLauncher(parse_resources("TPU=3,memory=8589934592"))
    line = "--resources='CPU=1,TPU=3,memory=8589934592': Ray refuses it: "
    assert str(refused.value) == line + ray.refusal
    assert not ray.connected


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            RayTaskError("ray::_run_command() (pid=7, ip=10.0.0.1)\n  File …\nOSError: read-only"),
            "RayTaskError: OSError: read-only",
        ),
        (
            WorkerCrashedError("The worker died unexpectedly.\nCheck its logs."),
            "WorkerCrashedError: The worker died unexpectedly.",
        ),
        (WorkerCrashedError(""), "WorkerCrashedError: "),
    ],
)
def test_the_reason_of_an_error_is_its_line_that_says_what_happened(ray, unit, error, reason):
    launcher = RayLauncher(parse_resources(""))
    launcher.submit(unit, ())
    ray.raised = error
    assert launcher.status(unit) == Ended(-9, reason=reason)
