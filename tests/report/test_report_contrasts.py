"""Figures of contrasts and costs, and the table of seeds: numbers known beforehand."""

import json
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tests.report.figure_checks import artists, outline, points, texts
from tests.synthetic_sweep import STEPS, NewSweep, SweepWriter, saturating
from xception_jax.report import differences
from xception_jax.report.canvas import NARROW, WIDE, set_count_ticks
from xception_jax.report.costs import cost_figure
from xception_jax.report.differences import difference_figure
from xception_jax.report.effects import effect_figure
from xception_jax.report.evaluation import evaluate
from xception_jax.report.noise_tables import noise_table
from xception_jax.report.reading import read_directory
from xception_jax.report.summary import summarize
from xception_jax.report.tables import seed_table
from xception_jax.statistics.bands import Band, simultaneous_band
from xception_jax.sweep import Claim, Effect, Experiment, Trend
from xception_jax.sweep.contrast_claims import AnyClaim


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((0, 20_000), ["0", "5k", "10k", "15k", "20k"]),
        ((0, 1_500_000), ["0", "500k", "1M", "1.5M"]),
        ((0, 2_000), ["0", "500", "1,000", "1,500", "2,000"]),
        ((0, 3), ["0", "1", "2", "3"]),
        ((1.2, 1.8), ["1.2", "1.4", "1.6", "1.8"]),  # speeds have no whole number between them
    ],
)
def test_counts_are_whole_where_they_can_be_and_large_ones_short(
    ends: tuple[float, float], words: list[str]
) -> None:
    figure = Figure()
    axes = figure.add_subplot()
    axes.set_xlim(*ends)
    set_count_ticks(axes, 4)
    figure.draw_without_rendering()
    assert [label.get_text() for label in axes.get_xticklabels()] == words


def planted(new_sweep: NewSweep, claims=(), arms=("a", "b", "c", "d")) -> SweepWriter:
    """Arms that differ by 0.02, 0.03 and 0.07 from the first, the same in every seed and step."""
    sweep = new_sweep(arms={arm: {} for arm in arms}, claims=claims)
    for seed in sweep.seeds:
        curve = np.array(saturating(0.7, noise=0.01, seed=seed))
        for arm, gain in zip(sweep.arms, (0.0, 0.02, 0.03, 0.07), strict=False):
            top1 = (curve + gain).tolist()
            sweep.add_run(arm, seed, steps=STEPS, top1=top1, test_top1=0.6 + gain + 0.01 * seed)
    return sweep


def test_differences_are_paired_by_seed(new_sweep: NewSweep, monkeypatch) -> None:
    interaction = {"arm": "d", "baseline": "c", "versus": ["b", "a"], "direction": "better"}
    sweep = read_directory(
        planted(new_sweep, claims=[interaction, {"arm": "b", "baseline": "a"}]).directory
    )
    seen: list[np.ndarray] = []

    def banded(of_pairs: np.ndarray) -> Band:
        seen.append(of_pairs)
        return simultaneous_band(of_pairs)

    monkeypatch.setattr(differences, "simultaneous_band", banded)
    figure = difference_figure(sweep)
    assert figure is not None
    assert "(d − c) − (b − a), 3 pairs" in texts(figure.draw(WIDE))
    assert "b − a, 3 pairs" in texts(figure.draw(NARROW))
    for found, expected in zip(seen, (0.02, 0.02), strict=True):
        assert found.shape == (3, len(STEPS))
        # Differences of accuracies in float64, 1e-16 each.
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_panels_show_the_differences_of_the_frames(new_sweep: NewSweep, width: float) -> None:
    sweep = read_directory(planted(new_sweep).directory)
    found, _ = differences.measured_contrasts(sweep)
    figure = difference_figure(sweep)
    assert figure is not None
    drawn = figure.draw(width)
    assert len(drawn.axes) == len(found) == 3
    for index, contrast in enumerate(found):
        panel = f"panel-{index}-arm-{index + 1}-arm-0"
        assert drawn.axes[index].get_gid() == panel
        steps, values = points(artists(drawn, "mean-", Line2D)[f"mean-{panel}"])
        np.testing.assert_array_equal(steps, contrast.steps)
        np.testing.assert_array_equal(values, contrast.band.mean)
        for seed, row in zip(contrast.seeds, contrast.differences, strict=True):
            line = artists(drawn, f"seed-{seed}-", Line2D)[f"seed-{seed}-{panel}"]
            np.testing.assert_array_equal(points(line)[1], row)
        edges = outline(artists(drawn, "band-", Collection)[f"band-{panel}"])[:, 1]
        np.testing.assert_allclose(edges.min(), contrast.band.low.min())
        np.testing.assert_allclose(edges.max(), contrast.band.high.max())
    assert len({axes.get_ylim() for axes in drawn.axes}) == 1


def of_factors(factors: dict[str, tuple[str, ...]], claims: tuple[AnyClaim, ...]) -> list[Any]:
    """The claims of an experiment with these factors, as its record has them."""
    experiment = Experiment("q", "so", "base.py", seeds=3, factors=factors, claims=claims)
    return json.loads(json.dumps([claim.describe() for claim in experiment.claims]))


def test_contrasts_of_one_name_have_panels_of_their_own(new_sweep: NewSweep) -> None:
    residual, separable = "model.residual", "model.separable"
    effects = Effect(residual, at={separable: "on"}), Effect(separable, at={residual: "on"})
    claims = of_factors({residual: ("off", "on"), separable: ("off", "on")}, effects)
    arms = ("off-off", "off-on", "on-off", "on-on")
    sweep = read_directory(planted(new_sweep, claims, arms).directory)
    figure = difference_figure(sweep)
    assert figure is not None
    drawn = figure.draw(WIDE)
    assert texts(drawn).count("on − off at on, 3 pairs") == 2
    for number, (baseline, difference) in enumerate(((1, 0.07 - 0.02), (2, 0.07 - 0.03))):
        panel = f"panel-{number}-arm-3-arm-{baseline}"
        for start in ("mean-", "seed-0-", "seed-1-", "seed-2-"):
            line = points(artists(drawn, start, Line2D)[start + panel])
            # Differences of accuracies in float64, 1e-16 each.
            np.testing.assert_allclose(line[1], np.full(len(STEPS), difference), atol=1e-12)
    assert len(artists(drawn, "seed-", Line2D)) == 6


def test_an_effect_that_is_the_difference_of_two_arms_is_shown_once(new_sweep: NewSweep) -> None:
    activation = "model.intermediate_activation"
    claims = of_factors({activation: ("none", "relu")}, (Effect(activation), Claim("relu", "none")))
    sweep = read_directory(planted(new_sweep, claims, ("none", "relu")).directory)
    figure = difference_figure(sweep)
    assert figure is not None
    assert len(figure.draw(WIDE).axes) == 1
    assert seed_table(sweep, summarize(sweep)).columns == ("seed", "none", "relu", "relu − none")


def test_a_diverged_run_takes_its_pair_out_and_is_counted(new_sweep: NewSweep) -> None:
    sweep = planted(new_sweep)
    sweep.add_run("b", 2, status="diverged", steps=STEPS[:2], top1=[0.1, float("nan")])
    figure = difference_figure(read_directory(sweep.directory))
    assert figure is not None
    shown = texts(figure.draw(WIDE))
    assert "b − a, 2 pairs" in shown
    assert "c − a, 3 pairs" in shown
    assert any(note.startswith("1 pair with a diverged run has no") for note in figure.caption)
    assert "for the mean over the seeds whose runs are all done" in figure.caption[0]
    assert "not adjusted for their number, and decide nothing" in figure.caption[0]


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_slopes_over_scores_have_their_own_axis_and_digits(
    new_sweep: NewSweep, width: float
) -> None:
    declared: list[AnyClaim] = [Trend(("a", "b", "c"), scores=(16, 256, 1024)), Claim("b", "a")]
    claims = json.loads(json.dumps([claim.describe() for claim in declared]))
    sweep = read_directory(planted(new_sweep, claims).directory)
    verdicts = evaluate(sweep).verdicts
    figure = effect_figure(sweep, verdicts)
    assert figure is not None
    slope = np.polyfit((16, 256, 1024), (0.0, 0.02, 0.03), 1)[0]
    drawn = figure.draw(width)
    labels = [axes.get_xlabel().replace("\n", " ") for axes in drawn.axes if axes.get_xlabel()]
    assert labels == ["Slope (accuracy per unit of (16, 256, 1024))", "Difference (accuracy)"]
    shown = " ".join(texts(drawn))
    assert f"{slope:+.3g} not tested".replace("-", "−") in shown
    assert "+0.0200 not tested" in shown
    differences_shown = difference_figure(sweep)
    assert differences_shown is not None
    headings = texts(differences_shown.draw(width))
    assert "b − a, 3 pairs" in headings
    assert "→" not in "".join(headings)
    assert any("over declared scores are not drawn" in x for x in differences_shown.caption)


def test_small_noise_has_digits() -> None:
    row = {"of": "a → b", "arms": ["a", "b"], "seeds": 3, "examples": 2000, "mean": -2.5e-5}
    row |= {"variance": 4e-10, "of_examples": 0.0, "of_seeds": 4e-10}
    row |= {"error_of_seeds": 0.5, "error_of_examples": 1e-6}
    table = noise_table({"noise": [row]})  # type: ignore[typeddict-item]
    assert table is not None
    assert table.rows[0][3:] == ("−2.5e−05", "2e−05", "0.0000", "2e−05", "0.5000", "1e−06")


def test_no_figure_of_differences_with_one_pair(new_sweep: NewSweep) -> None:
    sweep = new_sweep(arms={"a": {}, "b": {}}, seeds=(0,))
    for arm in sweep.arms:
        sweep.add_run(arm, 0, steps=STEPS, top1=saturating(0.9), test_top1=0.9)
    assert difference_figure(read_directory(sweep.directory)) is None


def test_costs_that_differ_have_a_panel_and_the_others_a_word(new_sweep: NewSweep) -> None:
    sweep = new_sweep(arms={"a": {}, "b": {}}, seeds=(0, 1))
    for size, arm in enumerate(sweep.arms, 1):
        for seed in sweep.seeds:
            sweep.add_run(
                arm,
                seed,
                test_top1=0.8 + 0.01 * seed,
                parameters=1000 * size,
                macs=5,
                images_per_second=100.0 + seed,
            )
    figure = cost_figure(read_directory(sweep.directory))
    assert figure is not None
    drawn = figure.draw(WIDE)
    labels = [axes.get_xlabel() for axes in drawn.axes]
    assert labels == ["Parameters", "Training speed (images/s)"]
    note = "Not drawn, because every run has the same: multiply-adds per image."
    assert figure.caption[1:] == (note,)
    for index, cost in enumerate((1000, 2000)):
        at, reached = points(artists(drawn, "runs-", Line2D)[f"runs-parameters-arm-{index}"])
        np.testing.assert_array_equal(at, [cost, cost])
        np.testing.assert_allclose(reached, [0.8, 0.81])
        at, reached = points(artists(drawn, "mean-", Line2D)[f"mean-parameters-arm-{index}"])
        np.testing.assert_allclose(at, [cost])
        np.testing.assert_allclose(reached, [0.805])


def test_table_of_seeds_has_values_and_differences(new_sweep: NewSweep) -> None:
    written = planted(new_sweep)
    written.add_run("b", 2, status="diverged", steps=STEPS[:2], top1=[0.1, float("nan")])
    sweep = read_directory(written.directory)
    table = seed_table(sweep, summarize(sweep))
    assert table.columns == ("seed", "a", "b", "c", "d", "b − a", "c − a", "d − a")
    first = ("0", "0.6000", "0.6200", "0.6300", "0.6700", "+0.0200", "+0.0300", "+0.0700")
    assert table.rows[0] == first
    assert table.rows[2][2] == "diverged"
    assert table.rows[2][5] == "—"
