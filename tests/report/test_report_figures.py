"""Axes, what figures show of the frames they get, and the files of figures."""

import io
import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import polars as pl
import pytest
from matplotlib.collections import Collection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from tests.programs import run_program
from tests.report.figure_checks import artists, outline, points, texts
from tests.synthetic_sweep import STEPS, SweepWriter, saturating
from tests.synthetic_verdicts import verdicts_on
from xception_jax.report.arm_styles import arm_styles
from xception_jax.report.axes import MOST_LINES, ValueAxis, thin, thin_lines, value_axis
from xception_jax.report.canvas import NARROW, WIDE
from xception_jax.report.curve_drawing import CurveFrames, draw_curves
from xception_jax.report.curves import curve_figure, curve_frames
from xception_jax.report.export import export, export_svg, inline_svg, tooltips
from xception_jax.report.figures import report_figures
from xception_jax.report.panels import panels_by_level
from xception_jax.report.reading import read_directory
from xception_jax.statistics.results import Sweep

NO_BANDS = pl.DataFrame(schema={"step": pl.Int64, "low": pl.Float64, "high": pl.Float64})


def evaluations(values, *, status="done", steps=STEPS) -> pl.DataFrame:
    return pl.DataFrame({"step": list(steps), "value": values, "status": status})


def accuracy_axis(curves: pl.DataFrame, bands: pl.DataFrame = NO_BANDS):
    return value_axis(curves, bands, bounds=(0.0, 1.0), least_span=0.02)


def test_axis_zooms_to_where_the_curves_end_up() -> None:
    curves = evaluations(saturating(0.9))
    axis = accuracy_axis(curves)
    late = curves.filter(pl.col("step") >= 250)["value"]
    assert axis.low <= late.min()
    assert late.max() <= axis.high <= 1
    assert axis.low > 0.5
    assert axis.hidden == (curves["value"] < axis.low).sum() > 0


def test_axis_starts_at_zero_when_the_data_nearly_do() -> None:
    assert accuracy_axis(evaluations([0.1, 0.8] * 5)).low == 0


def test_diverged_runs_do_not_stretch_the_axis() -> None:
    steady = evaluations([0.8] * 10)
    diverged = evaluations([0.1] * 10, status="diverged")
    assert accuracy_axis(pl.concat([steady, diverged])).low > 0.7
    assert accuracy_axis(diverged).low <= 0.1


def test_noise_is_not_magnified_beyond_the_least_span() -> None:
    axis = accuracy_axis(evaluations([0.8, 0.8001] * 5))
    assert axis.high - axis.low >= 0.02


def test_wide_bands_stretch_the_axis_only_so_far() -> None:
    bands = pl.DataFrame({"step": [900], "low": [-5.0], "high": [6.0]})
    axis = accuracy_axis(evaluations([0.8, 0.82] * 5), bands)
    assert axis.high - axis.low < 0.1


def test_axis_without_data_is_the_whole_range() -> None:
    axis = accuracy_axis(evaluations([], steps=[]))
    assert (axis.low, axis.high, axis.hidden) == (0, 1, 0)


def test_one_large_value_has_an_axis_with_two_ends() -> None:
    axis = value_axis(evaluations([1e17] * 10), NO_BANDS, bounds=(0.0, 1e300), least_span=0.02)
    assert axis.low < 1e17 < axis.high


def test_thinning_keeps_first_and_last_step_of_every_arm() -> None:
    curves = pl.concat(
        pl.DataFrame({"arm": arm, "step": range(1, n + 1), "value": 0.5})
        for arm, n in (("long", 2000), ("short", 10))
    )
    thinned, was_thinned = thin(curves, lines=300)
    assert was_thinned
    assert len(thinned.filter(arm="long")) <= 150
    steps = thinned.filter(arm="long")["step"]
    assert (steps[0], steps[-1]) == (1, 2000)
    assert len(thinned.filter(arm="short")) == 10


def test_no_two_arms_look_alike() -> None:
    styles = arm_styles([str(index) for index in range(35)])
    assert len({(style.color, style.dashes) for style in styles.values()}) == 35


# -- curves ------------------------------------------------------------------------------------


def curves_of(sweep: SweepWriter, column: str = "top1", width: float = WIDE) -> Figure:
    return curve_figure(read_directory(sweep.directory), column, letter="A", heading="").draw(width)


def test_figure_names_every_arm_with_its_n(finished_sweep: SweepWriter) -> None:
    for column, width in itertools.product(("top1", "loss"), (WIDE, NARROW)):
        figure = curves_of(finished_sweep, column, width)
        for arm in finished_sweep.arms:
            assert texts(figure).count(f"{arm}, n = 3") == 1
        assert figure.axes[0].get_xlabel() == "Training steps (1,000 steps = 10 epochs)"
        assert figure.get_figwidth() == width


def test_lines_and_bands_are_those_of_the_frames(finished_sweep: SweepWriter) -> None:
    frames = curve_frames(read_directory(finished_sweep.directory), "top1")
    figure = curves_of(finished_sweep)
    means, runs = (artists(figure, start, Line2D) for start in ("mean-", "run-"))
    bands = artists(figure, "band-", Collection)
    assert list(means) == ["mean-arm-0", "mean-arm-1", "mean-arm-2"]
    assert len(bands) == 3
    assert len(runs) == 9
    for index, arm in enumerate(finished_sweep.arms):
        of_arm = frames.means.filter(arm=arm)
        steps, values = points(means[f"mean-arm-{index}"])
        np.testing.assert_array_equal(steps, of_arm["step"])
        np.testing.assert_array_equal(values, of_arm["mean"])
        corners = outline(bands[f"band-arm-{index}"])
        for low, step, high in of_arm.select("low", "step", "high").iter_rows():
            edges = corners[corners[:, 0] == step, 1]
            assert (edges.min(), edges.max()) == (low, high)
    for run in range(9):
        of_run = frames.seeds.filter(run=run)
        steps, values = points(runs[f"run-{run}-arm-{run // 3}"])
        np.testing.assert_array_equal(steps, of_run["step"])
        np.testing.assert_array_equal(values, of_run["value"])


def test_arms_differ_in_color_dashes_and_marker(finished_sweep: SweepWriter) -> None:
    lines = artists(curves_of(finished_sweep), "mean-", Line2D).values()
    for look in ("get_color", "get_marker"):
        assert len({getattr(line, look)() for line in lines}) == 3
    dashes = {vars(line)["_unscaled_dash_pattern"] for line in lines}  # get_linestyle says "--"
    assert len(dashes) == 3
    styles = arm_styles(list(finished_sweep.arms)).values()
    assert [to_hex(line.get_color()) for line in lines] == [style.color for style in styles]


def test_legend_has_the_order_of_the_lines_at_their_ends(finished_sweep: SweepWriter) -> None:
    (legend,) = curves_of(finished_sweep).legends
    names = [text.get_text().partition(",")[0] for text in legend.get_texts()]
    assert names == ["none", "relu", "elu"]  # 0.90, 0.88 and 0.85
    losses = [text.get_text() for text in curves_of(finished_sweep, "loss").legends[0].get_texts()]
    assert losses[0].startswith("elu")


def test_figure_tells_that_its_axis_is_cut(finished_sweep: SweepWriter) -> None:
    frames = curve_frames(read_directory(finished_sweep.directory), "top1")
    axes = curves_of(finished_sweep).axes[0]
    assert axes.get_ylabel().startswith("Validation top-1 accuracy,\naxis from 0.")
    assert axes.get_ylim() == (frames.axis.low, frames.axis.high)
    assert any("are not drawn" in note for note in frames.notes)


def test_mean_of_a_figure_leaves_out_diverged_runs_and_says_so(
    new_sweep: Callable[..., SweepWriter],
) -> None:
    sweep = new_sweep(arms={"none": {}})
    for seed in (0, 1):
        sweep.add_run("none", seed, steps=STEPS, top1=saturating(0.9, noise=0.01, seed=seed))
    bad = [*saturating(0.9)[:3], 0.1, float("nan")]
    sweep.add_run("none", 2, status="diverged", steps=STEPS[:5], top1=bad, reason="loss is nan")
    figure = curves_of(sweep)
    notes = curve_frames(read_directory(sweep.directory), "top1").notes
    assert "none, n = 2, 1 diverged" in texts(figure)
    crosses = artists(figure, "end-", Line2D)
    assert list(crosses) == ["end-2-arm-0"]
    (step,), (value,) = points(crosses["end-2-arm-0"])
    assert (step, value) == (STEPS[3], figure.axes[0].get_ylim()[0])
    assert any("leave out the runs that diverged" in note for note in notes)


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_single_evaluation_is_visible(new_sweep: Callable[..., SweepWriter], seeds) -> None:
    sweep = new_sweep(arms={"none": {}}, seeds=seeds)
    for seed in seeds:
        sweep.add_run("none", seed, steps=[1000], top1=[0.8 + 0.01 * seed], test_top1=0.8)
    notes = curve_frames(read_directory(sweep.directory), "top1").notes
    figure = curves_of(sweep)
    assert ("No band is drawn, because no step has two seeds." in notes) == (len(seeds) == 1)
    assert f"none, n = {len(seeds)}" in texts(figure)
    assert len(artists(figure, "band-", Collection)) == len(seeds) - 1
    assert all(line.get_marker() == "." for line in artists(figure, "run-", Line2D).values())


def test_values_far_outside_the_axis_are_drawn_to_its_edge() -> None:
    seeds = pl.DataFrame({"run": 0, "arm": "a", "seed": 0, "step": [1, 2], "value": [0.5, 1e300]})
    means = pl.DataFrame({"arm": "a", "step": [1], "n": [1], "mean": [0.5]})
    means = means.with_columns(low=pl.lit(None, pl.Float64), high=pl.lit(None, pl.Float64))
    axis = ValueAxis(0.0, 1.0, 1)
    ends = seeds.clear().drop("seed")
    frames = CurveFrames(seeds, means, ends, axis, y_label="value", notes=())
    figure = draw_curves(frames, arms=["a"], panels={})
    line = artists(figure, "run-", Line2D)["run-0-arm-0"]
    assert line.get_clip_on()
    assert points(line)[1].max() > 1e5
    assert b"inf" not in export_svg(figure)


# -- files -------------------------------------------------------------------------------------


def test_files_of_a_figure(finished_sweep: SweepWriter) -> None:
    figure = curves_of(finished_sweep)
    files = export(figure)
    width, height = figure.get_size_inches()
    image = Image.open(io.BytesIO(files["png"])).convert("RGB")
    assert image.size == (int(300 * width), int(300 * height))
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert b"/FontFile2" in files["pdf"]  # TrueType, embedded
    assert b"/Type3" not in files["pdf"]
    root = ElementTree.fromstring(files["svg"])
    words = {"".join(text.itertext()).strip() for text in root.iter() if "}text" in text.tag}
    assert {f"{arm}, n = 3" for arm in finished_sweep.arms} <= words
    assert float(root.attrib["width"].removesuffix("pt")) == pytest.approx(72 * width)


def test_image_of_a_large_figure_has_four_million_pixels() -> None:
    image = Image.open(io.BytesIO(export(Figure((6.9, 60)))["png"]))
    assert 3.9e6 < image.width * image.height <= 4e6


def test_same_figure_is_the_same_file_whatever_the_users_settings(
    finished_sweep: SweepWriter,
) -> None:
    files = export(curves_of(finished_sweep))
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.grid": False}):
        assert export(curves_of(finished_sweep)) == files
        assert matplotlib.rcParams["font.size"] == 30


def test_names_are_text_and_never_formulas(new_sweep: Callable[..., SweepWriter]) -> None:
    name = "$x_1$ <b>&amp;"
    sweep = new_sweep(arms={name: {}}, seeds=(0,))
    sweep.add_run(name, 0, steps=STEPS, top1=saturating(0.9), test_top1=0.9)
    figure = curves_of(sweep)
    assert f"{name}, n = 1" in texts(figure)
    assert b"$x_1$ &lt;b&gt;&amp;amp;, n = 1" in export_svg(figure)


def test_svg_has_no_more_digits_than_show_and_its_text_whole() -> None:
    figure = Figure()
    figure.add_subplot().plot([0, 1 / 3, 1], [0, 1 / 7, 1])
    figure.text(0.5, 0.5, '<path d="0.123456">')
    root = ElementTree.fromstring(export_svg(figure))
    assert any(each.text == '<path d="0.123456">' for each in root.iter())
    paths = [each.attrib["d"] for each in root.iter() if "d" in each.attrib]
    assert not re.search(r"\.\d{3}", "".join(paths))
    assert not [each for each in root.iter() if "rotate(-0" in each.get("transform", "")]


def test_svg_of_a_page_has_classes_variables_and_no_inline_style(
    finished_sweep: SweepWriter,
) -> None:
    figure = curves_of(finished_sweep)
    svg = inline_svg(
        export_svg(figure), name="f", label="<label>", layout="wide", titles=tooltips(figure)
    )
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"] == "<label>"
    assert "style" not in {key for each in root.iter() for key in each.attrib}
    assert {each.tag for each in root.iter()}.isdisjoint({"style", "script", "metadata"})
    groups = [each for each in root.iter() if each.get("class") == "arm a1"]
    assert len(groups) == 3 + 1 + 1 + 2  # runs, mean, band, and in the legend the line and the name
    titles = ["".join(each.itertext()) for each in root.iter("title")]
    assert titles.count("relu, seed 2") == 1
    assert not re.search(r"#0072b2|#1a1a1a", svg)
    assert "var(--color-0)" in svg
    ids = [each.attrib["id"] for each in root.iter() if each.get("id")]
    assert len(set(ids)) == len(ids)
    assert all(each.startswith("f-wide-") for each in ids)
    used = set(re.findall(r"#([\w-]+)", svg))
    assert used == set(ids)


def test_no_figure_needs_the_global_state_of_pyplot(finished_sweep: SweepWriter) -> None:
    done = run_program("report_without_pyplot", finished_sweep.directory)
    assert done.stdout == "False\n"


def test_every_figure_is_drawn_in_both_widths(finished_sweep: SweepWriter) -> None:
    figures = report_figures(read_directory(finished_sweep.directory), verdicts_on())
    assert [figure.letter for figure in figures] == ["A", "B", "D", "F"]
    for figure in figures:
        assert figure.draw(WIDE).get_figwidth() == WIDE
        assert figure.draw(NARROW).get_figwidth() == NARROW
        assert figure.caption
        assert "figure A" not in " ".join(figure.caption)  # over several bases it is A1, A2, …


def factorial(new_sweep: Callable[..., SweepWriter], *counts: int) -> Sweep:
    """A sweep over factors a, b, … with so many levels, without runs."""
    levels: dict[str, dict[str, Any]] = {
        name: {f"{name}{i}": {} for i in range(count)}
        for name, count in zip("abc", counts, strict=False)
    }
    arms: dict[str, Any] = {"-".join(names): {} for names in itertools.product(*levels.values())}
    sweep = read_directory(new_sweep(arms=arms, seeds=(0,)).directory)
    experiment = sweep.record["experiment"] | {"factors": levels}
    return replace(sweep, record={**sweep.record, "experiment": experiment})


def test_the_levels_of_a_single_factor_are_no_panels(
    new_sweep: Callable[..., SweepWriter],
) -> None:
    assert panels_by_level(factorial(new_sweep, 12)) == {}


def test_the_legend_of_panels_belongs_to_no_arm(new_sweep: Callable[..., SweepWriter]) -> None:
    """Its entries are lines that several arms share, so that the page has none to point out."""
    drawn = curve_figure(factorial(new_sweep, 2, 6), "top1", letter="A", heading="A").draw(WIDE)
    assert {"a0", "a1"} <= set(texts(drawn))
    gids = [artist.get_gid() or "" for artist in drawn.findobj()]
    assert not [gid for gid in gids if gid.startswith(("key-", "label-"))]


def test_thin_lines_of_many_runs_are_one_line_with_gaps() -> None:
    curves = pl.concat(
        pl.DataFrame({"arm": arm, "run": run, "step": [1, 2], "value": [run + 0.1, run + 0.2]})
        for run, arm in enumerate(("a", "b", "a"))
    )
    few = [(arm, run, rows.rows()) for arm, run, rows in thin_lines(curves, "run", "arm", 3)]
    assert [line[:2] for line in few] == [("a", "0"), ("b", "1"), ("a", "2")]
    many = {arm: rows for arm, _, rows in thin_lines(curves, "run", "arm", MOST_LINES + 1)}
    assert many["a"]["value"].to_list() == [0.1, 0.2, None, 2.1, 2.2, None]
    assert many["b"]["value"].to_list() == [1.1, 1.2, None]
