"""Claims of better, worse and not worse by a margin, from sweeps of known truth."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.lines import Line2D

from tests.known_effects import build, reported
from tests.programs import Call
from tests.report.figure_checks import artists, points
from tests.statistics.enumeration import sign_flip_p_values
from tests.synthetic_sweep import NewSweep
from tests.synthetic_verdicts import verdicts_on
from xception_jax.records import DIRECTIONS
from xception_jax.report.canvas import WIDE
from xception_jax.report.effects import effect_figure
from xception_jax.report.reading import read_directory
from xception_jax.statistics.location import LocationTest
from xception_jax.statistics.power import Design, minimum_detectable_effect
from xception_jax.statistics.verdicts import judge
from xception_jax.sweep import Claim


def test_a_margin_moves_what_is_tested(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    claims = [
        Claim("a", "b", "better", margin=0.01),
        Claim("a", "b", "better", margin=0.05),
        Claim("b", "a", "worse", margin=0.01),
        Claim("b", "a", "not_worse", margin=0.05),
        Claim("b", "a", "not_worse", margin=0.01),
        Claim("a", "b", "not_worse", margin=0.001),
    ]
    sweep = build(new_sweep, claims, {"a": 0.03, "b": 0.0}, rng, seeds=12)
    found = reported(call, sweep)
    expected = ["supported", "opposite", "supported", "supported", "opposite", "supported"]
    assert [claim["verdict"] for claim in found] == expected
    assert [claim["grade"] for claim in found] == ["A"] * 6
    differences = np.array([row["difference"] for row in found[0]["endpoints"][0]["per_seed"]])
    nulls = (0.01, 0.05, -0.01, -0.05, -0.01, -0.001)
    for claim, null, sign in zip(found, nulls, (1, 1, -1, -1, -1, 1), strict=True):
        (endpoint,) = claim["endpoints"]
        assert endpoint["null"] == null
        shifted = sign * differences - null
        assert endpoint["p"] == pytest.approx(sign_flip_p_values(shifted[None])[0])
        low, high = endpoint["interval"]
        assert endpoint["confidence"] == 0.95
        assert (null < low) == (np.mean(shifted) > 0)
        assert (null > high) == (np.mean(shifted) < 0)
    for claim, words in zip(
        found,
        (
            "a was better than b by at least 0.01:",
            "a was not better than b by at least 0.05, the opposite of the claim:",
            "b was worse than a by at least 0.01:",
            "b was not worse than a within 0.05:",
            "b was worse than a by more than 0.01, the opposite of the claim:",
            "a was not worse than b within 0.001:",
        ),
        strict=True,
    ):
        assert words in claim["sentence"]
    assert "sign-flip test of a difference of +0.0100, Holm-adjusted" in found[0]["sentence"]
    assert (
        "sign-flip test of a difference of −0.0500, one-sided at 2.5% (p is doubled), Holm"
        in found[3]["sentence"]
    )
    figure = effect_figure(read_directory(sweep.directory), verdicts_on(*found))
    assert figure is not None
    edges = artists(figure.draw(WIDE), "edge-", Line2D).values()
    assert [points(line)[0][0] for line in edges] == list(nulls)


def test_margins_count_steps_upside_down(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    """Fewer steps are better, so that a claim of better lies below minus its margin."""
    steps = ("steps_to_target",)
    claims = [
        Claim("a", "b", direction, steps, margin=margin, target=0.8)
        for direction, margin in (("better", 5.0), ("better", 500.0), ("not_worse", 5.0))
    ]
    sweep = build(new_sweep, claims, {"a": 0.03, "b": 0.0}, rng, seeds=10)
    found = reported(call, sweep)
    assert [claim["verdict"] for claim in found] == ["supported", "opposite", "supported"]
    assert [claim["endpoints"][0]["null"] for claim in found] == [-5, -500, 5]


def test_no_effect_leaves_a_margin_open_and_says_what_decides(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    claims = [
        Claim("a", "b", "not_worse", margin=1e-5),
        Claim("a", "b", "better", margin=1e-5),
    ]
    sweep = build(new_sweep, claims, {"a": 0.0, "b": 0.0}, rng, spread=0.0)
    for seed in range(8):  # of both signs in equal parts, with a mean between the two margins
        for arm, gain in (("a", 0.01 * (-1) ** seed), ("b", 0.0)):
            final = 0.8 + gain
            sweep.add_run(arm, seed, steps=(100, 1000), top1=[0.5, final], test_top1=final)
    found = reported(call, sweep)
    assert [claim["verdict"] for claim in found] == ["inconclusive"] * 2
    assert "it is open whether a is not worse than b within 1e-05" in found[0]["sentence"]
    assert "it is open whether a is better than b by at least 1e-05" in found[1]["sentence"]
    assert "the effect is too small for 1,000 seeds" in found[0]["sentence"]


def test_not_worse_holds_its_level_at_the_margin_and_has_the_power_of_plan(
    rng: np.random.Generator,
) -> None:
    """At an effect of minus the margin, 2.5% of sweeps are called not worse, and as many worse."""
    n, margin, sweeps = 10, 0.6, 4_000
    tests = [LocationTest(row) for row in rng.standard_normal((sweeps, n)) - margin]
    is_decided = np.array([test.p(-margin) < 0.05 for test in tests])
    is_above = np.array([test.estimate > -margin for test in tests])
    error = np.sqrt(0.025 * 0.975 / sweeps)
    for side in (is_decided & is_above, is_decided & ~is_above):  # not worse, and worse
        assert side.mean() < 0.025 + 4 * error
    effect = minimum_detectable_effect(n, Design())
    assert effect is not None
    samples = rng.standard_normal((5_000, n)) + effect
    shown = np.mean(2 * sign_flip_p_values(samples, one_sided=True) < 0.05)
    # Four standard deviations of the trials here and of the draws that the effect is from.
    assert shown == pytest.approx(0.8, abs=4 * np.sqrt(0.16 / 5000) + 4 * np.sqrt(0.16 / 10_000))


def test_plan_gives_margins_that_can_be_shown(call: Call, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    text = (root / "experiments" / "residual.py").read_text()
    start, end = text.index("claims=("), text.index("        ),\n    )")
    claims = [f'Claim("residual", "plain", "{direction}", margin=0.01)' for direction in DIRECTIONS]
    path = tmp_path / "margins.py"
    text = text[:start] + f"claims=({', '.join(claims)}," + text[end:]
    path.write_text(text.replace("../configs", str(root / "configs")))
    code, out, _ = call("plan", path)
    assert code == 0
    design = Design(0.05 / 4)
    beyond = minimum_detectable_effect(8, design)
    within = minimum_detectable_effect(8, Design(0.05 / 4, equivalence=True))
    lines = {line.split(" final_top1")[0]: line for line in out.splitlines() if ": final" in line}
    assert (
        f"{beyond:.3g} standard deviations beyond the margin"
        in lines["residual better than plain by at least 0.01:"]
    )
    not_worse = lines["residual not worse than plain within 0.01:"]
    assert f"{beyond:.3g} standard deviations" in not_worse
    assert "beyond" not in not_worse
    equivalent = lines["residual equivalent to plain within 0.01:"]
    assert f"{within:.3g} standard deviations" in equivalent


def test_a_record_with_a_margin_that_is_none_is_not_tested(new_sweep: NewSweep) -> None:
    claims = [
        Claim("a", "b", "not_worse", margin=0.01).describe() | {"margin": margin}
        for margin in (None, -0.01, 0)
    ]
    sweep = new_sweep(arms={"a": {}, "b": {}}, claims=claims)
    found = judge(read_directory(sweep.directory))["claims"]
    assert [claim["verdict"] for claim in found] == ["not tested"] * 3
