"""Sweeps on a real Ray cluster of two nodes: workers, nodes and drivers are killed.

`make test-slow` installs Ray for these.
"""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.launchers.worker_sweeps import (
    assert_done_as,
    finish,
    in_the_middle,
    kill_one,
    record,
    run_dirs,
    workers,
)
from tests.processes import wait_until
from xception_jax.errors import InputError
from xception_jax.launchers import Ended, Unit
from xception_jax.launchers.ray import RayLauncher, parse_resources

pytestmark = pytest.mark.slow
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "120",
}


@pytest.fixture(scope="module")
def cluster():
    """A head that runs nothing, and two nodes with room for one run each."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        cluster = Cluster()
        try:
            cluster.add_node(num_cpus=0)
            cluster.nodes = [cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)]
            cluster.wait_for_nodes()
            yield cluster
        finally:
            cluster.shutdown()


@pytest.fixture
def sweep(cluster, start, tmp_path) -> Callable[..., tuple[Path, object]]:
    """`sweep()`: a sweep's directory, and its command, started on the cluster."""
    home = tmp_path / "sweep"
    return lambda *more: (
        home,
        start(home, "--launcher", "ray", *more, RAY_ADDRESS=cluster.address),
    )


@pytest.fixture
def launched(cluster, tmp_path, monkeypatch) -> Iterator[Callable[..., Ended]]:
    """`launched("memory=1000", avoid={"gone"}, log="0.log")`: how `true` ended there."""
    launchers: list[RayLauncher] = []
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)

    def launched(resources: str, *, avoid: set[str], log: str) -> Ended:
        launchers.append(launcher := RayLauncher(parse_resources(resources)))
        unit = Unit(0, "arm-s0", (tmp_path,), ("true",), tmp_path / log)
        launcher.submit(unit, avoid)
        states: list[Ended] = []

        def has_ended() -> bool:
            states.extend(filter(None, [launcher.status(unit)]))
            return bool(states)

        wait_until(has_ended)
        return states[0]

    yield launched
    for launcher in launchers:
        launcher.close()


def test_memory_is_reserved_and_a_node_that_is_gone_is_not_avoided(launched):
    ended = launched("memory=1000000", avoid={"10.0.0.9 (cccccccc)"}, log="0.log")
    assert (ended.code, ended.reason) == (0, "")


def test_an_error_in_the_task_is_named(launched):
    ended = launched("", avoid=set(), log="none/0.log")
    assert ended.code == -signal.SIGKILL
    assert ended.reason.startswith("RayTaskError(FileNotFoundError): FileNotFoundError: [Errno 2]")


def test_resources_that_ray_refuses_are_named(launched):
    with pytest.raises(InputError, match=r"--resources='CPU=1,TPU=3': Ray refuses it: .*'TPU'"):
        launched("TPU=3", avoid=set(), log="0.log")


def assert_resumed(home: Path) -> None:
    assert any(record(run)["resumed_from"] for run in run_dirs(home).values())


def test_a_killed_worker_is_started_again(sweep, whole):
    home, process = sweep()
    wait_until(lambda: in_the_middle(home), process)
    kill_one(home)
    code, out = finish(process)
    assert code == 0, out
    assert "attempt 1 of 3: killed by SIGKILL" in out
    assert_resumed(home)
    assert_done_as(whole, home)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_driver_leaves_no_worker_and_the_same_command_goes_on(sweep, whole, number):
    home, process = sweep()
    wait_until(lambda: in_the_middle(home), process)
    process.send_signal(number)
    code, out = finish(process)
    if number == signal.SIGTERM:
        assert code == 75, out
        assert "the same command goes on from there" in out
        assert not list(workers(home))
        logs = [path.read_text() for path in (home / "workers").glob("*.log")]
        assert any("stopped after step" in text for text in logs)
    code, out = finish(sweep()[1])  # at once: what is still in use is waited for
    assert code == 0, out
    assert_resumed(home)
    assert_done_as(whole, home)


def test_the_runs_of_a_lost_node_go_on_elsewhere(sweep, whole, cluster):
    home, process = sweep()
    wait_until(lambda: in_the_middle(home, runs=2), process)
    try:
        cluster.remove_node(cluster.nodes.pop(), allow_graceful=False)
        code, out = finish(process)
    finally:  # later tests need two nodes
        cluster.nodes.append(cluster.add_node(num_cpus=1))
    assert code == 0, out
    assert "its node was lost (NodeDiedError); it goes on" in out
    assert_resumed(home)
    assert_done_as(whole, home)
