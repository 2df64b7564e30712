"""The units of a sweep on a launcher: submitted, watched, tried again, given up.

How a run stands is read from its directory, so that a driver which is killed leaves nothing that
another one does not find.
"""

import re
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xception_jax.errors import FAILED, STUCK, InputError
from xception_jax.launchers import Ended, Launcher, Unit
from xception_jax.records import ENDED
from xception_jax.runtime import run_directory as files
from xception_jax.runtime.lock import is_locked
from xception_jax.training import Interrupted

_POLL_SECONDS = 0.2
_ALIKE = 3  # units that failed the same way, and none another: the next one would, too
_OF_A_NODE = 2  # failures without a success between them, after which it is not used again
_LONGEST_WAIT = 60.0  # seconds before a unit is tried again


class Stopped(Exception):
    """The sweep was given up, since all that was tried failed the same way; says which."""


@dataclass
class _Trial:
    """How a unit has fared: its failures and where they were, and what it waits for."""

    failures: int = 0
    pre_emptions: int = 0
    not_before: float = 0.0
    in_use: bool = False
    nodes: set[str] = field(default_factory=set)


class Supervisor:
    """Sees to it that every unit ends.

    Args:
        units: those with a run that has not ended.
        launcher: closed by the caller.
        retries: after how many failures of a unit it is tried again; pre-emption is none.
        warn: takes a line of text for people.
        tell: called a few times a second with the units that are submitted.
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
        self._waiting, self._going = deque(units), dict[int, Unit]()
        self._trials = {unit.number: _Trial() for unit in units}
        self._finished = 0
        self._reasons: dict[int, tuple[str, str]] = {}  # by unit: how it failed, and as people say
        self._bad_nodes: set[str] = set()
        self._node_failures: Counter[str] = Counter()

    def run(self, stop: Callable[[], bool]) -> None:
        """Returns when every unit has ended or was given up.

        Raises:
            Interrupted: `stop` said so; what ran has saved where it stands.
            Stopped: the sweep was given up; what still ran has saved, too.
        """
        try:
            while self._waiting or self._going:
                if stop():
                    raise Interrupted(f"stopped with {len(self._going)} units at hand")
                self._submit()
                for unit in list(self._going.values()):
                    if (ended := self._launcher.status(unit)) is not None:
                        del self._going[unit.number]
                        self._judge(unit, ended)
                self._tell(list(self._going.values()))
                time.sleep(_POLL_SECONDS)
        finally:
            self._cancel()

    def _cancel(self) -> None:
        for unit in self._going.values():
            self._launcher.cancel(unit)
        while self._going:
            for unit in list(self._going.values()):
                if self._launcher.status(unit) is not None:
                    del self._going[unit.number]
            time.sleep(_POLL_SECONDS)

    def _submit(self) -> None:
        """Every unit whose time has come, as far as the launcher takes them."""
        most = self._launcher.most
        for _ in range(len(self._waiting)):
            if most is not None and len(self._going) >= most:
                return
            unit = self._waiting.popleft()
            trial = self._trials[unit.number]
            if time.monotonic() < trial.not_before:
                self._waiting.append(unit)
            elif any(is_locked(home) for home in unit.run_dirs):
                if not trial.in_use:
                    self._warn(f"{unit.name} is in use by another process; it is waited for")
                trial.in_use = True
                self._wait(unit, _LONGEST_WAIT / 30)
            elif not self._left(unit):  # ended by that other process
                self._finished += 1
            else:
                nodes = self._launcher.nodes() - self._bad_nodes
                avoid = self._bad_nodes | (trial.nodes if nodes - trial.nodes else set())
                self._launcher.submit(unit, avoid)
                self._going[unit.number] = unit

    def _wait(self, unit: Unit, seconds: float) -> None:
        self._trials[unit.number].not_before = time.monotonic() + min(seconds, _LONGEST_WAIT)
        self._waiting.append(unit)

    def _left(self, unit: Unit) -> list[dict[str, Any]]:
        """`run.json` of its runs that have not ended."""
        records = [_read(home) for home in unit.run_dirs]
        return [record for record in records if record["status"] not in ENDED]

    def _judge(self, unit: Unit, ended: Ended) -> None:
        """Whether the unit is done, goes on, is tried again or is given up."""
        trial, left = self._trials[unit.number], self._left(unit)
        if not left:
            self._finished += 1
            self._node_failures[ended.node] = 0
            return
        if ended.pre_empted:
            trial.pre_emptions += 1
            self._warn(f"{unit.name}: {ended.reason or 'pre-empted'}; it goes on")
            self._wait(unit, 2.0**trial.pre_emptions)
            return
        reason = self._reason(unit, ended, left)
        trial.failures += 1
        trial.nodes.add(ended.node)
        place = f" on {ended.node}" if ended.node else ""
        tries = f"attempt {trial.failures} of {self._retries + 1}"
        self._warn(f"{unit.name}: failed{place}, {tries}: {reason}")
        self._blame(unit, ended.node, reason)
        if trial.failures > self._retries:
            self._record_failure(unit, reason)
        else:
            self._wait(unit, 2.0**trial.failures)

    def _blame(self, unit: Unit, node: str, reason: str) -> None:
        """Stops using a node that is broken, and the sweep if that is not the reason."""
        if node in self._bad_nodes:  # submitted before that was known
            return
        self._node_failures[node] += 1
        self._reasons[unit.number] = node, _signature(unit, reason)
        usable = self._launcher.nodes() - self._bad_nodes
        if self._node_failures[node] >= _OF_A_NODE and usable - {node}:
            self._bad_nodes.add(node)
            self._warn(f"{node} is not used again: {self._node_failures[node]} units failed there")
            self._reasons = {n: where for n, where in self._reasons.items() if where[0] != node}
        ways = {way for _, way in self._reasons.values()}
        if not self._finished and len(self._reasons) >= _ALIKE and len(ways) == 1:
            raise Stopped(
                f"given up: the first {len(self._reasons)} units all failed the same way: {reason}"
            )

    def _reason(self, unit: Unit, ended: Ended, left: list[dict[str, Any]]) -> str:
        if ended.reason:
            return ended.reason
        assert ended.code is not None
        said = [record["reason"] for record in left if record["status"] == "failed"]
        if ended.code in (FAILED, STUCK) and said:
            return str(said[0])
        last = (self._launcher.logs(unit).strip().splitlines() or ["it said nothing"])[-1]
        if ended.code < 0:
            return f"killed by {signal.Signals(-ended.code).name}; last: {last}"
        return f"exit code {ended.code}: {last}"

    def _record_failure(self, unit: Unit, reason: str) -> None:
        """Says in `run.json` that its runs were given up, where their own process could not."""
        for home in unit.run_dirs:
            record = _read(home)
            said = record["status"] in ENDED or record.get("reason") == reason
            if not said and not is_locked(home):
                files.record_failed(home, reason, self._launcher.logs(unit))


def _read(home: Path) -> dict[str, Any]:
    try:
        return files.read_run(home)
    except InputError as error:  # damaged meanwhile, which its worker will say, too
        return {"status": "failed", "reason": str(error)}


def _signature(unit: Unit, reason: str) -> str:
    """The reason without what differs between runs that fail alike: their places and figures."""
    for home in unit.run_dirs:
        reason = reason.replace(home.name, "")
    return re.sub(r"0x[0-9a-f]+|\d+", "#", reason)
