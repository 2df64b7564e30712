"""Checkpoints of a run; the one module that imports Orbax.

Beside its arrays a checkpoint holds a digest of each, taken before they were saved, and one of the
run's log up to its step. What is restored must match them: Orbax itself does not notice a flipped
bit, and a checkpoint without digests is not trusted.
"""

import errno
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Mesh, NamedSharding
from orbax.checkpoint import checkpoint_managers as policies

from xception_jax.errors import InputError
from xception_jax.pretrained.arrays import (
    TooLarge,
    read_bounded_metadata,
    require_bounded_files,
    total_bytes,
)
from xception_jax.records import METRICS_LOG
from xception_jax.regular_files import walk_regular_tree
from xception_jax.runtime import hosts
from xception_jax.training.sharding import REPLICATED
from xception_jax.training.state import TrainState

_DATA = "d"  # the directories of the files that hold the arrays themselves
_MOST_DESCRIPTION = 1 << 26  # bytes of any other file, which is read whole
_ITEMS = _STATE, _DIGESTS = "default", "digests"


class Damaged(Exception):
    """A checkpoint is not what was saved; the message says what differs."""


class Checkpoints:
    """The checkpoints in one directory, saved in the background.

    A checkpoint exists as a whole or not at all; what a kill left half-written is removed at the
    next start.

    Args:
        directory: directory of the checkpoints, created if need be.
        keep_last: number of most recent checkpoints kept.
        keep_best: number of checkpoints kept for the highest `metric`.
        metric: name of the validation metric by which checkpoints are compared.
        run: id of the run; checkpoints of another run are not restored.

    Raises:
        InputError: `directory` is a file, or holds a pipe, a device or a link.
    """

    def __init__(
        self, directory: Path, *, keep_last: int, keep_best: int, metric: str, run: str
    ) -> None:
        if directory.exists() and not directory.is_dir():
            reason = "is a file; delete it to start over"
            raise InputError("checkpoints", str(directory), reason)
        _require_readable(directory)
        self._run = run
        keep: list[Any] = [policies.LatestN(keep_last)]
        if keep_best:
            best = policies.BestN(
                get_metric_fn=lambda metrics: metrics[metric],
                n=keep_best,
                keep_checkpoints_without_metrics=False,
            )
            keep.append(best)
        self.directory = directory.absolute()  # Orbax refuses relative paths
        self._manager = ocp.CheckpointManager(
            self.directory,
            item_names=_ITEMS,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy(keep),
                cleanup_tmp_directories=True,
            ),
        )

    @property
    def latest_step(self) -> int | None:
        """The step of the newest checkpoint; None: there is none."""
        return self._manager.latest_step()

    def save(
        self, step: int, state: TrainState, metrics: Mapping[str, float] | None, log: bytes
    ) -> None:
        """Starts saving a checkpoint; returns once the arrays are copied off the devices.

        Args:
            step: number of steps that the state has taken.
            state: the state, whole on every host; its buffers may be donated afterwards.
            metrics: metrics of the validation at this step, if there was one.
            log: the run's log up to this step.
        """
        # For NumPy arrays Orbax does not ask about devices: for the hundreds of arrays of a small
        # run's state that took twice as long as all the rest of a checkpoint.
        state = jax.device_get(state)
        digests = {"run": self._run, METRICS_LOG: _sha256(log), "arrays": _digests(state)}
        arguments = ocp.args.Composite(
            default=ocp.args.StandardSave(state), digests=ocp.args.JsonSave(digests)
        )
        self._manager.save(step, args=arguments, metrics=dict(metrics) if metrics else None)

    def steps(self) -> list[int]:
        """The steps of the checkpoints, ascending."""
        return sorted(self._manager.all_steps())

    def restore(
        self, step: int, shapes: TrainState, mesh: Mesh, log: Callable[[int], bytes]
    ) -> TrainState:
        """The state saved at `step`, on every device of `mesh`.

        Args:
            step: step of the checkpoint.
            shapes: shapes of the state.
            mesh: the devices.
            log: a function from a step to the run's log, as it is now, up to that step.

        Raises:
            Damaged: the checkpoint or the log is not as it was when it was saved.
            InputError: the log cannot be read.
            Exception: Orbax cannot read the checkpoint; it raises many kinds.
        """
        state, digests = _restore(self._manager, step, shapes, mesh)
        if digests.get("run") != self._run:
            raise Damaged("it is of another run")
        if digests.get(METRICS_LOG) != _sha256(log(step)):
            raise Damaged(f"{METRICS_LOG} is not as it was then")
        return state

    def delete_after(self, step: int) -> None:
        """Deletes the checkpoints of later steps."""
        for later in self.steps():
            if later > step:
                self._manager.delete(later)

    def wait(self) -> None:
        """Blocks until every checkpoint is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits as `wait` does, and releases the directory."""
        self._manager.close()


def restore_newest(
    checkpoints: Sequence[Checkpoints],
    shapes: TrainState,
    mesh: Mesh,
    logs: Sequence[Callable[[int], bytes]],
    warn: Callable[[str], None],
) -> tuple[int, list[TrainState]] | None:
    """The newest step at which every run has a readable checkpoint, and the states of that step.

    Newer checkpoints are deleted, for the runs will save them again; `warn` is told of each that is
    damaged.

    Args:
        checkpoints: the checkpoints of each run.
        shapes: shapes of a state.
        mesh: the devices.
        logs: for each run, a function from a step to the run's log up to that step.
        warn: takes a line of text for people.

    Returns:
        The step and the states; None: the runs have no step in common.

    Raises:
        InputError: the runs have steps in common, but at none can all be read; nothing is deleted.
    """
    common = set.intersection(*(set(run_checkpoints.steps()) for run_checkpoints in checkpoints))
    damaged: list[tuple[Path, Exception]] = []
    for step in sorted(common, reverse=True):
        states = []
        for run_checkpoints, log in zip(checkpoints, logs, strict=True):
            try:
                attempt = partial(run_checkpoints.restore, step, shapes, mesh, log)
                states.append(hosts.all_or_raise(attempt))
            except InputError:
                raise
            except Exception as error:  # Orbax raises many kinds; each means the files are no use
                damaged.append((run_checkpoints.directory / str(step), error))
                break
        else:
            for path, cause in damaged:
                warn(f"{path} cannot be read ({_message(cause)}); going on from {step}")
            for run_checkpoints in checkpoints:
                run_checkpoints.delete_after(step)
            return step, states
    if damaged:
        newest, cause = damaged[0]
        reason = (
            f"no checkpoint can be read ({newest.name}: {_message(cause)}); "
            f"delete {newest.parent.name}/ to start over"
        )
        raise InputError("checkpoints", str(newest.parent), reason) from cause
    for run_checkpoints in checkpoints:
        run_checkpoints.delete_after(-1)
    return None


def saved_steps(directory: Path) -> list[int]:
    """The steps of the checkpoints in `directory`, ascending; empty where there is none."""
    if not directory.is_dir():
        return []
    return sorted(ocp.utils.checkpoint_steps(directory.absolute()))


def read_state(
    directory: Path, shapes: TrainState, mesh: Mesh, step: int | None
) -> tuple[int, TrainState]:
    """The step of a checkpoint and its state, read without a change to the directory.

    Args:
        directory: directory of the checkpoints.
        shapes: shapes of the state.
        mesh: the devices that the state is put on.
        step: step of the checkpoint; None: the newest.

    Raises:
        InputError: there is no such checkpoint, or it is damaged.
    """
    if not directory.is_dir():
        raise InputError("checkpoints", str(directory), "no such directory")
    _require_readable(directory)
    options = ocp.CheckpointManagerOptions(read_only=True)
    with ocp.CheckpointManager(directory.absolute(), item_names=_ITEMS, options=options) as manager:
        steps = sorted(manager.all_steps())
        if not steps or (step is not None and step not in steps):
            near = min(steps, key=lambda saved: abs(saved - (step or 0))) if steps else None
            raise InputError("checkpoints", step, f"no such checkpoint in {directory}", near)
        chosen = steps[-1] if step is None else step
        try:
            return chosen, _restore(manager, chosen, shapes, mesh)[0]
        except Exception as error:  # Orbax raises many kinds; each means the files are no use
            reason = f"cannot be read ({_message(error)})"
            raise InputError("checkpoints", str(directory / str(chosen)), reason) from error


def _require_readable(directory: Path) -> None:
    """Raises `InputError` for what Orbax would wait for, or read without end."""
    try:
        for path, size in walk_regular_tree(directory):
            if size > _MOST_DESCRIPTION and Path(path).parent.name != _DATA:
                raise OSError(errno.EFBIG, f"has more than {_MOST_DESCRIPTION:,} bytes", path)
    except OSError as error:
        raise InputError("checkpoints", str(error.filename), f"{error.strerror}") from error


def _restore(
    manager: ocp.CheckpointManager, step: int, shapes: TrainState, mesh: Mesh
) -> tuple[TrainState, dict[str, Any]]:
    """The state saved at `step` and its digests.

    Raises:
        Damaged: the state does not match its digests, has none, or would take too much memory.
        Exception: it cannot be read; Orbax raises many kinds.
    """
    directory, most = Path(str(manager.directory)) / str(step), total_bytes(shapes)
    _bounded(partial(require_bounded_files, directory, most))
    read = manager.restore(step, args=ocp.args.Composite(digests=ocp.args.JsonRestore()))
    digests = read[_DIGESTS]
    if not isinstance(digests, dict) or not isinstance(digests.get("arrays"), dict):
        raise Damaged("it has no digests")
    saved = digests["arrays"]
    expected = {_path(keys) for keys, _ in jax.tree_util.tree_leaves_with_path(shapes)}
    # Before Orbax reads the arrays: what it says of other names tells nobody what happened.
    if different := sorted(expected ^ saved.keys()):
        verb = "lacks" if different[0] in expected else "holds"
        raise Damaged(f"it {verb} {different[0]}: another version saved it")
    _bounded(partial(read_bounded_metadata, directory / _STATE, most))
    arguments = ocp.args.Composite(default=ocp.args.StandardRestore(_targets(shapes, mesh)))
    state: TrainState = manager.restore(step, args=arguments)[_STATE]
    for path, digest in _digests(state).items():
        if digest != saved[path]:
            raise Damaged(f"{path} is not what was saved")
    return state, digests


def _bounded(check: Callable[[], Any]) -> None:
    """Does a check of stored arrays; what would take too much memory is damage."""
    try:
        check()
    except TooLarge as error:
        raise Damaged(str(error)) from error


def _digests(state: TrainState) -> dict[str, str]:
    """A digest of the type, shape and values of each array of a state, by path."""
    return {
        _path(keys): _sha256(f"{value.dtype}{value.shape}".encode(), np.ascontiguousarray(value))
        for keys, value in jax.tree_util.tree_leaves_with_path(jax.device_get(state))
    }


def _sha256(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _message(error: Exception) -> str:
    return str(error) if isinstance(error, Damaged) else type(error).__name__


def _targets(shapes: TrainState, mesh: Mesh) -> TrainState:
    sharding = NamedSharding(mesh, REPLICATED)
    targets: TrainState = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes
    )
    return targets


def _path(keys: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(keys, simple=True, separator="/")
