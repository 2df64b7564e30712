"""Synthetic sweeps over several bases whose effects are known, as a sweep would leave them."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tests.known_effects import add_runs
from tests.synthetic_sweep import SweepWriter, edit_sweep
from xception_jax.sweep.contrast_claims import AnyClaim


def build_on_bases(
    new_sweep: Callable[..., SweepWriter],
    claims: Sequence[AnyClaim],
    effects: Mapping[str, Mapping[str, float]],
    rng: np.random.Generator,
    *,
    at_least: int | None = None,
    seeds: int = 8,
    skip: tuple[tuple[str, int], ...] = (),
    **fields: Any,
) -> SweepWriter:
    """A sweep over several bases, each with a data set of its own, with the runs of `add_runs`.

    Args:
        new_sweep: the fixture.
        claims: about arms as they are called on every base.
        effects: for each base that of each arm.
        rng: of the noise.
        at_least: number of bases that the claims ask for; None: all.
        seeds: number of seeds.
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
    paths = {base: f"../configs/{base}.py" for base in effects}
    on_bases = {"base": paths, "arms_on": arms_on, "in_at_least": at_least}
    edit_sweep(sweep.directory, lambda record: record["experiment"].update(on_bases))
    for base, of_arms in effects.items():
        named = {arms_on[base][arm]: effect for arm, effect in of_arms.items()}
        add_runs(sweep, named, rng, skip=skip)
    return sweep
