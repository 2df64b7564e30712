"""Sensitivity curves: what is drawn is what was tried."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.lines import Line2D

from tests.report.figure_checks import artists, points, texts
from tests.synthetic_tuning import RATE, RATES, add_tuning, hill
from xception_jax.report.canvas import NARROW, WIDE
from xception_jax.report.reading import read_directory
from xception_jax.report.sensitivity import (
    tuning_figure,
    tuning_notes,
    tuning_runs_frame,
    tuning_table,
)

DECAY = "optimizer.weight_decay"


def two_arms(new_sweep):
    return new_sweep(arms={"none": {}, "relu": {}}, seeds=range(4))


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_every_arm_is_drawn_with_its_seeds_means_and_choice(new_sweep, width):
    sweep = two_arms(new_sweep)
    scores = {"none": hill(0.1), "relu": hill(0.4)}
    add_tuning(sweep, scores, at_edge={"relu": {RATE: "upper"}})
    found = read_directory(sweep.directory)
    figure = tuning_figure(found)
    assert figure is not None
    drawn = figure.draw(width)
    (axes,) = drawn.axes
    assert axes.get_xscale() == "log"
    for index, (arm, best) in enumerate((("none", 0.1), ("relu", 0.4))):
        values, means = points(artists(drawn, "mean-", Line2D)[f"mean-0-arm-{index}"])
        np.testing.assert_array_equal(values, RATES)
        expected = [np.mean(np.array(scores[arm][rate,], float)) for rate in RATES]
        # Means of a few float64 numbers, 1e-16 each.
        np.testing.assert_allclose(means, expected, rtol=1e-12)
        _, seeds = points(artists(drawn, "seeds-", Line2D)[f"seeds-0-arm-{index}"])
        np.testing.assert_array_equal(
            sorted(seeds), sorted(v for of in scores[arm].values() for v in of if v is not None)
        )
        ring = points(artists(drawn, "chosen-", Line2D)[f"chosen-0-arm-{index}"])
        assert ring[0].tolist() == [best]
    assert "Learning rate" in texts(drawn)
    table = tuning_table(found)
    assert table is not None
    assert [row[:3] for row in table.rows] == [("none", "0.1", "inside"), ("relu", "0.4", "upper")]
    assert any("At the edge of what was tried: relu." in note for note in tuning_notes(found))


def test_two_settings_are_two_panels_through_the_choice(new_sweep):
    sweep = two_arms(new_sweep)
    scores: dict[str, dict[tuple[float, ...], list[float]]] = {
        arm: {
            (rate, decay): [0.9 - abs(rate - peak) - 100 * decay]
            for rate in (0.1, 0.2, 0.4)
            for decay in (0.0, 1e-5, 1e-4)
        }
        for arm, peak in (("none", 0.1), ("relu", 0.2))
    }
    add_tuning(sweep, scores, settings=(RATE, DECAY))
    figure = tuning_figure(read_directory(sweep.directory))
    assert figure is not None
    for width in (WIDE, NARROW):
        drawn = figure.draw(width)
        assert len(drawn.axes) == 2
        assert [axes.get_xscale() for axes in drawn.axes] == ["log", "symlog"]
        values, means = points(artists(drawn, "mean-1-", Line2D)["mean-1-arm-1"])
        np.testing.assert_allclose(values, (0.0, 1e-5, 1e-4))
        np.testing.assert_allclose(means, [0.9, 0.899, 0.89])
        drawn.draw_without_rendering()


def test_a_sweep_that_is_not_tuned_has_no_such_figure(finished_sweep):
    found = read_directory(finished_sweep.directory)
    assert tuning_figure(found) is None
    assert tuning_table(found) is None
    assert tuning_notes(found) == []
    assert tuning_runs_frame(found) is None


def test_the_data_file_has_every_run(new_sweep):
    sweep = two_arms(new_sweep)
    none = hill(0.1)
    none[0.4,] = [None, 0.5]
    add_tuning(sweep, {"none": none, "relu": hill(0.2)})
    frame = tuning_runs_frame(read_directory(sweep.directory))
    assert frame is not None
    assert len(frame) == 20
    diverged = frame.filter(frame["status"] == "diverged")
    assert diverged.select("arm", RATE, "final_metric").rows() == [("none", 0.4, None)]
    assert set(frame["split"].drop_nulls()) == {"valid"}


def test_each_tuning_run_names_its_metric(new_sweep):
    """The table of tuning runs has the metric of each, which is not the same on all bases."""
    sweep = two_arms(new_sweep)
    add_tuning(sweep, {"none": hill(0.1), "relu": hill(0.2)})
    found = read_directory(sweep.directory)
    first, *others = found.tuning_runs
    first = replace(first, metric="map100", test_map100=0.625)
    frame = tuning_runs_frame(replace(found, tuning_runs=(first, *others)))
    assert frame is not None
    assert frame.select("metric", "final_metric").row(0) == ("map100", 0.625)
    assert frame["metric"].to_list()[1:] == ["top1"] * len(others)
    assert "top1" not in frame.columns
