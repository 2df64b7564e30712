"""Supervision of a sweep's units on a launcher: submission, retries, and giving up.

The status of a run is read from its directory, so that a new driver can continue after one that was
killed.
"""

import re
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xception_jax.errors import FAILED, STUCK, InputError
from xception_jax.launchers import Ended, Launcher, Unit, read_log
from xception_jax.lock import MISSED, RENEWED, is_locked
from xception_jax.records import ENDED
from xception_jax.runtime import run_directory as files
from xception_jax.training import Interrupted

_POLL_SECONDS = 0.2
_MAX_SAME_FAILURES = 3  # units that fail in the same way before the first success: give up
_MAX_NODE_FAILURES = 2  # consecutive failures on a node, after which it is not used again
_LONGEST_WAIT = 60.0  # seconds before a unit is retried
_LOCK_SECONDS = RENEWED * (MISSED + 1)  # by then the lock of a killed process has run out


class Stopped(Exception):
    """The sweep was given up, since all units that were tried failed in the same way."""


@dataclass
class _Trial:
    """The attempts at one unit: its failures, the nodes they were on, and when to try again."""

    failures: int = 0
    pre_emptions: int = 0
    not_before: float = 0.0
    in_use: bool = False
    nodes: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Failure:
    """A failure for the record of a run, whose worker may seem to hold its lock until a time."""

    run_dir: Path
    reason: str
    log: str
    until: float


class Supervisor:
    """Runs units on a launcher until each has ended or has failed too often.

    Args:
        units: units that have an unfinished run.
        launcher: the launcher; the caller closes it.
        retries: number of times that a failed unit is retried; pre-emptions do not count.
        warn: function called with a line of text for the user.
        tell: function called a few times a second with the submitted units.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        launcher: Launcher,
        *,
        retries: int,
        warn: Callable[[str], None],
        tell: Callable[[Sequence[Unit]], None] = lambda _: None,
    ) -> None:
        self._launcher, self._retries = launcher, retries
        self._warn, self._tell = warn, tell
        self._waiting, self._submitted = deque(units), dict[int, Unit]()
        self._trials = {unit.number: _Trial() for unit in units}
        self._finished = 0
        self._unrecorded: list[_Failure] = []
        self._failures: dict[int, tuple[str, str]] = {}  # by unit: node and signature
        self._bad_nodes: set[str] = set()
        self._node_failures: Counter[str] = Counter()

    def run(self, stop: Callable[[], bool]) -> None:
        """Returns when every unit has ended or has failed too often.

        Raises:
            Interrupted: `stop` returned True; the active units have saved checkpoints.
            Stopped: the sweep was given up; the active units have saved checkpoints.
        """
        try:
            while self._waiting or self._submitted or self._unrecorded:
                if stop():
                    raise Interrupted(f"stopped with {len(self._submitted)} units at hand")
                self._submit()
                for unit in list(self._submitted.values()):
                    if (ended := self._launcher.status(unit)) is not None:
                        del self._submitted[unit.number]
                        self._handle_end(unit, ended)
                self._record_failures()
                self._tell(list(self._submitted.values()))
                time.sleep(_POLL_SECONDS)
        finally:
            self._cancel()

    def _cancel(self) -> None:
        for unit in self._submitted.values():
            self._launcher.cancel(unit)
        while self._submitted:
            for unit in list(self._submitted.values()):
                if self._launcher.status(unit) is not None:
                    del self._submitted[unit.number]
            time.sleep(_POLL_SECONDS)

    def _submit(self) -> None:
        """Submits the waiting units that may start now, as many as the launcher takes."""
        most = self._launcher.most
        for _ in range(len(self._waiting)):
            if most is not None and len(self._submitted) >= most:
                return
            unit = self._waiting.popleft()
            trial = self._trials[unit.number]
            if time.monotonic() < trial.not_before:
                self._waiting.append(unit)
            elif any(is_locked(run_dir) for run_dir in unit.run_dirs):
                if not trial.in_use:
                    self._warn(f"{unit.name} is in use by another process; it is waited for")
                trial.in_use = True
                self._wait(unit, _LONGEST_WAIT / 30)
            elif not self._unfinished_records(unit):  # another process has finished it
                self._finished += 1
            else:
                nodes = self._launcher.nodes() - self._bad_nodes
                avoid = self._bad_nodes | (trial.nodes if nodes - trial.nodes else set())
                self._launcher.submit(unit, avoid)
                self._submitted[unit.number] = unit

    def _wait(self, unit: Unit, seconds: float) -> None:
        self._trials[unit.number].not_before = time.monotonic() + seconds
        self._waiting.append(unit)

    def _unfinished_records(self, unit: Unit) -> list[dict[str, Any]]:
        """The content of `run.json` of a unit's unfinished runs."""
        records = [read_or_failed(run_dir) for run_dir in unit.run_dirs]
        return [record for record in records if record["status"] not in ENDED]

    def _handle_end(self, unit: Unit, ended: Ended) -> None:
        """Decides whether a unit whose process has ended is done, retried or has failed."""
        trial, unfinished = self._trials[unit.number], self._unfinished_records(unit)
        if not unfinished:
            self._finished += 1
            self._node_failures[ended.node] = 0
            return
        if ended.pre_empted:
            trial.pre_emptions += 1
            self._warn(f"{unit.name}: {ended.reason or 'pre-empted'}; it goes on")
            self._wait(unit, _backoff(trial.pre_emptions))
            return
        reason = self._reason(unit, ended, unfinished)
        trial.failures += 1
        trial.nodes |= {ended.node} - {""}  # Ray does not say where a worker crashed
        node = f" on {ended.node}" if ended.node else ""
        attempt = f"attempt {trial.failures} of {self._retries + 1}"
        self._warn(f"{unit.name}: failed{node}, {attempt}: {reason}")
        self._count_failure(unit, ended.node, reason)
        if trial.failures > self._retries:
            log, until = read_log(unit), time.monotonic() + _LOCK_SECONDS
            self._unrecorded += [_Failure(home, reason, log, until) for home in unit.run_dirs]
            if any(is_locked(home) for home in unit.run_dirs):
                self._warn(f"{unit.name}: recorded as failed once the lock of its worker runs out")
        else:
            self._wait(unit, _backoff(trial.failures))

    def _count_failure(self, unit: Unit, node: str, reason: str) -> None:
        """Stops using a node that is broken; gives the sweep up if the nodes are not the cause."""
        if node in self._bad_nodes:  # submitted before the node was known to be broken
            return
        self._node_failures[node] += 1
        self._failures[unit.number] = node, _signature(unit, reason)
        usable = self._launcher.nodes() - self._bad_nodes
        if node and self._node_failures[node] >= _MAX_NODE_FAILURES and usable - {node}:
            self._bad_nodes.add(node)
            self._warn(f"{node} is not used again: {self._node_failures[node]} units failed there")
            self._failures = {n: where for n, where in self._failures.items() if where[0] != node}
        count, signatures = len(self._failures), {way for _, way in self._failures.values()}
        if not self._finished and count >= _MAX_SAME_FAILURES and len(signatures) == 1:
            raise Stopped(f"given up: the first {count} units all failed the same way: {reason}")

    def _reason(self, unit: Unit, ended: Ended, unfinished: list[dict[str, Any]]) -> str:
        """One line on why a unit failed, from the launcher, its runs or its log."""
        if ended.reason:
            return ended.reason
        assert ended.code is not None
        recorded = [record.get("reason") for record in unfinished if record["status"] == "failed"]
        if ended.code in (FAILED, STUCK) and recorded:
            return str(recorded[0])
        last = (read_log(unit).strip().splitlines() or ["it said nothing"])[-1]
        if ended.code < 0:
            return f"killed by {signal.Signals(-ended.code).name}; last: {last}"
        return f"exit code {ended.code}: {last}"

    def _record_failures(self) -> None:
        """Records failures in the `run.json` of their runs, where their process could not.

        The lock of a process that was killed on another host looks alive until it has missed its
        renewals. One that is alive after that is of another process, which trains the run.
        """
        now, waiting = time.monotonic(), []
        for failure in self._unrecorded:
            record = read_or_failed(failure.run_dir)
            if record["status"] in ENDED or record.get("reason") == failure.reason:
                continue
            if not is_locked(failure.run_dir):
                with suppress(InputError):  # it is damaged, which its worker has said
                    files.record_failed(failure.run_dir, failure.reason, failure.log)
            elif now < failure.until:
                waiting.append(failure)
        self._unrecorded = waiting


def _backoff(times: int) -> float:
    """Seconds until a unit that did not end so many times is started again."""
    return min(_LONGEST_WAIT, 2.0 ** min(times, 10))


def read_or_failed(run_dir: Path) -> dict[str, Any]:
    """The content of a run's `run.json`; of a damaged one, that the run has failed."""
    try:
        return files.read_run(run_dir)
    except InputError as error:  # damaged meanwhile, which its worker will report, too
        return {"status": "failed", "reason": str(error)}


def _signature(unit: Unit, reason: str) -> str:
    """The reason of a failure without the directories and numbers that differ between runs."""
    for run_dir in unit.run_dirs:
        reason = reason.replace(run_dir.name, "")
    return re.sub(r"0x[0-9a-f]+|\d+", "#", reason)
