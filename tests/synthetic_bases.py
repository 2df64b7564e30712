"""Synthetic sweeps over several bases whose effects are known, as a sweep would leave them."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tests.synthetic_sweep import STEPS, SweepWriter, saturating
from xception_jax.sweep.contrast_claims import AnyClaim

EXAMPLES = 400


def build_on_bases(
    new_sweep: Callable[..., SweepWriter],
    claims: Sequence[AnyClaim],
    effects: Mapping[str, Mapping[str, float]],
    rng: np.random.Generator,
    *,
    at_least: int | None = None,
    seeds: int = 8,
    spread: float = 0.002,
    level: float = 0.85,
    skip: tuple[tuple[str, int], ...] = (),
    **fields: Any,
) -> SweepWriter:
    """A sweep whose arms end at a level plus their effect on each base, on a data set of its own.

    Args:
        new_sweep: the fixture.
        claims: about arms as they are called on every base.
        effects: for each base that of each arm.
        rng: of the noise.
        at_least: number of bases that the claims ask for; None: all.
        seeds: number of seeds.
        spread: standard deviation of a run.
        level: accuracy of an arm without an effect.
        skip: arm of the runs and seed of those that have not begun.
        **fields: of `SweepWriter`.
    """
    count = at_least or len(effects)
    about = {"bases": list(effects), "at_least": count}
    described = json.loads(json.dumps([{**claim.describe(), **about} for claim in claims]))
    arms_on = {base: {arm: f"{base}-{arm}" for arm in arms} for base, arms in effects.items()}
    arms = {
        name: {"data.name": f"data_{base}", "model.name": arm}
        for base, names in arms_on.items()
        for arm, name in names.items()
    }
    sweep = new_sweep(arms=arms, seeds=tuple(range(seeds)), claims=described, **fields)
    path = sweep.directory / "sweep.json"
    content = json.loads(path.read_text())
    paths = {base: f"../configs/{base}.py" for base in effects}
    content["experiment"] |= {"base": paths, "arms_on": arms_on, "in_at_least": at_least}
    path.write_text(json.dumps(content))
    for base, of_arms in effects.items():
        common = rng.normal(0, 0.01, seeds)
        for arm, effect in of_arms.items():
            for seed in range(seeds):
                name = arms_on[base][arm]
                if (name, seed) in skip:
                    continue
                final = level + effect + common[seed] + rng.normal(0, spread)
                home = sweep.add_run(
                    name, seed, steps=STEPS, top1=saturating(final), test_top1=final
                )
                correct = rng.uniform(size=EXAMPLES) < final
                np.savez(home / "predictions.npz", correct=correct, label=np.arange(EXAMPLES) % 10)
    return sweep
