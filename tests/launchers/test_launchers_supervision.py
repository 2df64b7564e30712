"""Supervision of units: what is retried, on which node, and when a sweep is given up.

A fake launcher stands for the engine; `test_launchers_processes.py` has real processes.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from xception_jax import lock
from xception_jax.launchers import Ended, Unit, supervision
from xception_jax.launchers.supervision import Stopped, Supervisor
from xception_jax.lock import locked
from xception_jax.runtime import run_directory
from xception_jax.training import Interrupted

RESULT = {"split": "test", "examples": 9, "loss": 1.0, "top1": 0.5, "top5": 0.9}
DONE, FAILED, KILLED, PRE_EMPTED, LOST = Ended(0), Ended(1), Ended(-9), Ended(75), Ended(None)


@dataclass
class Engine:
    """A fake launcher that ends each attempt of a unit as `script` decides."""

    script: Callable[[Unit, int, str], Ended | None]
    node_names: tuple[str, ...] = ("",)
    most: int | None = None
    names_node: bool = True
    attempts: dict[int, int] = field(default_factory=dict)
    where: dict[int, str] = field(default_factory=dict)
    submitted: list[tuple[int, str]] = field(default_factory=list)
    avoided: list[set[str]] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    largest: int = 0

    def submit(self, unit, avoid):
        self.avoided.append(set(avoid))
        usable = [node for node in self.node_names if node not in avoid]
        assert usable, "there is nowhere to run"
        # The first node that is allowed, as a broken and therefore idle one would be taken.
        self.where[unit.number] = usable[0]
        self.submitted.append((unit.number, usable[0]))
        self.largest = max(self.largest, len(self.where))

    def status(self, unit):
        node = self.where[unit.number]
        if unit.number in self.cancelled:
            ended: Ended | None = PRE_EMPTED
        else:
            attempt = self.attempts.get(unit.number, 0)
            self.attempts[unit.number] = attempt + 1
            ended = self.script(unit, attempt, node)
        if ended is DONE:
            for run_dir in unit.run_dirs:
                run_directory.update_run(run_dir, status="done", result=RESULT)
        if ended is not None:
            del self.where[unit.number]
            ended = Ended(ended.code, node if self.names_node else "", ended.reason)
        return ended

    def cancel(self, unit):
        self.cancelled.append(unit.number)

    def nodes(self):
        return set(self.node_names)

    def close(self):
        raise AssertionError("whoever opened it closes it")


@pytest.fixture
def units(tmp_path) -> list[Unit]:
    units = []
    (tmp_path / "log").write_text("Traceback …\nOSError: no space left\n")
    for number in range(6):
        run_dir = tmp_path / f"run-{number}"
        run_dir.mkdir()
        units.append(Unit(number, f"arm-s{number}", (run_dir,), ("true",), tmp_path / "log"))
    return units


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(supervision, "_POLL_SECONDS", 0.0)
    monkeypatch.setattr(supervision, "_LONGEST_WAIT", 0.0)


def supervise(units, engine, retries=2, stop=lambda: False) -> list[str]:
    messages: list[str] = []
    try:
        Supervisor(units, engine, retries=retries, warn=messages.append).run(stop)
    except (Stopped, Interrupted) as error:
        messages.append(f"{type(error).__name__}: {error}")
    assert not engine.where, "a unit was left behind"
    return messages


def record(unit: Unit) -> dict:
    return json.loads((unit.run_dirs[0] / "run.json").read_text())


def test_every_unit_is_done_once_and_no_more_at_a_time_than_fit(units):
    engine = Engine(lambda *_: DONE, most=2)
    assert supervise(units, engine) == []
    assert [number for number, _ in engine.submitted] == [0, 1, 2, 3, 4, 5]
    assert engine.largest == 2
    assert {record(unit)["status"] for unit in units} == {"done"}


def test_a_failure_is_tried_again_so_often_and_then_recorded(units):
    engine = Engine(lambda unit, attempt, _: KILLED if unit.number == 3 else DONE)
    messages = supervise(units, engine, retries=2)
    reason = "killed by SIGKILL; last: OSError: no space left"
    assert messages == [f"arm-s3: failed, attempt {n} of 3: {reason}" for n in (1, 2, 3)]
    assert record(units[3])["status"] == "failed"
    assert record(units[3])["reason"] == reason
    assert engine.attempts == {0: 1, 1: 1, 2: 1, 3: 3, 4: 1, 5: 1}


@pytest.mark.parametrize("ended", [PRE_EMPTED, LOST, Ended(-15)])
def test_pre_emption_does_not_count(units, ended):
    engine = Engine(lambda unit, attempt, _: ended if attempt < 9 else DONE)
    messages = supervise(units, engine, retries=0)
    assert len(messages) == 9 * 6
    assert all("it goes on" in line for line in messages)
    assert {record(unit)["status"] for unit in units} == {"done"}


def test_a_unit_is_pre_empted_as_often_as_it_takes(units, monkeypatch):
    monkeypatch.setattr(supervision, "_LONGEST_WAIT", 60.0)
    monkeypatch.setattr(
        supervision.Supervisor, "_wait", lambda self, unit, _: self._waiting.append(unit)
    )
    engine = Engine(lambda unit, attempt, _: PRE_EMPTED if attempt < 1100 else DONE)
    supervise(units[:1], engine)
    assert record(units[0])["status"] == "done"


@pytest.mark.parametrize("is_alive", [False, True])
def test_a_worker_killed_on_another_host_is_recorded_once_its_lock_runs_out(
    units, monkeypatch, is_alive
):
    """Its entry looks alive for a while; one that stays alive is of another process."""
    run_dir = units[0].run_dirs[0]
    run_directory.update_run(run_dir, status="running")
    asked: list[str] = []
    # Time passes whenever the lock is asked for.
    clock = SimpleNamespace(monotonic=lambda: float(len(asked)), sleep=lambda _: None)
    monkeypatch.setattr(supervision, "time", clock)
    monkeypatch.setattr(supervision, "_LOCK_SECONDS", 40.0)

    def script(unit, attempt, node):
        if unit.number:
            return DONE
        entry = "process 7 on node-7 since 2026-11-30T08:00:00+00:00, renewed 3 times\n"
        (run_dir / ".lock").write_text(entry)
        return KILLED

    def is_locked(home):
        if home != run_dir or not (home / ".lock").exists():
            return False
        asked.append(record(units[0])["status"])
        if len(asked) == 20 and not is_alive:
            os.utime(home / ".lock", (0, 0))
        return lock.is_locked(home)

    monkeypatch.setattr(supervision, "is_locked", is_locked)
    messages = supervise(units[:2], Engine(script), retries=0)
    assert messages[-1] == "arm-s0: recorded as failed once the lock of its worker runs out"
    assert set(asked) == {"running"}
    assert record(units[0])["status"] == ("running" if is_alive else "failed")
    assert (run_dir / "failure.txt").exists() != is_alive


def test_a_record_that_is_damaged_while_a_unit_runs_does_not_stop_the_others(units):
    damaged = units[3].run_dirs[0] / "run.json"

    def script(unit, attempt, _):
        if unit.number != 3:
            return DONE
        damaged.write_text('{"status": "runn')
        return KILLED

    messages = supervise(units, Engine(script), retries=1)
    reason = "killed by SIGKILL; last: OSError: no space left"
    assert messages == [f"arm-s3: failed, attempt {n} of 2: {reason}" for n in (1, 2)]
    assert {record(unit)["status"] for unit in units if unit.number != 3} == {"done"}
    assert damaged.read_text() == '{"status": "runn'  # there is nothing to add the failure to


def test_exit_75_of_a_run_that_has_ended_is_no_reason_to_start_it_again(units):
    def script(unit, attempt, _):
        run_directory.update_run(unit.run_dirs[0], status="diverged")
        return PRE_EMPTED

    engine = Engine(script)
    assert supervise(units, engine) == []
    assert len(engine.submitted) == 6


def test_a_sweep_that_fails_the_same_way_is_given_up_and_says_which(units):
    def script(unit, attempt, _):
        reason = f"OSError: disk {unit.number} is full in {unit.run_dirs[0].name}"
        run_directory.update_run(unit.run_dirs[0], status="failed", reason=reason)
        return FAILED

    engine = Engine(script, most=1)
    messages = supervise(units, engine)
    assert messages[-1].startswith(
        "Stopped: given up: the first 3 units all failed the same way: OSEr"
    )
    assert "is full" in messages[-1]
    assert engine.submitted == [(0, ""), (1, ""), (2, "")]


@pytest.mark.parametrize("different", [True, False])
def test_a_sweep_goes_on_where_something_was_done_or_the_ways_differ(units, different):
    def script(unit, attempt, _):
        if unit.number == 0 and not different:
            return DONE
        reason = f"Error: {'abcdef'[unit.number] if different else 'a'}"
        run_directory.update_run(unit.run_dirs[0], status="failed", reason=reason)
        return FAILED

    messages = supervise(units, Engine(script, most=1), retries=0)
    assert not any("Stopped" in line for line in messages)
    assert [record(unit)["status"] for unit in units[1:]] == ["failed"] * 5


def test_a_node_on_which_units_fail_is_not_used_again(units):
    def script(unit, attempt, node):
        return KILLED if node == "broken" else DONE

    engine = Engine(script, node_names=("broken", "good"), most=1)
    messages = supervise(units, engine, retries=1)
    assert [number for number, node in engine.submitted if node == "broken"] == [0, 1]
    assert {record(unit)["status"] for unit in units} == {"done"}
    assert "broken is not used again: 2 units failed there" in messages


@pytest.mark.parametrize("names_node", [True, False])
def test_a_unit_avoids_the_node_on_which_it_failed_and_none_where_nobody_knows_which(
    units, names_node
):
    """Ray does not say on which node a worker crashed, and refuses to avoid one without a name."""
    engine = Engine(
        lambda unit, attempt, _: DONE if unit.number == 0 or attempt else KILLED,
        node_names=("one", "other"),
        most=1,
        names_node=names_node,
    )
    messages = supervise(units, engine, retries=1)
    assert {record(unit)["status"] for unit in units} == {"done"}
    assert set().union(*engine.avoided) == ({"one"} if names_node else set())
    assert ("one is not used again: 2 units failed there" in messages) == names_node
    assert sum("is not used again" in line for line in messages) == names_node


def test_a_sweep_whose_workers_all_crash_is_given_up_where_nobody_knows_on_which_node(units):
    engine = Engine(lambda *_: KILLED, node_names=("one", "other"), names_node=False)
    messages = supervise(units, engine)
    assert messages[-1].startswith("Stopped: given up: the first 3 units all failed the same way")


def test_where_every_node_fails_the_sweep_is_given_up(units):
    engine = Engine(lambda *_: KILLED, node_names=("one", "other"))
    messages = supervise(units, engine, retries=5)
    assert sum("is not used again" in line for line in messages) == 1  # the last one is kept
    assert messages[-1].startswith("Stopped: given up")


def test_a_stop_is_passed_on_and_waited_for(units):
    engine = Engine(lambda *_: None, most=4)
    answers = iter([False, False, True])
    messages = supervise(units, engine, stop=lambda: next(answers))
    assert engine.cancelled == [0, 1, 2, 3]
    assert messages == ["Interrupted: stopped with 4 units at hand"]


def test_a_unit_in_use_is_waited_for_and_not_started(units, tmp_path):
    engine = Engine(lambda *_: DONE)
    messages: list[str] = []

    def warn(line: str) -> None:
        messages.append(line)
        held.__exit__(None, None, None)
        run_directory.update_run(
            units[2].run_dirs[0], status="done", result=RESULT
        )  # by whoever held it

    held = locked(units[2].run_dirs[0])
    held.__enter__()
    Supervisor(units, engine, retries=0, warn=warn).run(lambda: False)
    assert messages == ["arm-s2 is in use by another process; it is waited for"]
    assert 2 not in engine.attempts


def test_the_units_own_state_is_read_from_its_directory(units: list[Unit], tmp_path: Path):
    """A unit that an earlier driver finished is not started again."""
    run_directory.update_run(units[0].run_dirs[0], status="done", result=RESULT)
    engine = Engine(lambda *_: DONE)
    assert supervise(units, engine) == []
    assert 0 not in engine.attempts
