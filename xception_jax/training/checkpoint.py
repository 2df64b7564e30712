"""Checkpoints of a run. The one module that imports Orbax.

Beside its arrays a checkpoint holds a digest of each, taken before they were saved, and one of the
run's log up to there. What is restored must have them: Orbax itself does not notice a flipped bit,
and a checkpoint without digests is not trusted.
"""

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
from xception_jax.records import METRICS_LOG
from xception_jax.runtime import hosts
from xception_jax.training.sharding import REPLICATED
from xception_jax.training.state import TrainState

_ITEMS = _STATE, _DIGESTS = "default", "digests"


class Damaged(Exception):
    """A checkpoint is not what was saved; says in what."""


class Checkpoints:
    """The checkpoints in one directory, saved in the background.

    Kept are the last `keep_last` and the `keep_best` whose validation `metric` is highest. A
    checkpoint is there whole or not at all; what a kill left half-written is removed at the next
    start.

    Args:
        directory: made if need be.
        keep_last: see above.
        keep_best: see above.
        metric: see above.
        run: the id of the run; checkpoints of another are not restored.

    Raises:
        InputError: `directory` is a file.
    """

    def __init__(
        self, directory: Path, *, keep_last: int, keep_best: int, metric: str, run: str
    ) -> None:
        if directory.exists() and not directory.is_dir():
            reason = "is a file; delete it to start over"
            raise InputError("checkpoints", str(directory), reason)
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
        """Starts saving; returns once the arrays are copied off the devices.

        Args:
            step: the number of steps the state has taken.
            state: whole on every host; may be used up by the next step afterwards.
            metrics: of the validation at this step, if there was one.
            log: the run's, up to this step.
        """
        # Of NumPy's arrays Orbax asks nothing about devices: of the hundreds of a small run's state
        # that took twice as long as all the rest of a checkpoint.
        state = jax.device_get(state)
        digests = {"run": self._run, METRICS_LOG: _sha256(log), "arrays": _digests(state)}
        arguments = ocp.args.Composite(
            default=ocp.args.StandardSave(state), digests=ocp.args.JsonSave(digests)
        )
        self._manager.save(step, args=arguments, metrics=dict(metrics) if metrics else None)

    def steps(self) -> list[int]:
        """Of the checkpoints there are, ascending."""
        return sorted(self._manager.all_steps())

    def restore(self, step: int, shapes: TrainState, mesh: Mesh, log: bytes) -> TrainState:
        """The state saved at `step`, on every device of `mesh`.

        Args:
            step: of the checkpoint.
            shapes: of the state.
            mesh: of its devices.
            log: the run's as it is now, up to this step.

        Raises:
            Damaged: it, or the log, is not as it was saved.
            Exception: Orbax cannot read it; it raises many kinds.
        """
        state, digests = _restore(self._manager, step, shapes, mesh)
        if digests.get("run") != self._run:
            raise Damaged("it is of another run")
        if digests.get(METRICS_LOG) != _sha256(log):
            raise Damaged(f"{METRICS_LOG} is not as it was then")
        return state

    def delete_after(self, step: int) -> None:
        """Deletes the checkpoints of later steps."""
        for later in self.steps():
            if later > step:
                self._manager.delete(later)

    def wait(self) -> None:
        """Blocks until what was saved is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and releases the directory."""
        self._manager.close()


def restore_newest(
    runs: Sequence[Checkpoints],
    shapes: TrainState,
    mesh: Mesh,
    logs: Sequence[Callable[[int], bytes]],
    warn: Callable[[str], None],
) -> tuple[int, list[TrainState]] | None:
    """The states of all `runs` at the newest step at which each can be read; None: no such step.

    Checkpoints that are newer are deleted, for the runs will save them again; `warn` is told of
    each that is damaged.

    Args:
        runs: the checkpoints of each.
        shapes: of a state.
        mesh: of the devices.
        logs: of each run, from a step to its log up to there.
        warn: takes a line of text for people.

    Raises:
        InputError: there are such steps, and none can be read of all; nothing is deleted.
    """
    common = set.intersection(*(set(run.steps()) for run in runs))
    damaged: list[tuple[Path, Exception]] = []
    for step in sorted(common, reverse=True):
        states = []
        for run, log in zip(runs, logs, strict=True):
            try:
                attempt = partial(run.restore, step, shapes, mesh, log(step))
                states.append(hosts.all_or_raise(attempt))
            except InputError:
                raise
            except Exception as error:  # Orbax raises many kinds; each means the files are no use
                damaged.append((run.directory / str(step), error))
                break
        else:
            for path, cause in damaged:
                warn(f"{path} cannot be read ({_said(cause)}); going on from {step}")
            for run in runs:
                run.delete_after(step)
            return step, states
    if damaged:
        newest, cause = damaged[0]
        said = f"no checkpoint can be read ({newest.name}: {_said(cause)})"
        reason = f"{said}; delete {newest.parent.name}/ to start over"
        raise InputError("checkpoints", str(newest.parent), reason) from cause
    for run in runs:
        run.delete_after(-1)
    return None


def saved_steps(directory: Path) -> list[int]:
    """Of the checkpoints in `directory`, ascending; empty where there is none."""
    if not directory.is_dir():
        return []
    return sorted(ocp.utils.checkpoint_steps(directory.absolute()))


def read_state(
    directory: Path, shapes: TrainState, mesh: Mesh, step: int | None
) -> tuple[int, TrainState]:
    """The state saved at `step` (None: the newest), without a change to the directory.

    Raises:
        InputError: there is no such checkpoint, or it is damaged.
    """
    if not directory.is_dir():
        raise InputError("checkpoints", str(directory), "no such directory")
    options = ocp.CheckpointManagerOptions(read_only=True)
    with ocp.CheckpointManager(directory.absolute(), item_names=_ITEMS, options=options) as manager:
        steps = sorted(manager.all_steps())
        if not steps or (step is not None and step not in steps):
            near = min(steps, key=lambda there: abs(there - (step or 0))) if steps else None
            raise InputError("checkpoints", step, f"no such checkpoint in {directory}", near)
        chosen = steps[-1] if step is None else step
        try:
            return chosen, _restore(manager, chosen, shapes, mesh)[0]
        except Exception as error:  # Orbax raises many kinds; each means the files are no use
            reason = f"cannot be read ({_said(error)})"
            raise InputError("checkpoints", str(directory / str(chosen)), reason) from error


def _restore(
    manager: ocp.CheckpointManager, step: int, shapes: TrainState, mesh: Mesh
) -> tuple[TrainState, dict[str, Any]]:
    """A state with the digests it was saved with, and all digests."""
    asked = ocp.args.Composite(
        default=ocp.args.StandardRestore(_targets(shapes, mesh)), digests=ocp.args.JsonRestore()
    )
    there = manager.restore(step, args=asked)
    state, digests = there[_STATE], there[_DIGESTS]
    if not isinstance(digests, dict) or not isinstance(digests.get("arrays"), dict):
        raise Damaged("it has no digests")
    found = _digests(state)
    for path in sorted(found.keys() | digests["arrays"].keys()):
        if found.get(path) != digests["arrays"].get(path):
            raise Damaged(f"{path} is not what was saved")
    return state, digests


def _digests(state: TrainState) -> dict[str, str]:
    """Of every array, which each host has whole, by path; the type and the shape count."""
    return {
        _path(keys): _sha256(f"{value.dtype}{value.shape}".encode(), np.ascontiguousarray(value))
        for keys, value in jax.tree_util.tree_leaves_with_path(jax.device_get(state))
    }


def _sha256(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, Damaged) else type(error).__name__


def _targets(shapes: TrainState, mesh: Mesh) -> TrainState:
    sharding = NamedSharding(mesh, REPLICATED)
    targets: TrainState = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes
    )
    return targets


def _path(keys: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(keys, simple=True, separator="/")
