"""Training of a sweep's runs in this process, one pack after another."""

import json
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xception_jax.config import shared_settings
from xception_jax.errors import InputError
from xception_jax.lock import is_locked
from xception_jax.records import ENDED, FINAL_MAP100, RUN, RUNS, SWEEP
from xception_jax.regular_files import inside
from xception_jax.runtime import run_directory as files
from xception_jax.sweep.experiment import Experiment, PlannedRun
from xception_jax.sweep.ledger import read_ledger, read_packs, record_packs
from xception_jax.sweep.packing import Pack, Sizes, plan_packs
from xception_jax.sweep.recorded import load_recorded
from xception_jax.sweep.tuning_runs import TuningRun, read_tuning_rows
from xception_jax.training import Interrupted, Progress, RunNames, RunSpec, train_together
from xception_jax.training.initial_weights import read_initial_weights
from xception_jax.training.same_data import require_same_data
from xception_jax.training.setup import data_notes, make_schedule, open_data, require_trainable
from xception_jax.training.sharding import make_mesh

# Threads that write the records of planned runs: each waits for the disk, or a file server.
_THREADS = 16


@dataclass(frozen=True)
class SweepProgress:
    """The progress of a sweep.

    Attributes:
        current_runs: the runs that are training now, or the one that has just ended.
        numbers: numbers of these among the runs of the sweep, from 1.
        runs: number of runs of the sweep, those already done included.
        steps: number of optimizer steps of all runs together.
        steps_left: number of those that remain.
        progress: progress of the current runs.
        ended: content of `run.json`, where a run has just ended.
    """

    current_runs: tuple[PlannedRun, ...]
    numbers: tuple[int, ...]
    runs: int
    steps: int
    steps_left: int
    progress: Progress | None = None
    ended: dict[str, Any] | None = None


Listener = Callable[[SweepProgress], None]


def check_runs(
    runs: Sequence[PlannedRun],
    note: Callable[[str], None] | None = None,
    endpoints: Mapping[str, Collection[str]] | None = None,
) -> dict[str, int]:
    """Checks every arm against its data, model and devices; compiles and trains nothing.

    Args:
        runs: runs of the sweep.
        note: takes each sentence that people should know of the data, once; None: they are not
            looked for.
        endpoints: the endpoints that claims ask of each arm; None: they are not checked.

    Returns:
        The number of optimizer steps of a run, for each arm.

    Raises:
        InputError: an arm cannot be trained; the message names it.
    """
    mesh = make_mesh()
    steps, notes = dict[str, int](), list[str]()
    for run in runs:
        if run.arm in steps:
            continue
        try:
            with closing(open_data(run.config)) as pipeline:
                require_trainable(run.config, pipeline.info, mesh)
                if FINAL_MAP100 in (endpoints or {}).get(run.arm, ()) and not (
                    pipeline.info.multi_label
                ):
                    reason = f"is of sets of classes, and {run.config.data.name} has single ones"
                    raise InputError("claim.endpoints", FINAL_MAP100, reason, "final_top1")
                steps[run.arm] = make_schedule(run.config, pipeline.info.examples["train"]).total
                notes += data_notes(run.config, pipeline) if note is not None else ()
        except InputError as error:
            reason = f"{error.reason} (arm {run.arm!r})"
            raise InputError(error.field, error.value, reason, error.nearest) from error
    for sentence in dict.fromkeys(notes):
        if note is not None:
            note(sentence)
    return steps


def check_tuning(runs: Sequence[TuningRun]) -> dict[str, int]:
    """Checks every program that tuning runs need, as `check_runs` checks every arm.

    Returns:
        The number of optimizer steps of a run for each arm, with the first of its values.

    Raises:
        InputError: a run cannot be trained; the message names its arm.
    """
    programs: dict[tuple[str, str], TuningRun] = {}
    for run in runs:
        shared = json.dumps(shared_settings(run.config), sort_keys=True)
        programs.setdefault((run.arm, shared), run)
    steps: dict[str, int] = {}
    for run in programs.values():
        steps.setdefault(run.arm, check_runs([run])[run.arm])
    return steps


def require_begun_data(directory: Path, runs: Sequence[PlannedRun]) -> None:
    """Checks that runs that have begun, and not ended, have the data and weights they began with.

    Of the runs that have ended one of each arm is checked, and that for its data alone. One new run
    of each arm is checked against its initial weights.

    Args:
        directory: directory of the sweep.
        runs: runs of the sweep.

    Raises:
        InputError: a split or the weights are others; or the record of a run is damaged.
    """
    seen: set[tuple[str, str]] = set()
    for run in sorted(runs, key=lambda run: run.arm):  # the runs of an arm share a data set
        record = files.read_run(directory / run.directory)
        kind = "ended" if _ended(record) else "begun" if "data" in record else "new"
        once = kind == "ended" or run.config.train.initial_weights is not None
        if kind == "begun" or (once and (run.arm, kind) not in seen):
            seen.add((run.arm, kind))
            with closing(open_data(run.config)) as pipeline:
                require_same_data([run.config], [record], [pipeline])
                if kind != "ended":
                    read_initial_weights([run.config], pipeline.info, [record])


def run_missing(
    directory: Path,
    experiment: Experiment,
    runs: Sequence[PlannedRun],
    steps: Mapping[str, int],
    *,
    listener: Listener = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    warn: Callable[[str], None],
    sizes: Sizes | None = None,
) -> list[dict[str, Any]]:
    """Trains every run that has not ended; a run that fails does not stop the others.

    Args:
        directory: directory of the sweep, which the caller has locked.
        experiment: experiment of the sweep.
        runs: all runs of the sweep; those that are done or have diverged are left as they are.
        steps: number of steps of a run for each arm, as `check_runs` returns them.
        listener: called after every dispatched call and at the end of every run.
        stop: asked before every dispatched call.
        warn: takes a line of text for people.
        sizes: how many runs train together, see `plan_packs`; None: each trains alone.

    Returns:
        The content of `run.json` of every run, in order.

    Raises:
        InputError: a run's directory holds another run.
        Interrupted: `stop` said so; the current runs have saved their states.
    """
    records, packs = plan_missing(directory, runs, sizes=sizes, warn=warn)
    record_packs(directory, [pack.row(runs) for pack in packs if pack.slots is not None])
    claims_sha256 = read_ledger(directory / SWEEP).get("claims_sha256")
    total = sum(steps[run.arm] for run in runs)
    left = sum(steps[run.arm] for run, r in zip(runs, records, strict=True) if not _ended(r))
    for pack in packs:
        unfinished = [index for index in pack.indices if not _ended(records[index])]
        current_runs = tuple(runs[index] for index in unfinished)
        if stop():
            raise Interrupted(f"stopped before {current_runs[0].name}")
        numbers = tuple(index + 1 for index in unfinished)
        at_start = SweepProgress(current_runs, numbers, len(runs), total, left)

        def report(progress: Progress, at_start: SweepProgress = at_start) -> None:
            left = at_start.steps_left - progress.step * len(at_start.current_runs)
            listener(replace(at_start, steps_left=left, progress=progress))

        in_pack = [runs[index] for index in pack.indices]
        run_specs = [
            _run_spec(run, directory / run.directory, experiment, claims_sha256) for run in in_pack
        ]
        new_records = _train(run_specs, pack.slots, listener=report, stop=stop, warn=warn)
        for index, record in zip(pack.indices, new_records, strict=True):
            records[index] = record
        for index in unfinished:
            left -= steps[runs[index].arm]
            at_end = SweepProgress((runs[index],), (index + 1,), len(runs), total, left)
            listener(replace(at_end, ended=records[index]))
    return records


def plan_missing(
    directory: Path,
    runs: Sequence[PlannedRun],
    *,
    sizes: Sizes | None,
    warn: Callable[[str], None],
    queued: Container[int] = (),
) -> tuple[list[dict[str, Any]], list[Pack]]:
    """The records of all runs, and the packs in which those that have not ended are to train.

    Runs without a record get one, with the status "planned".

    Args:
        directory: see `run_missing`.
        runs: see `run_missing`.
        sizes: see `run_missing`.
        warn: see `run_missing`.
        queued: see `plan_packs`.

    Raises:
        InputError: a run's directory holds another run, or leads out of the sweep by a link.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        records = list(pool.map(lambda run: _planned(inside(directory, run.directory), run), runs))
    waiting = [index for index, record in enumerate(records) if not _ended(record)]
    packs = plan_packs(
        directory,
        runs,
        waiting,
        recorded=read_packs(directory),
        sizes=sizes,
        warn=warn,
        queued=queued,
    )
    return records, packs


def run_unit(
    directory: Path,
    number: int,
    *,
    listener: Listener,
    stop: Callable[[], bool],
    warn: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Trains one unit, a pack that `sweep.json` records.

    Nothing is written but in the directories of its runs.

    Args:
        directory: directory of the sweep.
        number: number of the unit, its index among the packs.
        listener: see `run_missing`; its counts are those of the unit's runs.
        stop: see `run_missing`.
        warn: see `run_missing`.

    Returns:
        The content of `run.json` of the unit's runs.

    Raises:
        InputError: there is no such unit, the record is damaged, or a run's directory leads out
            of the sweep by a link.
        Interrupted: see `run_missing`.
    """
    sweep = load_recorded(directory / SWEEP)
    if not 0 <= number < len(sweep.packs):
        raise InputError("--unit", number, "is not recorded", max(0, len(sweep.packs) - 1))
    pack = sweep.packs[number]
    is_tuning = not any(name.startswith(f"{RUNS}/") for name in pack["runs"])
    listed = read_tuning_rows(directory) if is_tuning else sweep.rows
    rows = {row["directory"]: row for row in listed}
    if not pack["runs"] or any(name not in rows for name in pack["runs"]):
        raise InputError("--unit", number, "holds runs that are not recorded, or none")
    runs = tuple(sweep.run(rows[name]) for name in pack["runs"])
    number_of = {name: number for number, name in enumerate(rows, 1)}
    numbers = tuple(number_of[name] for name in pack["runs"])

    def report(progress: Progress) -> None:
        steps = progress.total_steps * len(runs)
        left = steps - progress.step * len(runs)
        listener(SweepProgress(runs, numbers, len(rows), steps, left, progress))

    run_specs = [
        _run_spec(run, inside(directory, name), sweep.experiment, sweep.claims_sha256)
        for run, name in zip(runs, pack["runs"], strict=True)
    ]
    return _train(run_specs, pack["size"], listener=report, stop=stop, warn=warn)


def _train(
    run_specs: Sequence[RunSpec],
    slots: int | None,
    *,
    listener: Callable[[Progress], None],
    stop: Callable[[], bool],
    warn: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Trains runs together and returns their records; a failure is recorded, not raised."""
    try:
        return train_together(run_specs, slots, listener=listener, stop=stop, warn=warn)
    except Interrupted:
        raise
    except Exception as error:
        return [_failed(run.directory, error) for run in run_specs]


def _run_spec(
    run: PlannedRun, run_dir: Path, experiment: Experiment, claims_sha256: str | None
) -> RunSpec:
    if isinstance(run, TuningRun):  # W&B shows them in a group of their own
        names = RunNames(run.name, f"{experiment.name}-tuning", run.arm, claims_sha256)
        return RunSpec(run.config, run_dir, names, final_split="valid")
    names = RunNames(run.name, experiment.name, run.arm, claims_sha256)
    return RunSpec(run.config, run_dir, names)


def _ended(record: Mapping[str, Any]) -> bool:
    return record["status"] in ENDED


def _planned(run_dir: Path, run: PlannedRun) -> dict[str, Any]:
    """The record of a run; directory and record are created if there are none.

    Raises:
        InputError: the directory holds another run.
    """
    files.require_same_run(run_dir, run.config)
    record = files.read_run(run_dir)
    if _ended(record):
        return record
    files.claim(run_dir, run.config)
    if (run_dir / RUN).exists():
        return record
    return files.update_run(run_dir, id=run.id, arm=run.arm, seed=run.seed, status="planned")


def _failed(run_dir: Path, error: Exception) -> dict[str, Any]:
    """The record of a run that failed; not written while another process trains the run."""
    if is_locked(run_dir):
        return {"status": "failed", "reason": str(error)}
    if _ended(record := files.read_run(run_dir)):  # before the others of its pack
        return record
    return files.record_failure(run_dir, error)
