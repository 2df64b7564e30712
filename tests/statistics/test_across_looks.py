"""Looks at a sweep over several bases: when one is reached, and what it decides."""

from typing import Any

import numpy as np

from tests.known_effects import reported
from tests.programs import Call
from tests.statistics.effects_on_bases import BETTER, EFFECT
from tests.synthetic_bases import build_on_bases
from tests.synthetic_sweep import NewSweep
from xception_jax.report.reading import read_directory
from xception_jax.statistics.verdicts import open_arms
from xception_jax.sweep import Claim


def test_a_look_is_reached_when_it_is_on_every_base(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    skip = tuple((f"y-{arm}", seed) for arm in "ab" for seed in range(7, 12))
    looks: dict[str, Any] = {"looks": (8, 12), "spending": "pocock"}
    effects = {"x": EFFECT, "y": EFFECT}
    sweep = build_on_bases(new_sweep, [BETTER], effects, rng, seeds=12, skip=skip, **looks)
    (claim,) = reported(call, sweep)
    assert (claim["verdict"], claim["endpoints"]) == ("open", [])
    assert "the first look is at 8 seeds" in claim["sentence"]
    assert open_arms(read_directory(sweep.directory)) == {"x-a", "x-b", "y-a", "y-b"}


def test_a_look_decides_over_all_bases(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    looks: dict[str, Any] = {"looks": (8, 12), "spending": "pocock"}
    effects = {"x": {**EFFECT, "c": 0.0}, "y": {**EFFECT, "c": 0.0}}
    claims = [BETTER, Claim("c", "b", "equivalent", margin=1e-6)]
    skip = tuple(("y-c", seed) for seed in range(8, 12))
    sweep = build_on_bases(new_sweep, claims, effects, rng, seeds=12, skip=skip, **looks)
    decided, waiting = reported(call, sweep)
    assert (decided["verdict"], decided["look"]["number"]) == ("supported", 1)
    assert waiting["verdict"] == "open"
    assert "it is open whether c and b are equivalent" in waiting["sentence"]
    assert open_arms(read_directory(sweep.directory)) == {"x-c", "x-b", "y-c", "y-b"}
