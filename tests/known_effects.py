"""Sweeps of known truth, and the verdicts that `xception-jax report` leaves of them."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tests.programs import Call
from tests.synthetic_sweep import STEPS, NewSweep, SweepWriter, edit_run, edit_sweep, saturating
from xception_jax.report.reading import read_directory
from xception_jax.sweep import Experiment
from xception_jax.sweep.contrast_claims import AnyClaim

EXAMPLES = 400


def build(
    new_sweep: NewSweep,
    claims: Sequence[AnyClaim],
    effects: Mapping[str, float],
    rng: np.random.Generator,
    *,
    seeds: int = 8,
    spread: float = 0.002,
    skip: tuple[tuple[str, int], ...] = (),
    diverged: tuple[tuple[str, int], ...] = (),
    **fields: Any,
) -> SweepWriter:
    """A sweep of these arms with the runs of `add_runs`."""
    described = json.loads(json.dumps([claim.describe() for claim in claims]))
    arms = {arm: {"model.name": arm} for arm in effects}
    sweep = new_sweep(arms=arms, seeds=tuple(range(seeds)), claims=described, **fields)
    add_runs(sweep, effects, rng, spread=spread, skip=skip, diverged=diverged)
    return sweep


def add_runs(
    sweep: SweepWriter,
    effects: Mapping[str, float],
    rng: np.random.Generator,
    *,
    spread: float = 0.002,
    skip: tuple[tuple[str, int], ...] = (),
    diverged: tuple[tuple[str, int], ...] = (),
) -> None:
    """Adds runs that end at 0.85 + effect, with a share of the noise common to a seed.

    Args:
        sweep: a sweep with these arms.
        effects: the effect of each arm.
        rng: generator of the noise.
        spread: standard deviation of the noise of a run alone.
        skip: arm and seed of the runs that have not begun.
        diverged: arm and seed of the runs that diverged.
    """
    common = rng.normal(0, 0.01, len(sweep.seeds))
    for arm, effect in effects.items():
        for seed, shared in zip(sweep.seeds, common, strict=True):
            if (arm, seed) in skip:
                continue
            final = 0.85 + effect + shared + rng.normal(0, spread)
            is_diverged = (arm, seed) in diverged
            path = sweep.add_run(
                arm,
                seed,
                status="diverged" if is_diverged else "done",
                steps=STEPS[:3] if is_diverged else STEPS,
                top1=saturating(final)[: 3 if is_diverged else None],
                test_top1=None if is_diverged else final,
            )
            if not is_diverged:
                correct = rng.uniform(size=EXAMPLES) < final
                labels = np.arange(EXAMPLES) % 10
                np.savez(path / "predictions.npz", correct=correct, label=labels)


def reported(call: Call, sweep: SweepWriter, shown: str = "") -> list[dict[str, Any]]:
    """The claims of `verdicts.json`, as `xception-jax report` leaves them; it prints `shown`."""
    code, out, _ = call("report", sweep.directory)
    assert code == 0
    assert shown in out
    content = json.loads((sweep.directory / "report" / "verdicts.json").read_text())
    assert (content["schema"], content["confidence"]) == (1, 0.95)
    for claim in content["claims"]:
        assert claim["sentence"] in out.replace("\n", " ")
        assert claim["sentence"].count(". ") == 0
        assert "ImageNet" not in claim["sentence"]
    return content["claims"]


def change_records(sweep: SweepWriter, change: Callable[[dict[str, Any]], None]) -> None:
    for path in sweep.directory.glob("runs/*/run.json"):
        edit_run(path.parent, change)


def add_to_top1(gain: float, record: dict[str, Any]) -> None:
    record["result"]["top1"] += gain


ORDER, ACTIVATION = "model.order", "model.intermediate_activation"
FACTORS = {ORDER: ("dw", "pw"), ACTIVATION: ("none", "relu", "elu")}
ARMS = tuple(f"{order}-{name}" for order, name in itertools.product(*FACTORS.values()))


def declare(claims: Sequence[AnyClaim]) -> Sequence[AnyClaim]:
    """The claims with their weights."""
    return Experiment("q", "so", "b.py", seeds=8, factors=FACTORS, claims=tuple(claims)).claims


def build_factorial(
    new_sweep: NewSweep,
    claims: tuple[Any, ...],
    effects: Mapping[str, float],
    rng: np.random.Generator,
    **fields: Any,
) -> SweepWriter:
    """A sweep as `build` makes it, with the factors in its record."""
    experiment = Experiment("q", "so", "base.py", seeds=8, factors=FACTORS, claims=claims)
    sweep = build(new_sweep, experiment.claims, effects, rng, **fields)
    factors = experiment.describe()["factors"]
    edit_sweep(sweep.directory, lambda record: record["experiment"].update(factors=factors))
    return sweep


def finals(sweep: SweepWriter) -> dict[str, np.ndarray]:
    """Test accuracies of each arm's runs, by seed."""
    runs = read_directory(sweep.directory).runs
    return {
        arm: np.array([run.test_top1 for run in runs if run.arm == arm], float)
        for arm in sweep.arms
    }
