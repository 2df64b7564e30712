"""Launcher of Ray tasks (`--launcher ray`), one for each unit.

Nothing is stored in Ray: results are in the directories of the runs, which every node has to see
under the same path. Ray's own retries are off, so that only the supervisor counts them.
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
from xception_jax.launchers import Ended, Unit, start
from xception_jax.launchers.devices import GPU_MEMORY_SHARE

_POLL_SECONDS = 0.2
_NODE_LABEL = "ray.io/node-id"  # a label of every node
# Environment variables that are set unless the user has set them. Without the first, a local Ray
# writes a token into the home directory.
_DEFAULTS = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}

_SPELLED = ("CPU", "GPU", "TPU")


def parse_resources(text: str) -> dict[str, float]:
    """Parses the resources of a unit, such as "TPU=4" or "GPU=0.25,CPU=2"; CPU defaults to 1.

    Raises:
        InputError: the text is not a list of resources.
    """
    resources = {"CPU": 1.0}
    for word in filter(None, text.split(",")):
        name, _, amount = word.partition("=")
        if not re.fullmatch(r"[A-Za-z][\w.:-]*", name) or not re.fullmatch(r"\d+(\.\d+)?", amount):
            raise InputError("--resources", text, "must be like TPU=4 or GPU=0.25,CPU=2")
        if name not in _SPELLED and name.upper() in _SPELLED:  # no node has it: it would wait
            reason = f"{name} is a resource that Ray calls {name.upper()}"
            raise InputError("--resources", text, reason, f"{name.upper()}={amount}")
        if name == "object_store_memory":
            raise InputError("--resources", text, f"Ray reserves no {name} for tasks")
        resources[name] = float(amount)
        if resources[name] > 1 and resources[name] % 1:
            reason = f"{name} above 1 must be a whole number"
            raise InputError("--resources", text, reason, f"{name}={round(resources[name])}")
    return resources


class RayLauncher:
    """Launcher of tasks on the Ray cluster at RAY_ADDRESS, or on a local one without an address.

    Args:
        resources: resources of each unit; see `parse_resources`.

    Raises:
        InputError: Ray is not installed, refuses the resources, or has no cluster at RAY_ADDRESS.
    """

    # Enough for an autoscaler to see the demand, and few enough to poll several times a second.
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
        with _sigterm_unchanged():
            try:
                ray.init(log_to_driver=False, logging_level=logging.ERROR)
            except ConnectionError as error:
                address = os.environ.get("RAY_ADDRESS")
                raise InputError("RAY_ADDRESS", address, f"cannot be reached: {error}") from error
        self._resources, custom = dict(resources), dict(resources)
        self._options = {
            "num_cpus": custom.pop("CPU", 1.0),
            "num_gpus": custom.pop("GPU", 0.0),
            "memory": custom.pop("memory", None),
            "resources": custom,
            "max_retries": 0,
        }
        self._environment = _gpu_memory(resources.get("GPU", 0.0))
        self._task = ray.remote(max_calls=1)(_run_command)
        try:
            self._task.options(**self._options)
        except ValueError as error:
            self.close()
            words = ",".join(f"{name}={amount:.15g}" for name, amount in resources.items())
            raise InputError("--resources", words, f"Ray refuses it: {error}") from error
        self._running: dict[int, Any] = {}

    def submit(self, unit: Unit, avoid: Collection[str]) -> None:
        """Submits a unit as a task that runs on none of the nodes to avoid."""
        options: dict[str, Any] = dict(self._options)
        if ids := [node["NodeID"] for node in self._ray.nodes() if _name(node) in avoid]:
            options["label_selector"] = {_NODE_LABEL: f"!in({','.join(ids)})"}
        task = self._task.options(**options)
        self._running[unit.number] = task.remote(unit.command, str(unit.log), self._environment)

    def status(self, unit: Unit) -> Ended | None:
        """How a unit's task ended, or None while it waits or runs."""
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
            # Of an exception in the task the first line says where it was raised.
            line = lines[-1 if isinstance(error, errors.RayTaskError) else 0]
            return Ended(-signal.SIGKILL, reason=f"{type(error).__name__}: {line}")
        names = {node["NodeID"]: _name(node) for node in self._ray.nodes()}
        return Ended(code, names.get(node_id, node_id))

    def cancel(self, unit: Unit) -> None:
        """Cancels a unit's task, which terminates its command."""
        self._ray.cancel(self._running[unit.number])

    def nodes(self) -> set[str]:
        """The living nodes that have the resources of a unit."""
        return {
            _name(node)
            for node in self._ray.nodes()
            if node["Alive"]
            and all(node["Resources"].get(name, 0) >= n for name, n in self._resources.items())
        }

    def close(self) -> None:
        """Disconnects from the cluster, which ends this process's tasks."""
        self._ray.shutdown()


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})"


def _run_command(
    command: tuple[str, ...], log: str, environment: Mapping[str, str]
) -> tuple[int, str]:
    """The Ray task: runs a command and returns its exit code and the id of the node."""
    import ray

    process = start(command, Path(log), environment)
    try:
        while process.poll() is None:
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:  # how Ray cancels a task
        process.terminate()
        process.wait()
        raise
    return process.returncode, ray.get_runtime_context().get_node_id()


def _gpu_memory(amount: float) -> dict[str, str]:
    """The environment for a fraction of a GPU; by default JAX would take most of its memory."""
    if not 0 < amount < 1:
        return {}
    return {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{GPU_MEMORY_SHARE * amount:.3f}"}


@contextmanager
def _sigterm_unchanged() -> Any:
    """Context that restores the handler of SIGTERM, which Ray replaces when it starts."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with suppress(ValueError):  # not the main thread: nothing was replaced
            signal.signal(signal.SIGTERM, handler)
