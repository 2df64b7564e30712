"""Axes, clipping, label positions, and what a drawing contains."""

import itertools
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.analysis.synthetic_sweep import STEPS, SweepWriter, saturating
from xception_jax.analysis.axes import clip_bands, clip_lines, spread_labels, thin, value_axis
from xception_jax.analysis.curve_figure import curve_figure
from xception_jax.analysis.drawing import arm_styles
from xception_jax.analysis.read import read_directory

NO_BANDS = pl.DataFrame(schema={"step": pl.Int64, "low": pl.Float64, "high": pl.Float64})


def points(values, *, status="done", steps=STEPS) -> pl.DataFrame:
    return pl.DataFrame({"step": list(steps), "value": values, "status": status})


def accuracy_axis(curves: pl.DataFrame, bands: pl.DataFrame = NO_BANDS):
    return value_axis(curves, bands, bounds=(0.0, 1.0), least_span=0.02)


def test_axis_zooms_to_where_the_curves_end_up() -> None:
    curves = points(saturating(0.9))
    axis = accuracy_axis(curves)
    late = curves.filter(pl.col("step") >= 250)["value"]
    assert axis.low <= late.min()
    assert late.max() <= axis.high <= 1
    assert axis.low > 0.5
    assert axis.hidden == (curves["value"] < axis.low).sum() > 0


def test_axis_starts_at_zero_when_the_data_nearly_do() -> None:
    assert accuracy_axis(points([0.1, 0.8] * 5)).low == 0


def test_diverged_runs_do_not_stretch_the_axis() -> None:
    steady = points([0.8] * 10)
    diverged = points([0.1] * 10, status="diverged")
    assert accuracy_axis(pl.concat([steady, diverged])).low > 0.7
    assert accuracy_axis(diverged).low <= 0.1


def test_noise_is_not_magnified_beyond_the_least_span() -> None:
    axis = accuracy_axis(points([0.8, 0.8001] * 5))
    assert axis.high - axis.low >= 0.02


def test_wide_bands_stretch_the_axis_only_so_far() -> None:
    bands = pl.DataFrame({"step": [900], "low": [-5.0], "high": [6.0]})
    axis = accuracy_axis(points([0.8, 0.82] * 5), bands)
    assert axis.high - axis.low < 0.1


def test_axis_without_data_is_the_whole_range() -> None:
    axis = accuracy_axis(points([], steps=[]))
    assert (axis.low, axis.high, axis.hidden) == (0, 1, 0)


def test_clipped_line_follows_the_line_inside_and_breaks_outside() -> None:
    steps, values = [0, 10, 20, 30, 40, 50], [0.0, 1.0, 0.0, -1.0, 0.0, 2.0]
    line = pl.DataFrame({"line": "a", "step": steps, "value": values})
    clipped = clip_lines(line, -0.5, 0.5)
    assert clipped["value"].is_between(-0.5, 0.5).all()
    np.testing.assert_allclose(clipped["value"], np.interp(clipped["step"], steps, values))
    ends = clipped.group_by("line").agg(pl.col("step").min(), end=pl.col("step").max())
    pieces = sorted(ends.select("step", "end").iter_rows())
    assert pieces == [(0, 5), (15, 25), (35, 42.5)]


def test_clipped_line_that_jumps_over_the_range_still_crosses_it() -> None:
    line = pl.DataFrame({"line": "a", "step": [0, 10], "value": [0.0, 1e300]})
    clipped = clip_lines(line, 0.5, 0.6)
    assert clipped["value"].to_list() == [0.5, 0.6]
    assert clipped["line"].n_unique() == 1


def test_clipped_band_keeps_its_edges_inside() -> None:
    steps, low, high = [0, 10, 20], [0.0, 0.4, 0.5], [0.2, 0.9, 0.7]
    band = pl.DataFrame({"line": "a", "step": steps, "low": low, "high": high})
    clipped = clip_bands(band, 0.3, 0.8)
    for name, values in (("low", low), ("high", high)):
        expected = np.clip(np.interp(clipped["step"], steps, values), 0.3, 0.8)
        np.testing.assert_allclose(clipped[name], expected)


@given(
    st.lists(st.floats(-50, 400), min_size=1, max_size=30),
    st.sampled_from([5.0, 18.0, 200.0]),
)
def test_labels_stay_in_range_in_order_and_apart(wanted: list[float], gap: float) -> None:
    placed = spread_labels(wanted, gap=gap, low=0, high=340)
    assert all(-1e-6 <= position <= 340 + 1e-6 for position in placed)
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    least = min(gap, 340 / max(len(wanted) - 1, 1))
    for left, right in itertools.pairwise(order):
        assert placed[right] - placed[left] >= least - 1e-6


def test_labels_with_room_are_not_moved() -> None:
    assert spread_labels([100.0, 10.0, 200.0], gap=18, low=0, high=340) == [100.0, 10.0, 200.0]


def test_thinning_keeps_first_and_last_step_of_every_arm() -> None:
    curves = pl.concat(
        pl.DataFrame({"arm": arm, "step": range(1, n + 1), "value": 0.5})
        for arm, n in (("long", 2000), ("short", 10))
    )
    thinned, was_thinned = thin(curves, lines=300)
    assert was_thinned
    assert len(thinned.filter(arm="long")) <= 150
    assert thinned.filter(arm="long")["step"].to_list()[:: len(thinned) - 11] == [1, 2000]
    assert len(thinned.filter(arm="short")) == 10


def test_no_two_arms_look_alike() -> None:
    styles = arm_styles([str(index) for index in range(35)])
    assert len({(style.color, style.dash) for style in styles.values()}) == 35


def test_figure_names_every_arm_with_its_n(finished_sweep: SweepWriter) -> None:
    for column in ("top1", "loss"):
        figure = curve_figure(read_directory(finished_sweep.directory), column)
        for drawing in (figure.wide, figure.narrow):
            for arm in finished_sweep.arms:
                assert f">{arm}, n = 3<" in drawing.body
            assert "Training steps (1,000 steps = 10 epochs)" in drawing.body


def test_figure_tells_that_its_axis_is_cut(finished_sweep: SweepWriter) -> None:
    figure = curve_figure(read_directory(finished_sweep.directory), "top1")
    assert "Validation top-1 accuracy, axis from 0." in figure.wide.body
    assert any("are not drawn" in note for note in figure.notes)


def test_mean_of_a_figure_leaves_out_diverged_runs_and_says_so(
    new_sweep: Callable[..., SweepWriter],
) -> None:
    sweep = new_sweep(arms={"none": {}})
    for seed in (0, 1):
        sweep.add_run("none", seed, steps=STEPS, top1=saturating(0.9, noise=0.01, seed=seed))
    bad = [*saturating(0.9)[:3], 0.1, float("nan")]
    sweep.add_run("none", 2, status="diverged", steps=STEPS[:5], top1=bad, reason="loss is nan")
    figure = curve_figure(read_directory(sweep.directory), "top1")
    assert ">none, n = 2, 1 diverged<" in figure.wide.body
    assert ">×<" in figure.wide.body
    assert any("leave out the runs that diverged" in note for note in figure.notes)


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_single_evaluation_is_visible(new_sweep: Callable[..., SweepWriter], seeds) -> None:
    sweep = new_sweep(arms={"none": {}}, seeds=seeds)
    for seed in seeds:
        sweep.add_run("none", seed, steps=[1000], top1=[0.8 + 0.01 * seed], test_top1=0.8)
    figure = curve_figure(read_directory(sweep.directory), "top1")
    assert ("No band is drawn, because no step has two seeds." in figure.notes) == (len(seeds) == 1)
    assert f">none, n = {len(seeds)}<" in figure.wide.body
