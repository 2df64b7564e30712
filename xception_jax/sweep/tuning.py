"""Tuning: the best values of some settings for each arm, chosen by validation before the verdict.

The choice is a function of the tuning runs, which are trained, resumed and recorded as any others.
`tuning.json` records what was tried, how it came out and what was chosen, and `sweep.json` holds
the same from then on.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from xception_jax.checksums import has_valid_checksum, with_checksum
from xception_jax.config import Config, read_json
from xception_jax.errors import InputError
from xception_jax.json_values import as_list, as_mapping
from xception_jax.records import SWEEP, TUNING, TUNING_SCHEMA
from xception_jax.runtime import run_directory as files
from xception_jax.statistics.selection import (
    EDGES,
    Point,
    best_point,
    edge_of,
    mean_score,
    value_beyond,
)
from xception_jax.sweep.declarations import Known, read_known
from xception_jax.sweep.experiment import Experiment
from xception_jax.sweep.tune import MOST_EXTENSIONS, Tune
from xception_jax.sweep.tuning_runs import Grid, TuningRun, describe_point, is_tuning, tuning_runs

Train = Callable[[Sequence[TuningRun]], list[dict[str, Any]]]
Fits = Callable[[Sequence[TuningRun]], bool]
Say = Callable[[str], None]


def tune_arms(
    directory: Path,
    experiment: Experiment,
    base: Config,
    train: Train,
    *,
    fits: Fits = lambda _: True,
    say: Say = lambda _: None,
) -> Experiment:
    """Chooses the tuned settings of every arm that has none yet, and records how.

    All arms have the same budget: where the best value of any arm lies at an edge of the grid, all
    arms try one more value there, at most twice. An arm that is added once the verdict's runs have
    begun tries what the others have tried, and nothing beyond.

    Args:
        directory: directory of the sweep, which the caller has locked and which has `sweep.json`.
        experiment: the experiment, `tuned` as far as it is.
        base: the config from which the arms start.
        train: trains the runs that have not ended and returns the records of all. It does not
            return if some have not ended.
        fits: whether runs can be trained at all; a value beyond the edge that cannot is not tried.
        say: takes a line of text for people.

    Returns:
        The experiment whose arms set what was chosen.

    Raises:
        InputError: see `tuning_runs`; or a tuning run was evaluated on another split.
    """
    kept = experiment.tuned if read_known(directory).has_begun else None
    arms = list(experiment.untuned if kept else experiment.arms)
    grid: Grid = _declared(experiment).values
    if kept:
        grid = tuple(map(tuple, kept["grid"]))
    planned: dict[str, TuningRun] = {}  # by directory: the same run may tune two arms
    for extension in range(1 if kept else 1 + MOST_EXTENSIONS):
        for run in tuning_runs(experiment, base, arms, grid, extension):
            planned.setdefault(run.directory, run)
        runs = list(planned.values())
        _write(directory, experiment, kept, grid, [run.row() for run in runs])
        rows = [run.row(record) for run, record in zip(runs, train(runs), strict=True)]
        chosen = _choose(rows)
        if kept or extension == MOST_EXTENSIONS:
            break
        extended = _extended(experiment, base, grid, chosen=chosen, arms=arms, fits=fits)
        if extended == grid:
            break
        say(_describe_extension(experiment, grid, extended, chosen))
        grid = extended
    known = read_known(directory)
    open_edges = _open_edges(experiment, base, grid, arms)
    entries = {
        arm: _entry(experiment, rows, arm, point=point, edges=open_edges, known=known)
        for arm, point in chosen.items()
    }
    record = _write(directory, experiment, kept, grid, rows, entries=entries)
    for arm, entry in entries.items():
        say(f"tuning: {arm}: {describe_point(entry['chosen'])}")
    return apply_tuning(experiment, record)


def _choose(rows: Sequence[Mapping[str, Any]]) -> dict[str, Point]:
    """The best point of every arm."""
    scores: dict[str, dict[Point, list[float]]] = {}
    for row in rows:
        points = scores.setdefault(row["arm"], {})
        points.setdefault(tuple(row["values"]), []).append(row["score"])
    return {arm: best_point(points) for arm, points in scores.items()}


def _extended(
    experiment: Experiment,
    base: Config,
    grid: Grid,
    *,
    chosen: Mapping[str, Point],
    arms: Sequence[str],
    fits: Fits,
) -> Grid:
    """The grid with one more value at every edge where the best value of an arm lies."""
    wider = []
    for at, values in enumerate(grid):
        new = set(values)
        for edge in EDGES:
            if edge not in {edge_of(point[at], values) for point in chosen.values()}:
                continue
            value = value_beyond(values, edge)
            if value is None:
                continue
            if _can_try(experiment, base, (*grid[:at], (value,), *grid[at + 1 :]), arms, fits):
                new.add(value)
        wider.append(tuple(sorted(new)))
    return tuple(wider)


def _can_try(
    experiment: Experiment,
    base: Config,
    grid: Grid,
    arms: Sequence[str],
    fits: Fits = lambda _: True,
) -> bool:
    try:
        return fits(tuning_runs(experiment, base, arms, grid))
    except InputError:  # beyond what the setting can be
        return False


def _open_edges(
    experiment: Experiment, base: Config, grid: Grid, arms: Sequence[str]
) -> list[dict[float, str]]:
    """For each setting the outermost values beyond which it can have others, and their edges.

    Nothing lies beyond a weight decay of zero: that is no edge at which something was missed.
    """
    open_edges = []
    for at, values in enumerate(grid):
        edges: dict[float, str] = {}
        for edge, (last, before) in zip(EDGES, (values[:2], values[:-3:-1]), strict=True):
            step = (last - before) / 1000
            near = last + (step if isinstance(last, float) else 1 if edge == "upper" else -1)
            if _can_try(experiment, base, (*grid[:at], (near,), *grid[at + 1 :]), arms):
                edges[last] = edge
        open_edges.append(edges)
    return open_edges


def _describe_extension(
    experiment: Experiment, grid: Grid, wider: Grid, chosen: Mapping[str, Point]
) -> str:
    names = _declared(experiment).settings
    added: list[str] = []
    at_edge: list[str] = []
    for at, (name, old, new) in enumerate(zip(names, grid, wider, strict=True)):
        added += [describe_point({name: value}) for value in new if value not in old]
        if len(new) > len(old):
            at_edge += [arm for arm, point in chosen.items() if edge_of(point[at], old)]
    arms = ", ".join(dict.fromkeys(at_edge))
    return f"tuning: the best of {arms} lies at the edge; all arms also try {', '.join(added)}"


def _entry(
    experiment: Experiment,
    rows: Sequence[Mapping[str, Any]],
    arm: str,
    *,
    point: Point,
    edges: Sequence[Mapping[float, str]],
    known: Known,
) -> dict[str, Any]:
    """The entry of an arm in `tuning.json`: what was chosen, and what was known by then."""
    names = _declared(experiment).settings
    scores = [r["score"] for r in rows if r["arm"] == arm and tuple(r["values"]) == point]
    triples = zip(names, point, edges, strict=True)
    return {
        "chosen": dict(zip(names, point, strict=True)),
        "mean": mean_score(scores),
        "at_edge": {name: of[value] for name, value, of in triples if value in of},
        "at": files.now(),
        "known": asdict(known),
    }


# -- the record --------------------------------------------------------------------------------


def _declared(experiment: Experiment) -> Tune:
    assert experiment.tune is not None
    return experiment.tune


def _write(
    directory: Path,
    experiment: Experiment,
    kept: Mapping[str, Any] | None,
    grid: Grid,
    rows: Sequence[Mapping[str, Any]],
    *,
    entries: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes `tuning.json`; without `entries` it is not complete, and nothing relies on it."""
    tune, before = _declared(experiment), kept or {}
    record = with_checksum(
        {
            "schema": TUNING_SCHEMA,
            "tune": tune.describe(),
            "seeds": list(tune.seed_numbers),
            "grid": [list(values) for values in grid],
            "arms": {**before.get("arms", {}), **(entries or {})},
            "runs": [*before.get("runs", []), *rows],
            "complete": entries is not None,
        }
    )
    files.write_whole(directory / TUNING, json.dumps(record, indent=2) + "\n")
    return record


def apply_tuning(experiment: Experiment, record: Mapping[str, Any]) -> Experiment:
    """The experiment whose arms set what a record says was chosen for them."""
    arms = {
        arm: {**settings, **record["arms"].get(arm, {}).get("chosen", {})}
        for arm, settings in experiment.arms.items()
    }
    return replace(experiment, arms=arms, tuned=record)


def without_tuning(experiment: Experiment) -> Experiment:
    """The experiment as it was before its arms were tuned."""
    names = _declared(experiment).settings if experiment.tuned else ()
    arms = {
        arm: {name: value for name, value in settings.items() if name not in names}
        for arm, settings in experiment.arms.items()
    }
    return replace(experiment, arms=arms, tuned=None)


def with_recorded_tuning(
    directory: Path, experiment: Experiment, base: Config, warn: Say
) -> Experiment:
    """The experiment with what was chosen for its arms in this directory, as far as it was.

    `sweep.json` decides where it holds the choice; before that, `tuning.json`. One that was changed
    decides nothing and stays as it is, for the report to name. One that cannot be read, as a power
    cut may leave it, is written again by `write_ledger` or `tune_arms`.

    Args:
        directory: directory of the sweep.
        experiment: an experiment that tunes, and none of whose arms is tuned.
        base: the config from which the arms start.
        warn: takes a line of text for people.
    """
    recorded, _ = _read(directory / SWEEP)
    in_sweep = as_mapping(as_mapping(recorded.get("experiment")).get("tuned"))
    beside, damage = _read(directory / TUNING)
    # It holds no choice while arms are tuned.
    is_sound = has_valid_checksum(beside) and (
        not beside.get("complete") or _extends(beside, in_sweep)
    )
    if damage is None and not is_sound:
        damage = "was changed after it was written"
    if damage and (directory / TUNING).exists():
        consequence = "sweep.json holds what was chosen" if in_sweep else "the choice is made again"
        warn(f"{TUNING} {damage}: {consequence}")
    for record in (in_sweep, beside):
        if _is_usable(record, experiment, base):
            return apply_tuning(experiment, record)
    return experiment


def _extends(record: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether a record says the same as an earlier one of every arm of that one."""
    arms, known = as_mapping(record.get("arms")), as_mapping(before.get("arms"))
    return all(arms.get(arm) == entry for arm, entry in known.items())


def _is_usable(record: Mapping[str, Any], experiment: Experiment, base: Config) -> bool:
    """Whether a record is whole, and of the runs that this experiment would be tuned by."""
    if not (has_valid_checksum(record) and record.get("complete") and is_tuning(record)):
        return False
    arms = [arm for arm in experiment.arms if arm in as_mapping(record.get("arms"))]
    tried = {as_mapping(row).get("id") for row in as_list(record.get("runs"))}
    is_same = record.get("tune") == _declared(experiment).describe()
    return is_same and {run.id for run in tuning_runs(experiment, base, arms)} <= tried


def _read(path: Path) -> tuple[dict[str, Any], str | None]:
    """The content of a file and None, or no content and the reason why it cannot be read."""
    try:
        return read_json(path), None
    except InputError as error:
        return {}, error.reason
