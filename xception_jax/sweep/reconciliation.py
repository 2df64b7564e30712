"""What a recorded sweep and a planned one must have in common for the plan to go on with it.

Pure functions of the content of `sweep.json` and of the plan: whoever asks writes nothing before
they have agreed.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from itertools import pairwise
from typing import Any

from xception_jax.checksums import has_valid_checksum
from xception_jax.config import SETTINGS, Config, resolve
from xception_jax.config.reference import shown
from xception_jax.errors import InputError
from xception_jax.json_values import as_list, as_mapping
from xception_jax.sweep.experiment import Experiment, PlannedRun


def find_conflict(
    recorded: Mapping[str, Any], experiment: Experiment, base: Config, runs: Iterable[PlannedRun]
) -> str | None:
    """What makes a plan another sweep than the recorded one, in words; None: it goes on with it.

    The settings of an arm that is recorded stay as they are, whichever seeds are planned: also
    while it is tuned, when no run of the verdict is planned yet.

    Args:
        recorded: content of `sweep.json`.
        experiment: experiment of the plan.
        base: the config from which its arms start.
        runs: runs of the plan.
    """
    return next(_conflicts(recorded, experiment, base, runs), None)


def _conflicts(
    recorded: Mapping[str, Any], experiment: Experiment, base: Config, runs: Iterable[PlannedRun]
) -> Iterator[str]:
    described = recorded["experiment"]
    if (name := described.get("name")) != experiment.name:
        yield f"its experiment is {name!r}, not {experiment.name!r}"
    tune = None if experiment.tune is None else experiment.tune.describe()
    if described.get("tune") != tune:
        yield "what it tunes, or the values that it tries, are others"
    ids = {(row["arm"], row["seed"]): row["id"] for row in recorded["runs"]}
    others = [run for run in runs if ids.get((run.arm, run.seed), run.id) != run.id]
    differences = _differences(recorded, experiment, base)
    if (differences or others) and described.get("base") != experiment.base:
        yield f"its base config is {described.get('base')!r}, not {experiment.base!r}"
    for arm, names in differences.items():
        yield f"its {arm!r} has other settings: {', '.join(names)}"
    for run in others:  # of a version that recorded no base, or gave other ids
        yield f"its {run.arm!r} with seed {run.seed} has other settings"
    if missing := {arm for arm, _ in ids} - set(experiment.arms):
        yield f"it has the arm {min(missing)!r}"
    tuned = as_mapping(described.get("tuned"))
    kept = as_mapping((experiment.tuned or {}).get("arms"))
    lost = set(as_mapping(tuned.get("arms"))) - set(kept)
    if lost and tuned.get("complete") and has_valid_checksum(tuned):
        yield f"its {min(lost)!r} was tuned by other runs"


def _differences(
    recorded: Mapping[str, Any], experiment: Experiment, base: Config
) -> dict[str, list[str]]:
    """For each arm that the plan changes the settings that determine results: `name=old, not new`.

    Those that are tuned are left out, since every arm gets a value of its own for them.
    """
    if not isinstance(before := recorded.get("base"), dict):  # of a version that did not record it
        return {}
    tuned = () if experiment.tune is None else experiment.tune.settings
    without_effect = {name for name, declared in SETTINGS.items() if not declared.identity}
    left_out = {"seed", *tuned, *without_effect}

    def flat(base: Mapping[str, Any] | Config, arm: Mapping[str, Any]) -> dict[str, Any]:
        config = resolve(base, {name: value for name, value in arm.items() if name not in tuned})
        return {name: value for name, value in config.flat().items() if name not in left_out}

    differences: dict[str, list[str]] = {}
    for arm, settings in as_mapping(recorded["experiment"].get("arms")).items():
        if arm not in experiment.arms:
            continue
        planned = flat(base, experiment.arms[arm])
        try:
            old = flat(before, as_mapping(settings))
        except InputError:  # of a version that had other settings: the ids have to tell
            return {}
        names = [
            f"{name}={shown(old[name])}, not {shown(value)}"
            for name, value in planned.items()
            if old[name] != value
        ]
        if names:
            differences[arm] = names
    return differences


def require_no_gap(recorded: Collection[int], fixed: Set[int], experiment: Experiment) -> None:
    """Raises `InputError` if the planned seeds and those that stay do not follow each other.

    The record of a sweep says its first seed and how many follow.

    Args:
        recorded: the recorded seeds.
        fixed: those of them that stay planned, see `declarations.fixed_seeds`.
        experiment: experiment of the plan.
    """
    planned = experiment.all_seeds
    gaps = _gaps({*fixed, *planned}) - _gaps(recorded)  # another version allowed them
    if not fixed or not gaps:
        return
    first, last, missing = min(fixed), max(fixed), min(gaps)[0] + 1
    reason = f"leaves out seed {missing}: the sweep has seed {{}}, and its seeds follow each other"
    if planned.start > last:
        raise InputError("--first-seed", planned.start, reason.format(last), last + 1)
    if planned.stop <= first and not {*planned} <= {*recorded}:
        near = first - len(planned)
        raise InputError("--first-seed", planned.start, reason.format(first), near)
    raise InputError("--seeds", len(planned), reason.format(last), last + 1 - planned.start)


def require_pilot_first(
    recorded: Mapping[str, Any], fixed: Set[int], experiment: Experiment
) -> None:
    """Raises `InputError` if seeds would come before those that set a claim's target.

    Args:
        recorded: content of `sweep.json`.
        fixed: the recorded seeds that stay planned.
        experiment: experiment of the plan.
    """
    claims = [*as_list(recorded["experiment"].get("claims")), *experiment.described_claims()]
    claims += as_list(recorded.get("post_hoc_claims"))
    has_pilot = any(as_mapping(claim).get("pilot_seeds") for claim in claims)
    if has_pilot and fixed and experiment.first_seed < min(fixed):
        reason = "comes before the pilot seeds, which set the target of this sweep"
        raise InputError("--first-seed", experiment.first_seed, reason, min(fixed))


def _gaps(seeds: Collection[int]) -> set[tuple[int, int]]:
    """The pairs of neighbours between which seeds are left out."""
    return {(low, high) for low, high in pairwise(sorted(seeds)) if high > low + 1}
