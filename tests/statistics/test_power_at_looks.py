"""Detectable effects where looks are declared, against closed forms and another test by theory."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.shrunk import CONFIG
from tests.statistics.brownian import boundaries
from tests.synthetic_sweep import STEPS, SweepWriter, saturating
from tests.synthetic_verdicts import verdicts_on
from xception_jax.report.claim_tables import endpoint_table
from xception_jax.report.reading import read_directory
from xception_jax.statistics.detectable import detectable_effects
from xception_jax.statistics.json_types import Look
from xception_jax.statistics.looks import Looks
from xception_jax.statistics.power import (
    POWER,
    Design,
    equal_correlation,
    minimum_detectable_effect,
)
from xception_jax.statistics.power_at_looks import (
    DRAWS_AT_LOOKS,
    detectable_at_looks,
    power_error_at_looks,
)
from xception_jax.statistics.sequential import LookDesign, SequentialTest
from xception_jax.sweep import Claim

WITHIN = 4 * power_error_at_looks()  # standard errors of the share of simulated sweeps
ARMS: dict[str, dict[str, Any]] = {"a": {}, "b": {}}


def detectable(looks: LookDesign, design: Design) -> float:
    effect = detectable_at_looks(looks, design)
    assert effect is not None
    return effect


def test_where_one_pattern_alone_is_rejected_the_power_is_in_closed_form() -> None:
    """Six seeds may reject their one extreme pattern, and the seventh can add nothing to that."""
    looks = LookDesign((6, 7), "pocock")
    spent = [0.025 * math.log1p((math.e - 1) * share) for share in (6 / 7, 1)]
    assert spent[0] > 2**-6
    assert spent[1] - spent[0] < 2**-7
    effect = detectable(looks, Design())
    assert stats.norm.cdf(effect) ** 6 == pytest.approx(POWER, abs=WITHIN)
    both = detectable(looks, Design(correlation=equal_correlation(2, 0.0)))
    assert stats.norm.cdf(both) ** 12 == pytest.approx(POWER, abs=WITHIN)
    assert detectable_at_looks(LookDesign((5, 6), "pocock"), Design(0.025)) is None


def test_a_sequential_t_test_has_the_power_that_is_stated(rng: np.random.Generator) -> None:
    """By the significance-level approach: t-tests at the levels of Brownian motion's boundaries."""
    sizes, sweeps = (12, 24), 20_000
    effect = detectable(LookDesign(sizes, "pocock"), Design())
    fixed = minimum_detectable_effect(24, Design())
    assert fixed is not None
    assert effect > fixed  # looks cost power
    spent = [0.025 * math.log1p((math.e - 1) * size / sizes[-1]) for size in sizes]
    bounds = boundaries([spent[0], spent[1] - spent[0]], [size / sizes[-1] for size in sizes])
    samples = rng.normal(effect, 1, (sweeps, sizes[-1]))
    is_found = np.zeros(sweeps, bool)
    for size, bound in zip(sizes, bounds, strict=True):
        t = stats.ttest_1samp(samples[:, :size], 0, axis=1).statistic
        is_found |= t > stats.t.isf(stats.norm.sf(bound), size - 1)
    # Twelve seeds have 4,096 patterns, of which the looks may reject whole ones: a part in a
    # hundred of the level, and of the power less.
    assert is_found.mean() == pytest.approx(POWER, abs=WITHIN + 0.01)


@pytest.mark.parametrize(
    ("looks", "design"),
    [
        (LookDesign((6, 9, 12), "pocock"), Design()),
        pytest.param(LookDesign((8, 12)), Design(0.025, test="median"), marks=pytest.mark.slow),
        (LookDesign((8, 12)), Design(equivalence=True)),
    ],
)
def test_fresh_sweeps_are_decided_as_often_as_stated(
    looks: LookDesign, design: Design, rng: np.random.Generator
) -> None:
    size, sweeps = detectable(looks, design), 400
    effect = 0.0 if design.equivalence else size
    tests = [
        SequentialTest(rng.normal(effect, 1, looks.sizes[-1]), design.test, design=looks)
        for _ in range(sweeps)
    ]
    if design.equivalence:
        found = np.mean([test.p_within(size) < design.alpha for test in tests])
    else:
        found = np.mean([test.p() < design.alpha and test.estimate > 0 for test in tests])
    within = 4 * math.sqrt(POWER * (1 - POWER) * (1 / sweeps + 1 / DRAWS_AT_LOOKS))
    assert found == pytest.approx(POWER, abs=within)


def test_plan_states_effects_of_the_declared_looks(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    path = tmp_path / "looks.py"
    arms = {name: {"model.intermediate_activation": name} for name in ("none", "relu")}
    path.write_text(
        "from xception_jax.sweep import Claim, Experiment\n\n"
        "def get_experiment():\n"
        f"    return Experiment('q', 'so', {str(CONFIG)!r}, {arms!r}, 12,\n"
        "        (Claim('none', 'relu'),), looks=(6, 9, 12), spending='pocock')\n"
    )
    code, out, _ = call("plan", path)
    assert code == 0
    effect = detectable(LookDesign((6, 9, 12), "pocock"), Design())
    assert f"{effect:.3g} standard deviations" in out
    assert "by the last look, with the test that holds for all looks" in out
    assert f"standard error of the power is {power_error_at_looks():.1%}" in out


def test_pilot_seeds_are_not_among_the_differences_of_a_look() -> None:
    claim = Claim("a", "b", endpoints=("steps_to_target",), pilot_seeds=2).describe()
    (row,) = detectable_effects([claim], ARMS, 14, looks=Looks((10, 14), "pocock"))
    assert row.seeds == 12
    assert row.effect == detectable(LookDesign((8, 12), "pocock"), Design())


def test_a_pilot_whose_pairs_are_all_alike_tells_no_spread(
    call: Callable[..., tuple[int, str, str]],
    new_sweep: Callable[..., SweepWriter],
    tmp_path: Path,
) -> None:
    claims = [Claim("a", "b", endpoints=("final_top1", "steps_to_target"), target=0.99).describe()]
    pilot = new_sweep(arms=ARMS, seeds=range(8), claims=claims)
    for arm in ARMS:
        for seed in range(8):  # none reaches the target
            final = 0.8 + 0.001 * seed**2 * (arm == "a")
            pilot.add_run(arm, seed, steps=STEPS, top1=saturating(final), test_top1=final)
    sweep = read_directory(pilot.directory)
    known, alike = detectable_effects(claims, ARMS, 8, sweep)
    assert (known.unit, known.pilot_pairs, known.alike_pairs) == ("accuracy", 8, 0)
    assert (alike.unit, alike.pilot_pairs, alike.alike_pairs) == ("standard deviations", 0, 8)
    effect = minimum_detectable_effect(8, Design(correlation=equal_correlation(2, 0.0)))
    assert alike.effect == effect  # as without a pilot
    timed = [Claim("a", "b", endpoints=("steps_to_target",), target=0.99).describe()]
    (row,) = detectable_effects(timed, ARMS, 8, sweep)
    assert row.effect == minimum_detectable_effect(8, Design())
    assert call("report", pilot.directory)[0] == 0
    content = json.loads((pilot.directory / "report" / "verdicts.json").read_text())
    top1, steps = content["claims"][0]["endpoints"]
    assert top1["minimum_detectable_effect"] > 0
    assert steps["minimum_detectable_effect"] is None
    path = tmp_path / "timed.py"
    path.write_text(
        "from xception_jax.sweep import Claim, Experiment\n\n"
        "def get_experiment():\n"
        "    arms = {'a': {}, 'b': {'model.intermediate_activation': 'relu'}}\n"
        f"    return Experiment('q', 'so', {str(CONFIG)!r}, arms, 8,\n"
        "        (Claim('a', 'b', endpoints=('steps_to_target',), target=0.99),))\n"
    )
    code, out, _ = call("plan", path, "--pilot", pilot.directory)
    assert code == 0
    assert "(8 pairs are alike, and tell no spread)" in " ".join(out.split())


def test_the_report_says_which_of_its_numbers_are_of_the_fixed_test() -> None:
    look: Look = {"number": 1, "seeds": 8, "next_seeds": 12, "looks": [8, 12], "spending": "pocock"}
    fixed, at_look = verdicts_on({}, {"look": look})["claims"]
    names = ("smallest detectable", "n that would decide")
    assert endpoint_table(fixed).columns[-2:] == names
    assert endpoint_table(at_look).columns[-2:] == tuple(f"{name}, if fixed" for name in names)
