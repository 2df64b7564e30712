"""The processes of one run on several hosts: how they meet, agree and part.

They are equals under JAX's multi-controller runtime: every one runs the same program on its own
devices and its own rows of each batch. The first alone writes files. A run in one process needs
none of this, and every function here then does nothing but its caller's work.

Whatever only one process can see (a file, a signal, an error) is made known to all before any acts
on it: a process that left alone would leave the others in a collective that never ends.
"""

import ctypes
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import NoneType
from typing import Any, NoReturn, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from xception_jax.errors import LOST_PEER, InputError, one_line

T = TypeVar("T")

_HEARTBEAT_SECONDS = 15  # of silence, after which a process counts as gone
_MEETING_SECONDS = 300  # for all to start
_PARTING_SECONDS = 20  # for all to end, once one has
_BLOCK = 1024  # bytes; what is gathered is padded to a multiple, so that few programs are compiled


@contextmanager
def together(
    coordinator: str | None, processes: int | None, process_id: int | None
) -> Iterator[None]:
    """This process as one of a run's, until all have come to the end of the block.

    Args:
        coordinator: HOST:PORT that the first process listens on.
        processes: how many there are.
        process_id: this one's number, from 0. Where all three are None, a TPU pod, Slurm and Open
            MPI say it; elsewhere this process is alone.

    Raises:
        InputError: the three do not fit together, or the address is no use.
    """
    if not _meet(coordinator, processes, process_id):
        yield
        return
    _leave_when_one_is_lost()
    try:
        yield
    finally:  # whatever the error: it is the same for all, or `leave_at_once` was called
        _part()


def _meet(coordinator: str | None, processes: int | None, process_id: int | None) -> bool:
    """Joins the others; False: there are none."""
    given = {"--coordinator": coordinator, "--processes": processes, "--process-id": process_id}
    if any(value is not None for value in given.values()):
        _require_whole(given)
        if processes == 1:
            return False
    elif not _started_by_a_launcher():
        return False
    # JAX would take SIGTERM for itself; here it is a wish to stop: see `any_process`.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process_id,
            initialization_timeout=_MEETING_SECONDS,
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=_PARTING_SECONDS,
        )
    except ValueError:  # a machine with a TPU that belongs to no pod
        if coordinator is not None:
            raise
        return False
    except Exception as error:
        if jax.distributed.is_initialized():  # the address is right, and not all have come
            said = f"not all processes came within {_MEETING_SECONDS} s"
            leave_at_once(LOST_PEER, f"xception-jax: {said} ({one_line(error)})")
        raise InputError(
            "--coordinator", coordinator, f"cannot be used ({one_line(error)})"
        ) from None
    return jax.process_count() > 1


def _require_whole(given: dict[str, Any]) -> None:
    for name, value in given.items():
        if value is None:
            known = ", ".join(other for other in given if given[other] is not None)
            raise InputError(name, None, f"is missing; it is needed beside {known}")
    coordinator, processes, process_id = given.values()
    found = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^\s:\[\]/]+):([0-9]{1,5})", coordinator)
    if found is None or not 0 < int(found[2]) < 2**16:
        raise InputError("--coordinator", coordinator, "must be HOST:PORT", "localhost:8476")
    if processes < 1:
        raise InputError("--processes", processes, "must be an integer from 1", 1)
    if not 0 <= process_id < processes:
        reason = f"must be an integer from 0 to {processes - 1}"
        raise InputError("--process-id", process_id, reason, min(max(process_id, 0), processes - 1))


def _started_by_a_launcher() -> bool:
    """Whether JAX may find out by itself who the others are.

    It is not asked without a reason, for it would make a coordinator for one process as well. JAX
    puts "tpu" among its platforms on a machine that has one; whether that belongs to a pod, it
    knows from the pod's metadata.
    """
    platforms = getattr(jax.config, "jax_platforms", None) or ""
    return _several_tasks() is not None or "tpu" in platforms


def _several_tasks() -> str | None:
    """Who started this process as one of several, if the environment says so."""
    for who, step, tasks in (
        ("Slurm", "SLURM_STEP_NODELIST", "SLURM_NTASKS"),
        ("Open MPI", "OMPI_MCA_orte_hnp_uri", "OMPI_COMM_WORLD_SIZE"),
    ):
        if step in os.environ and os.environ.get(tasks, "1") != "1":
            return f"{who} ({tasks}={os.environ[tasks]})"
    hosts = os.environ.get("TPU_WORKER_HOSTNAMES", "")
    return f"a TPU pod (TPU_WORKER_HOSTNAMES={hosts})" if "," in hosts else None


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _leave(_: int) -> None:
    leave_at_once(LOST_PEER, "xception-jax: another process of this run is gone")


def require_alone(what: str) -> None:
    """Raises `InputError` where this process was started as one of several: `what` is for one."""
    if (who := _several_tasks()) is not None:
        reason = f"runs in one process, and {who} started several; only `train` joins them"
        raise InputError(what, None, reason)


def _leave_when_one_is_lost() -> None:
    """JAX aborts a process when it finds that another is gone: that gets an exit code of its own.

    By C's signal, for the abort comes from one of JAX's threads, while the main one waits in a
    collective and could call no handler of Python's.
    """
    ctypes.CDLL(None).signal(int(signal.SIGABRT), _leave)


def is_loss(error: BaseException) -> bool:
    """Whether an error of this process says that another one is gone."""
    kinds = jax.errors.JaxRuntimeError, TimeoutError  # the latter of Orbax, when it waits for all
    found = isinstance(error, kinds) and several()
    return found and re.match(_LOSS, str(error)) is not None


# Codes of gRPC, and what gloo says, which carries the computation between CPUs.
_LOSS = r"(?is)UNAVAILABLE|ABORTED|CANCELLED|DEADLINE_EXCEEDED|.*gloo|.*barrier"


def leave_at_once(code: int, message: str | None = None) -> NoReturn:
    """Ends this process without waiting for the others, which will find it gone."""
    if message:
        os.write(2, f"{' '.join(message.split())}\n".encode())
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _part() -> None:
    """Waits until all have come here."""
    try:
        jax.distributed.shutdown()
    except Exception as error:
        leave_at_once(LOST_PEER, f"xception-jax: another process of this run is gone: {error}")


def several() -> bool:
    """Whether this process is one of several."""
    return jax.process_count() > 1


def is_leader() -> bool:
    """Whether this process is the one that writes files."""
    return jax.process_index() == 0


def gather(value: Any) -> list[Any]:
    """What each process has, plain data, by its number; all call it at the same place."""
    if not several():
        return [value]
    content = json.dumps(value).encode()
    lengths = process_allgather(np.int32(len(content)))
    padded = np.zeros(-(-int(max(lengths)) // _BLOCK) * _BLOCK, np.uint8)
    padded[: len(content)] = np.frombuffer(content, np.uint8)
    rows = process_allgather(padded)
    return [json.loads(row[:length].tobytes()) for row, length in zip(rows, lengths, strict=True)]


def all_or_raise(compute: Callable[[], T]) -> T:
    """`compute()`, on every process; where it raises on one, all raise.

    Raises:
        InputError: of the first process that raised one.
        RuntimeError: another one raised something else.
    """
    if not several():
        return compute()
    mine: Exception | None = None
    try:
        result = compute()
    except Exception as error:
        mine = error
    for number, said in enumerate(gather(_described(mine))):
        if said is not None:
            if isinstance(said, list):
                raise InputError(*said) from mine
            raise mine or RuntimeError(f"process {number} of the run: {said}")
    return result


def broadcast_from_leader(compute: Callable[[], T]) -> T:
    """The plain data that `compute()` gives the leader, which alone calls it.

    Raises as `all_or_raise` does.
    """
    result: T = gather(all_or_raise(lambda: compute() if is_leader() else None))[0]
    return result


def _described(error: Exception | None) -> Any:
    if isinstance(error, InputError):
        plain = isinstance(error.value, (int, float, str, NoneType))
        value = error.value if plain else str(error.value)
        return [error.field, value, error.reason, error.nearest]
    return None if error is None else one_line(error)


def any_process(stop: Callable[[], bool]) -> Callable[[], bool]:
    """`stop` of any process, told to all at the same of their calls.

    That is the call after the one at which it was true: the answers are added up on the devices
    behind the work they already have, so that nobody waits for them.
    """
    if not several():
        return stop
    mesh = Mesh(np.array(jax.devices()), ("devices",))
    each, all_of_them = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("devices",), ()))
    add = jax.jit(jnp.sum, out_shardings=all_of_them)

    def ask(mine: bool) -> jax.Array:
        flags = np.full(jax.local_device_count(), mine, np.int32)
        return add(jax.make_array_from_process_local_data(each, flags))

    wait_for_all()
    asked = [ask(False).block_until_ready()]

    def stopped() -> bool:
        asked.append(ask(stop()))
        return bool(asked.pop(0))

    return stopped


def wait_for_all() -> None:
    """Until all have come here: the first sum over some devices fails if one is 30 seconds late."""
    gather(None)
