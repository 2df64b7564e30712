"""`--launcher ray`: each unit is a Ray task that looks after one command.

Nothing is kept in Ray: what a task leaves is in the directories of its runs, which every node has
to see under the same path. Ray is asked for no retries, so that only one counts them.
"""

import logging
import os
import re
import signal
import time
from collections.abc import Collection, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from xception_jax.errors import INTERRUPTED, InputError
from xception_jax.launchers import Ended, Unit, read_log, start

_POLL_SECONDS = 0.2
_NODE_LABEL = "ray.io/node-id"  # every node has it
# Of an unset variable only: whoever set one meant it. Without the first, a local Ray writes a token
# into the home directory.
_DEFAULTS = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


def parse_resources(text: str) -> dict[str, float]:
    """What a unit takes of a node: "TPU=4", "GPU=0.25,CPU=2"; of CPUs one, if nothing is said.

    Raises:
        InputError: it is something else.
    """
    resources = {"CPU": 1.0}
    for word in filter(None, text.split(",")):
        name, _, amount = word.partition("=")
        if not re.fullmatch(r"[A-Za-z][\w.:-]*", name) or not re.fullmatch(r"\d+(\.\d+)?", amount):
            raise InputError("--resources", text, "must be like TPU=4 or GPU=0.25,CPU=2")
        resources[name] = float(amount)
        if resources[name] > 1 and resources[name] % 1:
            reason = f"{name} above 1 must be a whole number"
            raise InputError("--resources", text, reason, f"{name}={round(resources[name])}")
    return resources


class RayLauncher:
    """The cluster at RAY_ADDRESS, or one of this machine alone.

    Args:
        resources: that each unit takes, see `parse_resources`.

    Raises:
        InputError: Ray is not installed, or no cluster is at RAY_ADDRESS.
    """

    # Enough for an autoscaler to see what is wanted, and few enough to ask after several times a
    # second.
    most: int | None = 256

    def __init__(self, resources: Mapping[str, float]) -> None:
        try:
            import ray
        except ModuleNotFoundError as error:
            reason = "is not installed: pip install 'xception-jax[ray]'"
            raise InputError("--launcher", "ray", reason) from error
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)
        self._ray = ray
        with _own_signals():
            try:
                ray.init(log_to_driver=False, logging_level=logging.ERROR)
            except ConnectionError as error:
                address = os.environ.get("RAY_ADDRESS")
                raise InputError("RAY_ADDRESS", address, f"cannot be reached: {error}") from error
        self._resources, wanted = dict(resources), dict(resources)
        self._options = {
            "num_cpus": wanted.pop("CPU", 1.0),
            "num_gpus": wanted.pop("GPU", 0.0),
            "resources": wanted,
            "max_retries": 0,
        }
        self._environment = _share_of_gpu(resources.get("GPU", 0.0))
        self._task = ray.remote(max_calls=1)(_look_after)
        self._running: dict[int, Any] = {}

    def submit(self, unit: Unit, avoid: Collection[str]) -> None:
        """See `Launcher`."""
        options: dict[str, Any] = dict(self._options)
        if avoid:
            ids = ",".join(n["NodeID"] for n in self._ray.nodes() if _name(n) in avoid)
            options["label_selector"] = {_NODE_LABEL: f"!in({ids})"}
        task = self._task.options(**options)
        self._running[unit.number] = task.remote(unit.command, str(unit.log), self._environment)

    def status(self, unit: Unit) -> Ended | None:
        """See `Launcher`."""
        errors, task = self._ray.exceptions, self._running[unit.number]
        if not self._ray.wait([task], timeout=0)[0]:
            return None
        del self._running[unit.number]
        try:
            code, node_id = self._ray.get(task)
        except errors.TaskCancelledError:
            return Ended(INTERRUPTED)
        except (errors.NodeDiedError, errors.LocalRayletDiedError) as error:
            return Ended(None, reason=f"its node was lost ({type(error).__name__})")
        except errors.RayError as error:
            lines = str(error).strip().splitlines() or [""]
            return Ended(-signal.SIGKILL, reason=f"{type(error).__name__}: {lines[0]}")
        names = {node["NodeID"]: _name(node) for node in self._ray.nodes()}
        return Ended(code, names.get(node_id, node_id))

    def logs(self, unit: Unit) -> str:
        """See `Launcher`."""
        return read_log(unit)

    def cancel(self, unit: Unit) -> None:
        """See `Launcher`."""
        self._ray.cancel(self._running[unit.number])

    def nodes(self) -> set[str]:
        """See `Launcher`."""
        return {
            _name(node)
            for node in self._ray.nodes()
            if node["Alive"]
            and all(node["Resources"].get(name, 0) >= n for name, n in self._resources.items())
        }

    def close(self) -> None:
        """See `Launcher`: with this process's part in the cluster its tasks end."""
        self._ray.shutdown()


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})"


def _look_after(
    command: tuple[str, ...], log: str, environment: Mapping[str, str]
) -> tuple[int, str]:
    """The task: starts the command and waits for it; its exit code and the id of its node."""
    import ray

    process = start(command, Path(log), environment)
    try:
        while process.poll() is None:
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:  # Ray's way to cancel
        process.terminate()
        process.wait()
        raise
    return process.returncode, ray.get_runtime_context().get_node_id()


def _share_of_gpu(amount: float) -> dict[str, str]:
    """Several processes on a GPU: JAX would have each take most of its memory."""
    return {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 * amount:.3f}"} if 0 < amount < 1 else {}


@contextmanager
def _own_signals() -> Any:
    """Ray takes SIGTERM for itself when it starts; it stays the caller's."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with suppress(ValueError):  # not the main thread: nothing was taken
            signal.signal(signal.SIGTERM, before)
