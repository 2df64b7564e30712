"""A lease on a directory of an object store, so that one process at a time works in it.

A store has no lock that ends with its process. The holder renews an object instead, from a thread
of its own, however long an upload takes. A process that finds another's lease watches it for
`MISSED` renewals; it compares no clocks. Two processes that start at the same moment both write the
object, and the one that then reads the other's gives way.
"""

import json
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from xception_jax.errors import STUCK, InputError, last_words
from xception_jax.json_values import as_mapping, as_real, as_text
from xception_jax.remote.store import Store

NAME = ".lease.json"
MISSED = 3  # renewals that a living process does not miss
MAX_SECONDS = 3600.0  # the longest interval between renewals of another process that is believed
_SECONDS = 30.0  # the longest interval between renewals of this process
_CLOCK_SKEW = 30.0  # seconds by which the clocks of two machines differ, at most
_SETTLED = 1.0  # seconds after which processes that started at the same moment have written


class Lease:
    """A held lease on the directory of `store`, which a thread renews until `release`.

    The process ends with exit code 70 where it finds that another one took it for dead: two would
    train the same run.

    Attributes:
        continues: whether this machine was the last to hold a lease on the directory.

    Args:
        store: the directory.
        sessions: a file of this machine that lists its sessions whose files it has.
        seconds: the interval between renewals; longer ones than `_SECONDS` are shortened.

    Raises:
        InputError: another process holds the lease; the message names it, its host and its start.
    """

    def __init__(self, store: Store, sessions: Path, seconds: float) -> None:
        self._store = store
        self._seconds = min(seconds, _SECONDS)
        self._record: dict[str, Any] = {
            "session": uuid.uuid4().hex,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "processes": _namespace_of_processes(),
            "since": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
            "every": self._seconds,
            "renewed": 0,
            "held": True,
        }
        self._sessions = sessions
        previous = _read(store)
        self.continues = previous is not None and _is_listed(sessions, previous)
        if previous is not None:
            if previous.get("held") and not (self.continues and _has_ended(previous)):
                self._refuse_if_renewed(previous)
            if self.continues:  # after a kill between this line and the next, both are listed
                self.remember(previous["session"])
        self._write()
        time.sleep(_SETTLED)
        if not self._is_mine(rival := _read(store)):
            self._refuse(rival or {})
        self._lock = threading.Lock()  # of `_record` and the object
        self._released = threading.Event()
        self._renewing = threading.Thread(target=self._renew_often, name="lease", daemon=True)
        self._renewing.start()

    def remember(self, *others: str) -> None:
        """Lists this session as one whose files this machine has.

        Args:
            others: further sessions whose files this machine has.
        """
        self._sessions.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._sessions.with_name(f"{self._sessions.name}.partial")
        scratch.write_text("\n".join([self._record["session"], *others]))
        scratch.replace(self._sessions)

    def renew(self) -> None:
        """Renews the lease; ends the process if another one holds it now."""
        with self._lock:
            self._end_unless_mine()
            self._record["renewed"] += 1
            self._write()

    def release(self) -> None:
        """Ends the lease; the store still knows whose it was. Otherwise like `renew`."""
        self._released.set()
        self._renewing.join()
        self._end_unless_mine()
        self._record["held"] = False
        self._write()

    def _renew_often(self) -> None:
        while not self._released.wait(self._seconds):
            with suppress(Exception):  # the store is away, which whoever uploads says
                self.renew()

    def _refuse_if_renewed(self, previous: dict[str, Any]) -> None:
        """Raises `InputError` if the lease changes while `MISSED` renewals are due.

        Returns early if its holder has ended it.
        """
        for _ in range(MISSED):
            time.sleep(_interval(previous))
            current = _read(self._store) or {}
            is_same = current.get("session") == previous.get("session") is not None
            if is_same and current.get("held") is False:
                return
            if current != previous:
                self._refuse(previous)

    def _refuse(self, other: dict[str, Any]) -> None:
        raise InputError("--workdir", self._store.url, f"is in use by {_holder(other, '')}")

    def _end_unless_mine(self) -> None:
        record = _read(self._store)
        if not self._is_mine(record):
            lost = "was taken over by another process" if record is not None else "was deleted"
            last_words(f"{self._store.url} {lost}: this process ends")
            os._exit(STUCK)

    def _is_mine(self, record: dict[str, Any] | None) -> bool:
        return record is not None and record.get("session") == self._record["session"]

    def _write(self) -> None:
        self._record["at"] = time.time()
        self._store.write(NAME, json.dumps(self._record).encode())


def living_holder(store: Store) -> str | None:
    """The process that works in a directory, if any; compares clocks, so it is only for display."""
    record = _read(store) or {}
    age = time.time() - (as_real(record.get("at")) or 0.0)
    # A machine whose clock is wrong may have left one of the future.
    if not record.get("held") or abs(age) > _CLOCK_SKEW + MISSED * _interval(record):
        return None
    return _holder(record, f"{store.url}/")


def _interval(record: dict[str, Any]) -> float:
    """Seconds between a lease's renewals, at most `MAX_SECONDS` whatever it says."""
    return min(max(as_real(record.get("every")) or 30.0, 0.0), MAX_SECONDS)


def _holder(record: dict[str, Any], prefix: str) -> str:
    """One line that names the process, host and start of a lease."""
    pid, host, since = (as_text(record.get(name)) for name in ("pid", "host", "since"))
    return f"process {pid} on {prefix}{host} since {since}"


def _read(store: Store) -> dict[str, Any] | None:
    """The lease of a directory, empty where it is damaged; None where there never was one.

    Whoever can write to the store can write anything there.
    """
    try:
        return as_mapping(json.loads(store.read(NAME), parse_constant=str))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        return {}


def _is_listed(sessions: Path, record: dict[str, Any]) -> bool:
    with suppress(OSError):
        return record.get("session") in sessions.read_text().split("\n")
    return False


def _has_ended(record: dict[str, Any]) -> bool:
    """Whether the process of a lease is known to have ended; False: it may be out of sight.

    Hosts may share the home that lists the sessions, and containers of one host the cache, but not
    the numbers of processes.
    """
    ours = socket.gethostname(), _namespace_of_processes()
    return (record.get("host"), record.get("processes")) == ours and not _runs(record.get("pid"))


def _namespace_of_processes() -> str:
    """Where a number of a process means the same one: a boot, and on Linux a container of it."""
    boot, namespace = "", ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - it is no path
    return f"{boot} {namespace}".strip()


def _runs(pid: object) -> bool:
    try:
        os.kill(int(str(pid)), 0)
    except (OSError, ValueError):
        return False
    return True
