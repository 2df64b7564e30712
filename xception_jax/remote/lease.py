"""One process at a time in a directory of an object store, as far as a store allows.

There is no lock that goes with its process, so the holder renews an object, and whoever finds
another's looks on for `MISSED` renewals, by its own patience and nobody's clock. Two that start in
the same instant both write; the one that does not find its own words afterwards gives way.
"""

import json
import os
import socket
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from xception_jax.errors import InputError
from xception_jax.remote.store import Store

NAME = ".lease.json"
MISSED = 3  # renewals that a living process does not miss
_CLOCKS_DIFFER = 30.0  # seconds, at most
_SETTLED = 1.0  # seconds, in which who wrote at the same time has written


class TakenOver(Exception):
    """Another process has the directory now."""


class Lease:
    """The directory of `store`, held.

    Attributes:
        continues: whether nobody else has written there since a session of this machine.

    Args:
        store: of the directory.
        mark: a file of this machine that tells its own sessions from others'.
        seconds: between renewals.

    Raises:
        InputError: another process holds it; says which, where and since when.
    """

    def __init__(self, store: Store, mark: Path, seconds: float) -> None:
        self._store = store
        self._said: dict[str, Any] = {
            "session": uuid.uuid4().hex,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
            "every": seconds,
            "renewed": 0,
            "held": True,
        }
        self._mark = mark
        before = self._read()
        self.continues = before is not None and _known(mark, before)
        if before is not None and before.get("held"):
            self._wait_for(before, gone=self.continues and not _runs(before.get("pid")))
        if before is not None and self.continues:  # a kill between the two leaves both known
            self.remember(before["session"])
        self._write()
        time.sleep(_SETTLED)
        self._require_mine()

    def remember(self, *others: str) -> None:
        """Marks this session as one whose files this machine has, now that it has them.

        Args:
            others: sessions of which that is true as well.
        """
        self._mark.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._mark.with_name(f"{self._mark.name}.partial")
        scratch.write_text("\n".join([self._said["session"], *others]))
        scratch.replace(self._mark)

    def renew(self) -> None:
        """Says that this process still lives.

        Raises:
            TakenOver: it was thought dead.
        """
        self._require_mine()
        self._said["renewed"] += 1
        self._write()

    def release(self) -> None:
        """Lets go; the session stays known."""
        self._said["held"] = False
        self._write()

    def _wait_for(self, before: dict[str, Any], *, gone: bool) -> None:
        for _ in range(0 if gone else MISSED):
            if self._is_new(before):
                self._refuse(before)
            time.sleep(float(before.get("every", 30)))
        if not gone and self._is_new(before):
            self._refuse(before)

    def _is_new(self, before: dict[str, Any]) -> bool:
        """Whether it was renewed, or begun, since; one from this moment is as good as renewed."""
        return self._read() != before

    def _refuse(self, before: dict[str, Any]) -> None:
        who = f"process {before.get('pid')} on {before.get('host')} since {before.get('since')}"
        raise InputError("--workdir", self._store.url, f"is in use by {who}")

    def _require_mine(self) -> None:
        there = self._read()
        if there is None or there.get("session") != self._said["session"]:
            raise TakenOver(f"{self._store.url} was taken over by another process")

    def _read(self) -> dict[str, Any] | None:
        return _read(self._store)

    def _write(self) -> None:
        self._said["at"] = time.time()
        self._store.write(NAME, json.dumps(self._said).encode())


def living_holder(store: Store) -> str | None:
    """Who works on the directory, by the machines' clocks, which is good enough to show."""
    said = _read(store) or {}
    patience = _CLOCKS_DIFFER + MISSED * float(said.get("every", 0))
    if not said.get("held") or time.time() - float(said.get("at", 0)) > patience:
        return None
    return f"process {said.get('pid')} on {store.url}/{said.get('host')} since {said.get('since')}"


def _read(store: Store) -> dict[str, Any] | None:
    with suppress(FileNotFoundError):
        content = json.loads(store.read(NAME))
        return content if isinstance(content, dict) else {}
    return None


def _known(mark: Path, before: dict[str, Any]) -> bool:
    with suppress(OSError):
        return before.get("session") in mark.read_text().split("\n")
    return False


def _runs(pid: object) -> bool:
    try:
        os.kill(int(str(pid)), 0)
    except (OSError, ValueError):
        return False
    return True
