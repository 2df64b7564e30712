"""Figure B: the paired difference of every contrast against steps, with a simultaneous band."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from xception_jax.report.arm_styles import (
    NARROW,
    WIDE,
    Panel,
    arm_styles,
    frame,
    shorten,
    text,
    zero_line,
)
from xception_jax.report.axes import ValueAxis, clip_bands, clip_lines, value_axis
from xception_jax.report.curves import METRICS, seed_curves, step_title
from xception_jax.report.export import Drawing, Figure, area_path, element, line_path, words
from xception_jax.statistics.bands import Band, simultaneous_band
from xception_jax.statistics.contrasts import SIGNS, Arms, contrast_name, contrasts, paired_runs
from xception_jax.statistics.paired import CONFIDENCE
from xception_jax.statistics.results import Sweep

Curve = tuple[Int[np.ndarray, " steps"], Float[np.ndarray, " steps"]]
MOST_STEPS = 60
LEAST_SPAN = 0.01
NAME_LENGTH = 18


@dataclass(frozen=True)
class Contrast:
    """Arms whose runs of the same seed are subtracted.

    Attributes:
        arms: as `contrasts` gives them.
        steps: evaluations that every pair has; at most `MOST_STEPS` of them.
        differences: one row per seed.
        seeds: of the rows.
        diverged: pairs that are not among them because one of the two runs diverged.
    """

    arms: Arms
    steps: Float[np.ndarray, " steps"]
    differences: Float[np.ndarray, "seeds steps"]
    seeds: tuple[int, ...]
    diverged: int
    band: Band


def draw(sweep: Sweep) -> Figure | None:
    """One panel per contrast; None where no contrast has two pairs of finished runs."""
    metric = METRICS[sweep.metric]
    curves = seed_curves(sweep, metric.column).filter(pl.col("status") == "done")
    runs = {
        key[0]: (rows["step"].to_numpy(), rows["value"].to_numpy())
        for key, rows in curves.partition_by("run", as_dict=True).items()
    }
    wanted = contrasts(sweep)
    found = [each for arms in wanted if (each := _contrast(sweep, arms, runs))]
    if not found:
        return None
    axis = _axis(found)
    cut = _cut(found, axis)
    title = f"Paired difference in {metric.title[0].lower()}{metric.title[1:]}"
    return Figure(
        name="paired_difference",
        title=title,
        notes=tuple(_notes(found, len(wanted), axis)),
        wide=_draw(sweep, cut, axis, title, wide=True),
        narrow=_draw(sweep, cut, axis, title, wide=False),
    )


def _contrast(sweep: Sweep, arms: Arms, runs: Mapping[object, Curve]) -> Contrast | None:
    groups = list(paired_runs(sweep, arms))
    known = [group for group in groups if all(run in runs for run in group)]
    if len(known) < 2:
        return None
    at_steps = [runs[run][0] for group in known for run in group]
    shared = reduce(_common, at_steps)
    if not len(shared):
        return None
    steps = shared[np.unique(np.linspace(0, len(shared) - 1, MOST_STEPS).round().astype(int))]

    def values(run: int) -> Float[np.ndarray, " steps"]:
        at, reached = runs[run]
        return reached[np.searchsorted(at, steps)]

    differences = np.stack(
        [sum(sign * values(run) for sign, run in zip(SIGNS, g, strict=False)) for g in known]
    )
    seeds = tuple(sweep.runs[group[0]].seed or 0 for group in known)
    diverged = sum(any(sweep.runs[run].status == "diverged" for run in g) for g in groups)
    band = simultaneous_band(differences)
    return Contrast(arms, steps.astype(np.float64), differences, seeds, diverged, band)


def _common(
    one: Int[np.ndarray, " some"], other: Int[np.ndarray, " others"]
) -> Int[np.ndarray, " both"]:
    """The steps in both; as a rule the two are the same, which is quick to see."""
    return one if np.array_equal(one, other) else np.intersect1d(one, other, assume_unique=True)


def _axis(found: list[Contrast]) -> ValueAxis:
    """One range for all panels, so that they compare; zero is always in it."""
    rows = [
        {"step": step, "value": value, "low": low, "high": high, "status": "done"}
        for each in found
        for step, value, low, high in zip(
            each.steps, each.band.mean, each.band.low, each.band.high, strict=True
        )
    ]
    points = pl.DataFrame(rows)
    zero = pl.DataFrame({"step": [points["step"].max()], "value": [0.0], "status": ["done"]})
    curves = pl.concat([points.select("step", "value", "status"), zero])
    bands = points.select("step", "low", "high")
    return value_axis(curves, bands, bounds=(-1e300, 1e300), least_span=LEAST_SPAN)


def _notes(found: list[Contrast], pairs: int, axis: ValueAxis) -> list[str]:
    notes = []
    if axis.hidden:
        notes.append(
            f"The axis runs from {axis.low:g} to {axis.high:g}; {axis.hidden:,} means lie outside."
        )
    if diverged := sum(each.diverged for each in found):
        notes.append(f"{diverged} pairs with a diverged run have no difference to draw.")
    if len(found) < pairs:
        notes.append(f"{pairs - len(found)} contrasts have fewer than two pairs of finished runs.")
    if min(len(each.seeds) for each in found) < 5:
        notes.append(
            "With fewer than 5 pairs a band covers less than it says: 88% with 3, where simulated."
        )
    return notes


@dataclass(frozen=True)
class Cut:
    """A contrast's curves, cut to the range of the value axis.

    Attributes:
        band: columns step, low, high.
        seeds: `seed 3` and a piece of its line, with columns step, value.
        mean: the same of the mean.
    """

    contrast: Contrast
    band: pl.DataFrame
    seeds: list[tuple[str, pl.DataFrame]]
    mean: list[tuple[str, pl.DataFrame]]


def _cut(found: list[Contrast], axis: ValueAxis) -> list[Cut]:
    """All contrasts at once: a frame for each would cost far more time."""
    lines, bands = [], []
    for index, each in enumerate(found):
        names = [f"{index} seed {seed}" for seed in each.seeds] + [f"{index} mean"]
        values = np.vstack([each.differences, each.band.mean])
        many = len(each.steps)
        steps = np.tile(each.steps, len(names))
        lines.append((np.repeat(names, many), steps, values.ravel()))
        bands.append((np.repeat(str(index), many), each.steps, each.band.low, each.band.high))
    curves = clip_lines(_frame(("line", "step", "value"), lines), axis.low, axis.high)
    edges = clip_bands(_frame(("line", "step", "low", "high"), bands), axis.low, axis.high)
    band_of = edges.partition_by("line", as_dict=True)
    pieces: list[dict[str, list[tuple[str, pl.DataFrame]]]] = [
        {"seed": [], "mean": []} for _ in found
    ]
    for piece in curves.partition_by("line", maintain_order=True):
        index, kind, *seed = piece["line"][0].split(" ")[:-1]  # the last word numbers the piece
        pieces[int(index)][kind].append((" ".join([kind, *seed]), piece))
    return [
        Cut(each, band_of[str(index),], pieces[index]["seed"], pieces[index]["mean"])
        for index, each in enumerate(found)
    ]


def _frame(names: tuple[str, ...], parts: Sequence[tuple[np.ndarray, ...]]) -> pl.DataFrame:
    columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    return pl.DataFrame(dict(zip(names, columns, strict=True)))


# -- drawing -----------------------------------------------------------------------------------


def _draw(sweep: Sweep, found: list[Cut], axis: ValueAxis, title: str, *, wide: bool) -> Drawing:
    columns = min(2, len(found)) if wide else 1
    width, high = (350 if columns == 2 else 760, 240) if wide else (304, 190)
    gap, row, left, top = 76, high + 92, 66 if wide else 46, 58
    parts = [text(title, 14.0 if wide else 2.0, 16.0, size=13.0)]
    for index, each in enumerate(found):
        x = left + (index % columns) * (width + gap)
        last = float(max(each.contrast.steps[-1], 1))
        values = (axis.low, axis.high)
        panel = Panel(x, top + (index // columns) * row, width, high, (0, last), values)
        parts.append(_panel(sweep, each, panel))
    size = (WIDE if wide else NARROW, top - 44 + -(-len(found) // columns) * row)
    return Drawing(*size, "".join(parts), f"{title} against training steps, one panel a contrast.")


def _panel(sweep: Sweep, cut: Cut, panel: Panel) -> str:
    each = cut.contrast
    styles = arm_styles(list(sweep.arms))
    arm = styles[each.arms[0]]
    names = contrast_name(tuple(shorten(name, NAME_LENGTH) for name in each.arms))
    heading = text(
        f"{names}, {len(each.seeds)} pairs", panel.left, panel.top - 12, size=12.5, font_weight=600
    )
    x_ticks = 6 if panel.width > 320 else 4
    axes = frame(panel, x_title=step_title(sweep), y_title=None, x_ticks=x_ticks, y_ticks=5)
    marks = element("g", *_marks(cut, panel), class_=f"c{arm.index % 7}", color=arm.color)
    classes = " ".join(["arm", *(f"a{styles[name].index}" for name in each.arms)])
    return element("g", axes, heading, marks, zero_line(panel), class_=classes)


def _marks(cut: Cut, panel: Panel) -> list[str]:
    """Band, seeds and mean."""
    x = [panel.at_x(step) for step in cut.band["step"]]
    edges = [[panel.at_y(value) for value in cut.band[name]] for name in ("low", "high")]
    parts = [element("path", d=area_path(x, *edges), fill="currentColor", fill_opacity=0.16)]
    if len(x) == 1:
        bar = line_path([x[0]] * 2, [edges[0][0], edges[1][0]])
        parts = [element("path", d=bar, stroke="currentColor", stroke_width=8, stroke_opacity=0.25)]
    faint = {"stroke": "currentColor", "stroke_width": 0.6, "stroke_opacity": 0.5, "fill": "none"}
    for seed, line in cut.seeds:
        parts.append(element("path", element("title", words(seed)), d=_path(line, panel), **faint))
    thick = {"stroke": "currentColor", "stroke_width": 2.2, "fill": "none"}
    for _, line in cut.mean:
        parts.append(element("path", d=_path(line, panel), **thick))
        if len(line) == 1:
            at = {"cx": panel.at_x(line["step"][0]), "cy": panel.at_y(line["value"][0])}
            parts.append(element("circle", **at, r=3.6, fill="currentColor"))
    return parts


def _path(line: pl.DataFrame, panel: Panel) -> str:
    x = [panel.at_x(step) for step in line["step"]]
    return line_path(x, [panel.at_y(value) for value in line["value"]])


READING = (
    f"Each line: one seed, arm minus baseline on the same seed. Thick: the mean. Band: "
    f"{CONFIDENCE:.0%} simultaneous max-t band (Gaussian multiplier bootstrap over seeds), which "
    "holds over all the steps drawn at once; where it leaves zero out, the arms differ there."
)
