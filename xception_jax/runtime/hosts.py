"""Multi-host runs: how the processes of a run start together, agree, and shut down.

They follow JAX's multi-controller model: every process runs the same program on its own devices
and its own rows of each batch. Only process 0, the leader, writes files. A run in a single process
needs none of this, and the functions here then just call what they are given.

Whatever only one process can see (a file, a signal, an error) is communicated to all before any of
them acts on it: a process that left alone would leave the others in a collective that never ends.
"""

import ctypes
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import NoneType
from typing import Any, NoReturn, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import distributed
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from xception_jax.errors import LOST_PEER, InputError, last_words, one_line
from xception_jax.runtime.launch import Launch, find_launch

T = TypeVar("T")

_HEARTBEAT_SECONDS = 15  # without a heartbeat, after which a process counts as lost
_START_SECONDS = 300  # for all processes to connect
_SHUTDOWN_SECONDS = 20  # for all processes to end, once the first has
_BLOCK = 1024  # bytes; gathered data is padded to a multiple, so that few programs are compiled


@contextmanager
def together(
    coordinator: str | None, processes: int | None, process_id: int | None
) -> Iterator[None]:
    """Connects the processes of a run for the duration of the block, which they leave together.

    If all arguments are None, they are read from the environment of a TPU pod, Slurm or Open MPI,
    if that started this process as one of several (see `find_launch`); else it runs alone.

    Args:
        coordinator: HOST:PORT on which process 0 listens.
        processes: number of processes.
        process_id: number of this process, from 0.

    Raises:
        InputError: the arguments are inconsistent, or the address cannot be used.
    """
    if not _connect(coordinator, processes, process_id):
        yield
        return
    _exit_when_a_process_is_lost()
    try:
        yield
    finally:  # whatever the error: it is the same for all, or `leave_at_once` was called
        _shut_down()


def _connect(coordinator: str | None, processes: int | None, process_id: int | None) -> bool:
    """Connects to the other processes; returns whether there are any."""
    given = {"--coordinator": coordinator, "--processes": processes, "--process-id": process_id}
    launch = _launch()
    started_together = launch is not None and launch.alone is None
    if any(value is not None for value in given.values()):
        _require_valid(given)
        if processes == 1:
            return False
    elif started_together:
        processes = launch.processes if launch else None
    elif not _has_tpu():
        if launch is not None:
            _say_alone(launch)
        return False
    # JAX would handle SIGTERM itself; here it is a request to stop: see `any_process`.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        with _waiting_for(processes, coordinator):
            jax.distributed.initialize(
                coordinator,
                processes,
                process_id,
                # Else flags in the shell of an allocation would come with its first GPU only.
                cluster_detection_method=None
                if started_together or not coordinator
                else "deactivate",
                initialization_timeout=2 * _START_SECONDS,
                heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
                shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
            )
    except ValueError as error:
        if coordinator is not None:
            raise
        if launch is None or launch.alone or "TPU" in launch.by:
            return False  # a machine with a TPU that belongs to no pod
        reason = f"is needed, since JAX does not find the others ({one_line(error)})"
        raise InputError("--coordinator", None, f"{reason}, which {launch.by} names") from None
    except Exception as error:
        raise InputError(
            "--coordinator", coordinator, f"cannot be used ({one_line(error)})"
        ) from None
    return jax.process_count() > 1


def _say_alone(launch: Launch) -> None:
    """Says on standard error why this process does not wait for those that variables name."""
    line = f"this process trains alone: {launch.by} names {launch.processes}, but {launch.alone}"
    sys.stderr.write(f"xception-jax: {line}\n")


@contextmanager
def _waiting_for(processes: int | None, coordinator: str | None) -> Iterator[None]:
    """Ends this process with one line if the block, which connects, takes `_START_SECONDS`.

    JAX would end it too, but with a stack of C++ functions and no address.
    """

    def leave() -> None:
        address = coordinator or distributed.global_state.coordinator_address
        count = processes or distributed.global_state.num_processes
        leave_at_once(
            LOST_PEER,
            f"xception-jax: not all of the {count} processes came to {address} within "
            f"{_START_SECONDS:g} s: start the others too, and see that they reach that address; "
            "or train alone, with --coordinator localhost:8476 --processes 1 --process-id 0",
        )

    timer = threading.Timer(_START_SECONDS, leave)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _require_valid(options: dict[str, Any]) -> None:
    """Raises `InputError` unless all three options are given and valid."""
    for name, value in options.items():
        if value is None:
            given = ", ".join(other for other in options if options[other] is not None)
            raise InputError(name, None, f"is missing; it is needed beside {given}")
    coordinator, processes, process_id = options.values()
    address = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^\s:\[\]/]+):([0-9]{1,5})", coordinator)
    if address is None or not 0 < int(address[2]) < 2**16:
        raise InputError("--coordinator", coordinator, "must be HOST:PORT", "localhost:8476")
    if processes < 1:
        raise InputError("--processes", processes, "must be an integer from 1", 1)
    if not 0 <= process_id < processes:
        reason = f"must be an integer from 0 to {processes - 1}"
        raise InputError("--process-id", process_id, reason, min(max(process_id, 0), processes - 1))


def _launch() -> Launch | None:
    """What started this process as one of several, according to the environment."""
    return find_launch(os.environ, pid=os.getpid(), has_tpu=_has_tpu())


def _has_tpu() -> bool:
    """Whether this machine has a TPU that JAX may use: then "tpu" is among its platforms.

    Whether the machine belongs to a pod, JAX finds out from the metadata.
    """
    return "tpu" in (getattr(jax.config, "jax_platforms", None) or "")


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _exit_on_abort(_: int) -> None:
    leave_after_loss()


def require_alone(what: str) -> None:
    """Raises `InputError` if the single-process command `what` was started in several processes."""
    if (launch := _launch()) is not None and launch.alone is None:
        reason = f"runs in one process, and {launch.by} started several; only `train` joins them"
        raise InputError(what, None, reason)


def _exit_when_a_process_is_lost() -> None:
    """Makes this process exit with `LOST_PEER` when JAX aborts it for the loss of another one.

    The handler is installed with C's `signal`: the abort comes from one of JAX's threads, while the
    main thread waits in a collective and cannot run a Python handler.
    """
    ctypes.CDLL(None).signal(int(signal.SIGABRT), _exit_on_abort)


def is_loss(error: BaseException) -> bool:
    """Whether an error of this process means that another process is gone."""
    kinds = jax.errors.JaxRuntimeError, TimeoutError  # Orbax raises the latter, waiting for all
    return isinstance(error, kinds) and several() and re.match(_LOSS, str(error)) is not None


# Status codes of gRPC, and messages of gloo, which carries collectives between CPUs.
_LOSS = r"(?is)UNAVAILABLE|ABORTED|CANCELLED|DEADLINE_EXCEEDED|.*gloo|.*barrier"


def leave_at_once(code: int, message: str | None = None) -> NoReturn:
    """Exits without waiting for the other processes, which will notice the loss."""
    if message:
        last_words(message)
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def leave_after_loss(error: Exception | None = None) -> NoReturn:
    """Exits with `LOST_PEER`, and says that another process is gone, by which error if by any."""
    detail = "" if error is None else f": {error}"
    leave_at_once(LOST_PEER, f"xception-jax: another process of this run is gone{detail}")


def _shut_down() -> None:
    """Disconnects this process, once all have called it."""
    try:
        jax.distributed.shutdown()
    except Exception as error:
        leave_after_loss(error)


def several() -> bool:
    """Whether the run has more than one process."""
    return jax.process_count() > 1


def is_leader() -> bool:
    """Whether this process is the leader, which writes the files."""
    return jax.process_index() == 0


def gather(value: Any) -> list[Any]:
    """The values of all processes, in the order of their numbers.

    Like a collective, it has to be called by every process. The values are plain JSON data.
    """
    if not several():
        return [value]
    content = json.dumps(value).encode()
    lengths = process_allgather(np.int32(len(content)))
    padded = np.zeros(-(-int(max(lengths)) // _BLOCK) * _BLOCK, np.uint8)
    padded[: len(content)] = np.frombuffer(content, np.uint8)
    rows = process_allgather(padded)
    return [json.loads(row[:length].tobytes()) for row, length in zip(rows, lengths, strict=True)]


def all_or_raise(compute: Callable[[], T]) -> T:
    """Calls `compute()` on every process and raises on all of them if it fails on any.

    Raises:
        InputError: the one of the first process that failed, if it failed with one.
        RuntimeError: another process failed in another way.
    """
    if not several():
        return compute()
    own_error: Exception | None = None
    try:
        result = compute()
    except Exception as error:
        own_error = error
    for number, failure in enumerate(gather(_serialize(own_error))):
        if isinstance(failure, list):
            raise InputError(*failure) from own_error
        if failure is not None:
            raise own_error or RuntimeError(f"process {number} of the run: {failure}")
    return result


@contextmanager
def reading_own_images() -> Iterator[None]:
    """Context in which each process reads images that the others do not.

    Raises:
        RuntimeError: in place of an `InputError`, if there are several processes: the others do not
            raise it, and wait for this one.
    """
    try:
        yield
    except InputError as error:
        if not several():
            raise
        raise RuntimeError(str(error)) from error


def broadcast_from_leader(compute: Callable[[], T]) -> T:
    """Calls `compute()` on the leader only and sends the result, plain JSON data, to every process.

    Raises as `all_or_raise` does.
    """
    result: T = gather(all_or_raise(lambda: compute() if is_leader() else None))[0]
    return result


def _serialize(error: Exception | None) -> Any:
    """An error as JSON data: the fields of an `InputError`, a line of text for any other."""
    if isinstance(error, InputError):
        plain = isinstance(error.value, (int, float, str, NoneType))
        value = error.value if plain else str(error.value)
        return [error.field, value, error.reason, error.nearest]
    return None if error is None else one_line(error)


def any_process(stop: Callable[[], bool]) -> Callable[[], bool]:
    """A function that returns on every process, at the same call, whether `stop()` holds on any.

    The answer is late by one call: it is summed on the devices, behind the work they are already
    given, so that no process waits for it.
    """
    if not several():
        return stop
    mesh = Mesh(np.array(jax.devices()), ("devices",))
    per_device = NamedSharding(mesh, PartitionSpec("devices"))
    add = jax.jit(jnp.sum, out_shardings=NamedSharding(mesh, PartitionSpec()))

    def count(flag: bool) -> jax.Array:
        flags = np.full(jax.local_device_count(), flag, np.int32)
        return add(jax.make_array_from_process_local_data(per_device, flags))

    wait_for_all()
    pending = [count(False).block_until_ready()]

    def stopped() -> bool:
        pending.append(count(stop()))
        return bool(pending.pop(0))

    return stopped


def wait_for_all() -> None:
    """Blocks until every process has called it.

    The first collective over a set of devices fails if one of them is 30 seconds late.
    """
    gather(None)
