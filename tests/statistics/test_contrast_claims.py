"""Effects, interactions and trends of sweeps of known truth, end to end; and their error rates."""

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.known_effects import (
    ACTIVATION,
    ARMS,
    FACTORS,
    ORDER,
    build,
    build_factorial,
    declare,
    finals,
    reported,
)
from tests.programs import Call
from tests.statistics.enumeration import sign_flip_p_values
from tests.synthetic_sweep import NewSweep, edit_sweep
from xception_jax.report.reading import read_directory
from xception_jax.statistics.audit import audit
from xception_jax.statistics.contrasts import contrasts, read_contrast
from xception_jax.statistics.detectable import detectable_effects
from xception_jax.statistics.power import Design, minimum_detectable_effect
from xception_jax.statistics.verdicts import judge
from xception_jax.sweep import Claim, Effect, Interaction, Trend


def test_effects_and_interactions_are_found_where_they_were_planted(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    """ReLU helps by 0.04 after pw, and harms by 0.02 after dw; ELU does as none does."""
    claims = (
        Effect(ACTIVATION, "relu"),
        Effect(ACTIVATION, "relu", at={ORDER: "dw"}, direction="worse"),
        Effect(ACTIVATION, "relu", at={ORDER: "pw"}),
        Interaction((ACTIVATION, ORDER), ("relu", "pw"), ("none", "dw")),
        Interaction((ACTIVATION, ORDER), ("elu", "pw"), direction="equivalent", margin=0.01),
        Effect(ACTIVATION, "elu", direction="not_worse", margin=0.01),
        Effect(ACTIVATION, "elu", "none", direction="better", margin=0.01),
    )
    effects = dict.fromkeys(ARMS, 0.0) | {"dw-relu": -0.02, "pw-relu": 0.04}
    sweep = build_factorial(new_sweep, claims, effects, rng, seeds=10, spread=0.001)
    found = reported(call, sweep)
    expected = ["supported"] * 4 + ["equivalent", "supported", "opposite"]
    assert [claim["verdict"] for claim in found] == expected
    assert [claim["grade"] for claim in found] == ["A"] * 7
    values = finals(sweep)
    of = {name: (values[f"dw-{name}"], values[f"pw-{name}"]) for name in FACTORS[ACTIVATION]}
    main = np.mean(of["relu"], axis=0) - np.mean(of["none"], axis=0)
    simple = of["relu"][0] - of["none"][0]
    interaction = (of["relu"][1] - of["none"][1]) - simple
    for claim, differences in zip(
        (found[0], found[1], found[3]), (main, simple, interaction), strict=True
    ):
        (endpoint,) = claim["endpoints"]
        assert endpoint["effect"] == pytest.approx(differences.mean())
        assert endpoint["p"] == pytest.approx(sign_flip_p_values(differences[None])[0])
        rows = [row["difference"] for row in endpoint["per_seed"]]
        assert rows == pytest.approx(differences.tolist())
    for claim, words in zip(
        found,
        (
            "relu was better than none on average over order:",
            "relu was worse than none at dw:",
            "relu was better than none at pw:",
            "(relu − none) at pw was better than (relu − none) at dw:",
            "(elu − none) at pw and (elu − none) at dw were equivalent within 0.01:",
            "elu was not worse than none within 0.01 on average over order:",
            "elu was not better than none by at least 0.01 on average over order, the opposite",
        ),
        strict=True,
    ):
        assert words in claim["sentence"]
    names = [contrast.name for contrast in contrasts(read_directory(sweep.directory))]
    assert "(relu − none) × (pw − dw)" in names
    assert "relu − none on average over order" in names


def test_a_main_effect_that_cancels_is_not_found(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    """The interaction is there, and the average effect is zero within the margin."""
    claims = (
        Effect(ORDER, direction="equivalent", margin=0.005),
        Interaction((ORDER, ACTIVATION), ("pw", "relu"), direction="worse"),
    )
    effects = dict.fromkeys(ARMS, 0.0) | {"dw-relu": 0.03, "pw-none": 0.03}
    sweep = build_factorial(new_sweep, claims, effects, rng, seeds=10, spread=0.001)
    found = reported(call, sweep)
    assert [claim["verdict"] for claim in found] == ["equivalent", "supported"]


def test_the_power_of_a_plan_takes_the_spread_of_the_contrast_from_a_pilot(
    new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    claims = (
        Effect(ORDER, margin=0.01),
        Interaction((ORDER, ACTIVATION), ("pw", "relu")),
        Effect(ORDER, direction="not_worse", margin=0.02),
    )
    pilot = build_factorial(new_sweep, claims, dict.fromkeys(ARMS, 0.0), rng)
    described = [claim.describe() for claim in declare(claims)]
    rows = detectable_effects(described, pilot.arms, 12, read_directory(pilot.directory))
    values = finals(pilot)
    order = np.mean(
        [values[f"pw-{n}"] - values[f"dw-{n}"] for n in ("none", "relu", "elu")], axis=0
    )
    product = (values["pw-relu"] - values["dw-relu"]) - (values["pw-none"] - values["dw-none"])
    effect = minimum_detectable_effect(12, Design(0.05 / 3))
    assert effect is not None
    expected = [effect * spread.std(ddof=1) for spread in (order, product, order)]
    assert [row.effect for row in rows] == pytest.approx(expected)
    units = ["accuracy beyond the margin", "accuracy", "accuracy"]
    assert [row.unit for row in rows] == units
    assert [row.pilot_pairs for row in rows] == [8, 8, 8]


def test_a_trend_is_found_in_its_direction_and_exact(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    effects = {"a": 0.0, "b": 0.004, "c": 0.011, "d": 0.02} | dict.fromkeys("wxyz", 0.0)
    along = ("a", "b", "c", "d")
    claims: list[Any] = [
        Trend(along, "final_top1"),
        Trend(along, "final_top1", "worse"),
        Trend(along, "steps_to_target"),
        Trend(along, baselines=("w", "x", "y", "z")),
    ]
    sweep = build(new_sweep, claims, effects, rng, seeds=9, spread=0.001)
    found = reported(call, sweep)
    expected = ["supported", "opposite", "supported", "supported"]
    assert [claim["verdict"] for claim in found] == expected
    values = finals(sweep)
    slopes = np.polyfit(range(4), np.array([values[arm] for arm in along]), 1)[0]
    (endpoint,) = found[0]["endpoints"]
    assert endpoint["effect"] == pytest.approx(slopes.mean())
    test = stats.permutation_test(
        (np.round(slopes * 1e12),), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert endpoint["p"] == pytest.approx(test.pvalue)
    for claim, words in zip(
        found,
        (
            "results got better along a → b → c → d: slope of final top-1 +0.00",
            "results got better along a → b → c → d, the opposite of the claim:",
            "slope of steps to",
            "results got better along (a − w) → (b − x) → (c − y) → (d − z):",
        ),
        strict=True,
    ):
        assert words in claim["sentence"]
    assert "which says nothing of single steps" in found[0]["sentence"]


def test_a_trend_over_scores_says_them_and_shows_digits(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    effects, scores = {"a": 0.0, "b": 0.004, "c": 0.016}, (16, 256, 1024)
    claims: list[Any] = [
        Trend(tuple(effects), ("final_top1", "steps_to_target"), scores=scores),
        Trend(tuple(effects)),
    ]
    sweep = build(new_sweep, claims, effects, rng, seeds=9, spread=0.001)
    scored, plain = reported(call, sweep)
    values = finals(sweep)
    slopes = np.polyfit(scores, np.array([values[arm] for arm in effects]), 1)[0]
    top1, steps = scored["endpoints"]
    assert top1["effect"] == pytest.approx(slopes.mean())
    ends = [top1["effect"], *top1["interval"]]
    mean, low, high = (f"{value:+.3g}".replace("-", "−") for value in ends)
    per = "per unit of (16, 256, 1024), 95% interval"
    assert f"slope of final top-1 {mean} {per} {low} to {high} (sign-flip)" in scored["sentence"]
    assert f"{steps['effect']:+.3g} {per}".replace("-", "−") in scored["sentence"]
    assert mean != "+0"
    assert "per unit" not in plain["sentence"]
    seed_slope = f"{slopes[0]:+.3g}".replace("-", "−")
    assert f">{seed_slope}<" in (sweep.directory / "report" / "index.html").read_text()


def test_a_trend_needs_the_arms_that_its_slope_does_not_depend_on(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    effects = {"a": 0.0, "b": 0.0, "c": 0.03}
    skip = (("b", 5), ("b", 7))
    sweep = build(new_sweep, [Trend(("a", "b", "c"))], effects, rng, skip=skip)
    (claim,) = reported(call, sweep)
    assert claim["n"]["pairs"] == 6
    assert "a and b and c" in claim["sentence"]


def test_no_trend_is_open_and_says_what_would_decide(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    sweep = build(new_sweep, [Trend(("a", "b", "c"))], dict.fromkeys("abc", 0.0), rng, spread=0.0)
    for seed in range(8):  # slopes of both signs in equal parts
        for arm, step in (("a", -1), ("b", 0), ("c", 1)):
            final = 0.8 + step * (0.01 * (-1) ** seed + 0.002)
            sweep.add_run(arm, seed, steps=(100, 1000), top1=[0.5, final], test_top1=final)
    (claim,) = reported(call, sweep)
    assert claim["verdict"] == "inconclusive"
    assert "it is open whether results get better along a → b → c:" in claim["sentence"]
    assert f"about {claim['endpoints'][0]['needed_n']} seeds would decide it" in claim["sentence"]


def test_arms_that_are_alike_have_no_effect(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    """Weights of one third leave rounding errors, which are no differences."""
    claims = (Effect(ORDER), Interaction((ORDER, ACTIVATION), ("pw", "elu")))
    sweep = build_factorial(new_sweep, claims, dict.fromkeys(ARMS, 0.0), rng)
    for arm in ARMS:
        at = (ARMS.index(arm) + (arm >= "pw")) % 3  # the same three values in either order
        for seed in range(8):
            final = 0.7 + 0.01 * seed + 0.03 * at
            sweep.add_run(arm, seed, steps=(100, 1000), top1=[0.5, final], test_top1=final)
    first = reported(call, sweep)[0]
    assert (first["verdict"], first["endpoints"][0]["p"]) == ("inconclusive", 1.0)
    assert first["endpoints"][0]["effect"] == 0.0


def test_all_arms_of_a_contrast_are_audited_and_a_seed_needs_all(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    claims = (Effect(ORDER), Effect(ACTIVATION, "elu"))
    sweep = build_factorial(
        new_sweep, claims, dict.fromkeys(ARMS, 0.0), rng, skip=(("pw-relu", 3),)
    )
    pairing = sweep.run_directory("pw-none", 4) / "pairing.json"
    start = json.loads(pairing.read_text())
    start["epochs"][1]["batches"] = "0" * 16
    pairing.write_text(json.dumps(start))
    order, elu = reported(call, sweep)
    assert [order["n"]["pairs"], elu["n"]["pairs"]] == [7, 8]
    assert [order["grade"], elu["grade"]] == ["C", "C"]
    pairs = {tuple(row["arms"]) for row in audit(read_directory(sweep.directory))["mismatches"]}
    assert ("pw-none", "dw-none") in pairs


@pytest.mark.parametrize(
    "change",
    [
        {"weights": {"dw-none": 1.0}},
        {"weights": {"dw-none": 1.0, "pw-none": "x"}},
        {"weights": None},
        {"weights": {"dw-none": 1.0, "pw-none": -1.0, "new": 0.0}, "kind": "later"},
        {"kind": ["effect"]},
    ],
)
def test_a_record_without_a_contrast_is_no_claim(change: dict[str, Any]) -> None:
    (claim,) = declare([Effect(ORDER)])
    assert read_contrast(claim.describe()) is not None
    assert read_contrast(claim.describe() | change) is None


@pytest.mark.parametrize("fields", [{"arms": ["c"]}, {"baselines": ["a"]}])
def test_a_recorded_trend_of_one_arm_is_no_claim(
    new_sweep: NewSweep, rng: np.random.Generator, fields: dict[str, Any]
) -> None:
    sweep = build(new_sweep, [Trend(("a", "b", "c"))], dict.fromkeys("abc", 0.0), rng)
    edit_sweep(sweep.directory, lambda record: record["experiment"]["claims"][0].update(fields))
    (claim,) = judge(read_directory(sweep.directory))["claims"]
    assert claim["verdict"] == "not tested"
    assert "it is not in the form of a claim that can be tested" in claim["sentence"]


def test_claims_of_before_read_as_they_did() -> None:
    two = read_contrast(Claim("a", "b").describe())
    four = read_contrast(Claim("a", "b", versus=("c", "b")).describe())
    assert two is not None
    assert four is not None
    assert (two.name, two.arms, two.weights) == ("a − b", ("a", "b"), (1, -1))
    assert (four.name, four.sides) == ("(a − b) − (c − b)", ("(a − b)", "(c − b)"))
    assert dict(zip(four.arms, four.weights, strict=True)) == {"a": 1, "c": -1}


@pytest.mark.parametrize(
    "sweeps", [pytest.param(4_000, id="quick"), pytest.param(40_000, marks=pytest.mark.slow)]
)
def test_contrasts_hold_their_level_whatever_else_is_true(
    rng: np.random.Generator, sweeps: int
) -> None:
    """An interaction and a trend are tested where main effects and unequal spreads are there.

    Each seed has noise that all arms share, each arm noise of its own; t-distributed, so heavy
    tailed. The contrast has mean zero, and is symmetric: a nominal 5% may come out as 5% at most,
    but for four Monte Carlo errors.
    """
    n, spreads = 8, rng.uniform(0.5, 3.0, len(ARMS))
    (claim,) = declare([Interaction((ORDER, ACTIVATION), ("pw", "relu"))])
    trend = Trend(("dw-none", "dw-elu", "pw-relu"))
    noise = rng.standard_t(3, (sweeps, len(ARMS), n)) * spreads[:, None]
    noise += 5 * rng.standard_normal((sweeps, 1, n))
    means = np.array([1.0 * (arm[:2] == "pw") + 2.0 * arm.endswith("relu") for arm in ARMS])
    flat = np.where(np.isin(ARMS, trend.arms), 0.0, means)
    error = np.sqrt(0.05 * 0.95 / sweeps)
    for described, level in ((claim.describe(), means), (trend.describe(), flat)):
        contrast = read_contrast(described)
        assert contrast is not None
        values = np.moveaxis(noise + level[:, None], 1, 0)
        rows = values[[ARMS.index(arm) for arm in contrast.arms]]
        rejected = np.mean(sign_flip_p_values(contrast.of(rows)) < 0.05)
        print(f"{described['kind']}: {rejected:.4f} +- {error:.4f} of {sweeps} sweeps")
        assert rejected < 0.05 + 4 * error
