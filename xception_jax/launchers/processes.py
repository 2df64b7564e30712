"""Launcher of worker processes on this machine (`--launcher local`), which share its devices."""

import os
import signal
import subprocess
from collections.abc import Collection
from contextlib import suppress

from xception_jax.launchers import Ended, Unit, start
from xception_jax.launchers.devices import accelerators, shares


class ProcessLauncher:
    """Launcher of a fixed number of worker processes on this machine.

    Args:
        workers: number of processes; None for one per accelerator, or one if there is none.

    Raises:
        InputError: the devices cannot be shared by so many processes.
    """

    def __init__(self, workers: int | None) -> None:
        kind, names = accelerators()
        self.most: int | None = workers or max(1, len(names))
        self._free = shares(self.most, kind, names)
        self._running: dict[int, tuple[subprocess.Popen[bytes], dict[str, str]]] = {}

    def submit(self, unit: Unit, avoid: Collection[str]) -> None:  # noqa: ARG002 - one node
        """Starts a unit's command as a process with a share of the devices."""
        share = self._free.pop(0)
        self._running[unit.number] = start(unit.command, unit.log, share), share

    def status(self, unit: Unit) -> Ended | None:
        """How a unit's process ended, or None while it runs."""
        process, share = self._running[unit.number]
        if process.poll() is None:
            return None
        del self._running[unit.number]
        self._free.insert(0, share)
        return Ended(process.returncode)

    def cancel(self, unit: Unit) -> None:
        """Sends SIGTERM to a unit's process."""
        self._running[unit.number][0].terminate()

    def nodes(self) -> set[str]:
        """The single, nameless node: this machine."""
        return {""}

    def close(self) -> None:
        """Kills the processes that still run."""
        for process, _ in self._running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._running.clear()
