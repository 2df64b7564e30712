"""Loading of a sweep from its record: `sweep.json` holds all that is needed to train it again."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xception_jax.config import resolve
from xception_jax.errors import InputError
from xception_jax.json_values import as_list, as_mapping
from xception_jax.sweep.contrast_claims import read_claim
from xception_jax.sweep.experiment import (
    Experiment,
    PlannedRun,
    PlannedSweep,
    plan_runs,
    plan_sweep,
)
from xception_jax.sweep.ledger import read_ledger_to_resume
from xception_jax.sweep.loading import apply_overrides, load_experiment
from xception_jax.sweep.tune import Tune
from xception_jax.sweep.tuning import without_tuning
from xception_jax.sweep.tuning_runs import TuningRun, is_tuning


@dataclass(frozen=True)
class RecordedSweep:
    """A sweep as its `sweep.json` records it; no code is run to read it.

    Attributes:
        path: path of the file.
        experiment: the experiment when the runs were planned, with the widths that make arms equal.
        base: the settings from which the arms start.
        rows: for each run its arm, seed, id and directory.
        packs: the packs, see `packing.Pack.row`.
        claims_sha256: digest of the claims that were declared before any run began.
    """

    path: Path
    experiment: Experiment
    base: Mapping[str, Any]
    rows: list[dict[str, Any]]
    packs: list[dict[str, Any]]
    claims_sha256: str | None

    def run(self, row: Mapping[str, Any]) -> PlannedRun:
        """The run that a row of `sweep.json`, or of `tuning.json`, describes.

        Raises:
            InputError: its settings are not valid, or not those from which its id was made.
        """
        arm, seed = row["arm"], row["seed"]
        if arm not in self.experiment.arms:
            raise InputError("arm", arm, f"has no settings in {self.path}")
        tuned = as_mapping(row.get("settings"))  # of a tuning run
        config = resolve(self.base, self.experiment.arms[arm], tuned, {"seed": seed})
        run = PlannedRun(arm, seed, config)
        if tuned:
            run = TuningRun(arm, seed, config, tuned, tuple(as_list(row.get("values"))))
        if run.id != row["id"]:
            reason = f"is not the id of the settings of {run.name}: one was edited, or by another"
            raise InputError("id", row["id"], f"{reason} version (in {self.path})", run.id)
        return run


def load_recorded(path: Path) -> RecordedSweep:
    """Reads `sweep.json`.

    Raises:
        InputError: it is missing, damaged, or from a version that did not record the settings.
    """
    content = read_ledger_to_resume(path)
    base, packs = content.get("base"), content.get("packs", [])
    if not isinstance(base, dict):
        reason = "does not hold the settings of its runs; start from the experiment's own file"
        raise InputError("file", str(path), reason)
    described = content["experiment"]
    if described.get("tuned") is not None and not is_tuning(described["tuned"]):
        reason = "does not describe an experiment: what was tuned is not recorded as it should be"
        raise InputError("file", str(path), reason)
    try:
        experiment = Experiment(
            **{
                **described,
                "first_seed": min(described["seeds"]),
                "seeds": max(described["seeds"]) + 1 - min(described["seeds"]),
                "claims": tuple(map(read_claim, described["claims"])),
                "tune": Tune.read(described.get("tune")),
            }
        )
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"does not describe an experiment: {type(error).__name__}: {error}"
        raise InputError("file", str(path), reason) from error
    claims_sha256 = content.get("claims_sha256")
    return RecordedSweep(path, experiment, base, content["runs"], packs, claims_sha256)


def plan_from_file(
    path: Path,
    *,
    base: Sequence[Path] | None = None,
    seeds: int | None,
    first_seed: int | None = None,
    overrides: Collection[str],
) -> PlannedSweep:
    """The planned sweep of an experiment file, or of a `sweep.json`.

    Args:
        path: path of an experiment file, or of a record, whose name ends in .json.
        base: config files in place of the experiment's own base or bases; not with a record.
        seeds: number of seeds; None: the experiment's, or the runs that are recorded.
        first_seed: the first of them; None: the experiment's, or the first that is recorded.
        overrides: `key=value` words.

    Raises:
        InputError: see `load_experiment`, `load_recorded`, `apply_overrides` and `plan_runs`; or a
            record and `base`.
    """
    if path.suffix != ".json":
        experiment, settings = load_experiment(path, base=base or None, overrides=overrides)
        return plan_sweep(with_seeds(experiment, seeds, first_seed), settings)
    if base:
        reason = f"goes with an experiment file; {path.name} holds the base of its runs"
        raise InputError("--base", str(base[0]), reason)
    recorded = load_recorded(path)
    if seeds is None and first_seed is None and not overrides:
        experiment, settings = recorded.experiment, resolve(recorded.base)
        listed = [recorded.run(row) for row in recorded.rows]
        if experiment.looks or not listed:  # there are none while it is tuned
            return plan_sweep(experiment, settings)
        return PlannedSweep(experiment, settings, listed)
    experiment = recorded.experiment
    if overrides:  # what was chosen was so under other settings
        experiment = without_tuning(experiment)
    experiment = with_seeds(experiment, seeds, first_seed)
    experiment, settings = apply_overrides(experiment, recorded.base, overrides)
    runs = plan_runs(experiment, settings)
    if seeds is None and first_seed is None and not experiment.looks and recorded.rows:
        in_record = {(row["arm"], row["seed"]) for row in recorded.rows}
        runs = [run for run in runs if (run.arm, run.seed) in in_record]
    return PlannedSweep(experiment, settings, runs)


def with_seeds(
    experiment: Experiment, seeds: int | None, first_seed: int | None = None
) -> Experiment:
    """The experiment with another number of seeds, and another first one, where they are given.

    Raises:
        InputError: the experiment declares its looks, which say how many seeds it has.
    """
    if seeds is not None and experiment.looks and seeds != experiment.seeds:
        reason = f"is not the last of the looks that the experiment declares, {experiment.looks}"
        raise InputError("--seeds", seeds, reason, experiment.seeds)
    return replace(
        experiment,
        seeds=experiment.seeds if seeds is None else seeds,
        first_seed=experiment.first_seed if first_seed is None else first_seed,
    )
