"""Figure A: what every run was validated at, and the mean and band of every arm."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from xception_jax.report.arm_styles import (
    NARROW,
    WIDE,
    Panel,
    Style,
    arm_group,
    arm_styles,
    frame,
    label_width,
    labels_below,
    labels_beside,
    marker,
    rule,
    shorten,
    text,
)
from xception_jax.report.axes import ValueAxis, clip_bands, clip_lines, thin, value_axis
from xception_jax.report.export import Drawing, Figure, area_path, element, line_path, words
from xception_jax.statistics.descriptive import mean_band
from xception_jax.statistics.results import Sweep

MOST_MARKERS = 25
"""Means of more evaluations than this have a marker at about every twelfth part of them only."""
LABEL_LENGTH = 26


@dataclass(frozen=True)
class Metric:
    """A quantity that a figure shows over the steps."""

    column: str
    title: str
    bounds: tuple[float, float]
    least_span: float


METRICS = {
    "top1": Metric("top1", "Validation top-1 accuracy", (0.0, 1.0), 0.02),
    "map100": Metric("map100", "Validation MAP@100", (0.0, 1.0), 0.02),
    "loss": Metric("loss", "Validation loss (cross-entropy, nats)", (0.0, 1e300), 0.02),
}


@dataclass(frozen=True)
class Content:
    """What the figure draws, in whatever layout.

    Attributes:
        title: of the value axis.
        styles: how each arm with a curve is drawn, in the order of their labels.
        seeds: columns run, arm, seed, step, value.
        means: columns arm, step, n, mean, low, high; low and high are null where no band is.
        ends: columns run, arm, step, value: the last point of every diverged run.
        axis: range of the value axis.
        bands, lines, thin_lines: what of means and seeds is inside the axis, cut at its edges.
        is_cut: whether that range has to be told to the reader.
        step_title: of the step axis.
    """

    title: str
    styles: Mapping[str, Style]
    seeds: pl.DataFrame
    means: pl.DataFrame
    ends: pl.DataFrame
    axis: ValueAxis
    bands: pl.DataFrame
    lines: pl.DataFrame
    thin_lines: pl.DataFrame
    is_cut: bool
    step_title: str

    @property
    def last_step(self) -> float:
        """Where the step axis ends."""
        return max(float(self.seeds["step"].max() or 0), 1.0)  # type: ignore[arg-type]


def curve_figure(sweep: Sweep, column: str) -> Figure:
    """Validation curves of all runs that have any; `column` is a key of `METRICS`."""
    metric = METRICS[column]
    seeds = seed_curves(sweep, metric.column)
    has_diverged = pl.col("status") == "diverged"
    bands = mean_band(seeds.filter(~has_diverged), "value")
    ends = seeds.filter(has_diverged).sort("step").group_by("run").last().sort("run")
    axis = value_axis(seeds, bands, bounds=metric.bounds, least_span=metric.least_span)
    present = set(seeds["arm"].unique())
    drawn, was_thinned = thin(seeds, len(sweep.runs))
    means = thin(bands, len(present))[0].with_columns(line=pl.col("arm"))
    edges = means.drop_nulls("low").select("arm", "line", "step", "low", "high")
    centers = means.select("arm", "line", "step", value="mean")
    each = drawn.select("arm", "seed", "step", "value", line=pl.col("run").cast(pl.String))
    content = Content(
        title=metric.title,
        styles={arm: look for arm, look in arm_styles(list(sweep.arms)).items() if arm in present},
        seeds=drawn.select("run", "arm", "seed", "step", "value"),
        means=means,
        ends=ends.select("run", "arm", "step", "value"),
        axis=axis,
        bands=clip_bands(edges, axis.low, axis.high),
        lines=clip_lines(centers, axis.low, axis.high),
        thin_lines=clip_lines(each, axis.low, axis.high),
        is_cut=axis.low > metric.bounds[0] or axis.hidden > 0,
        step_title=step_title(sweep),
    )
    notes = _axis_notes(metric, axis) + _curve_notes(bands, ends, was_thinned)
    return Figure(
        name=f"validation_{column}",
        title=metric.title,
        notes=tuple(notes) if len(seeds) else ("No run has been validated yet.",),
        wide=_draw_wide(content),
        narrow=_draw_narrow(content),
    )


def seed_curves(sweep: Sweep, column: str) -> pl.DataFrame:
    """Every validation point with a finite value: columns run, arm, seed, step, value, status."""
    schema = {"run": pl.Int64, "status": pl.String}
    statuses = pl.DataFrame(
        [(index, run.status) for index, run in enumerate(sweep.runs)], schema=schema, orient="row"
    )
    valid = sweep.curves.filter(pl.col("split") == "valid").drop_nulls(column)
    points = valid.select("run", "arm", "seed", "step", pl.col(column).alias("value"))
    return points.join(statuses, on="run").sort("run", "step")


def step_title(sweep: Sweep) -> str:
    """Of a step axis; says how many epochs the steps are, where that is one number."""
    budgets = {(run.steps, run.epochs) for run in sweep.runs if run.steps and run.epochs}
    if len(budgets) != 1:
        return "Training steps"
    steps, epochs = budgets.pop()
    return f"Training steps ({steps:,} steps = {epochs:g} epochs)"


def _axis_notes(metric: Metric, axis: ValueAxis) -> list[str]:
    if axis.hidden:
        return [
            f"The value axis runs from {axis.low:g} to {axis.high:g}: "
            f"{axis.hidden:,} evaluations outside of it are not drawn."
        ]
    if axis.low > metric.bounds[0]:
        return [f"The value axis starts at {axis.low:g}, not at {metric.bounds[0]:g}."]
    return []


def _curve_notes(bands: pl.DataFrame, ends: pl.DataFrame, was_thinned: bool) -> list[str]:
    notes = []
    if not len(bands.drop_nulls("low")):
        notes.append("No band is drawn, because no step has two seeds.")
    counts = bands.group_by("arm").agg(most=pl.col("n").max(), last=pl.col("n").last())
    if len(counts.filter(pl.col("last") < pl.col("most"))):
        notes.append(
            "Where a run has stopped or has not got that far, the mean is of the others: "
            "n, given beside each arm for its last step, is larger before."
        )
    if len(ends):
        notes.append(
            "Mean and band leave out the runs that diverged; a cross marks the last finite value "
            "of such a run, at the edge where it is outside the axis."
        )
    if was_thinned:
        notes.append("Drawn at evenly spaced evaluations; curves.csv has every one.")
    return notes


# -- drawing -----------------------------------------------------------------------------------


def _draw_wide(content: Content) -> Drawing:
    labels = _labels(content)
    panel = _panel(content, left=66, width=WIDE - 66 - label_width(labels.values()), height=360)
    title = content.title
    if content.is_cut:
        title += f", axis from {content.axis.low:g} to {content.axis.high:g}"
    last = _last_values(content)
    ends = {arm: panel.at_y(last[arm]) for arm in content.styles}
    beside = labels_beside(panel, labels, ends, content.styles)
    axes = frame(panel, x_title=content.step_title, y_title=title)
    body = axes + _curves(content, panel) + beside
    return Drawing(WIDE, panel.bottom + 48, body, _describe(content))


def _draw_narrow(content: Content) -> Drawing:
    panel = _panel(content, left=44, width=306, height=230, top=34)
    head = [text(content.title, 2, 14, size=13.0)]
    if content.is_cut:
        cut = f"axis from {content.axis.low:g} to {content.axis.high:g}"
        head.append(text(cut, 358, 28, size=11.0, anchor="end", fill="#6b6b6b", class_="quiet"))
    axes = frame(panel, x_title=content.step_title, y_title=None, x_ticks=4, y_ticks=5)
    labels, high = labels_below(8, panel.bottom + 62, 350, _labels(content), content.styles)
    body = "".join(head) + axes + _curves(content, panel) + labels
    return Drawing(NARROW, panel.bottom + 62 + high, body, _describe(content))


def _panel(content: Content, *, left: float, width: float, height: float, top: int = 14) -> Panel:
    values = (content.axis.low, content.axis.high)
    return Panel(left, top, width, height, (0.0, content.last_step), values)


def _describe(content: Content) -> str:
    return f"{content.title} against training steps; the table of results has the numbers."


def _curves(content: Content, panel: Panel) -> str:
    """Bands below seeds below means, all of it cut to the value axis."""
    many = max(content.seeds["run"].n_unique(), 1)
    faint = {"stroke_opacity": min(0.5, max(0.14, 15 / many)), "fill": "none"}
    faint["stroke_width"] = 0.8 if many <= 60 else 0.5
    by_arm = [
        {key[0]: rows for key, rows in frame.partition_by("arm", as_dict=True).items()}
        for frame in (content.bands, content.thin_lines, content.lines, content.means, content.ends)
    ]
    empty = [frame.clear() for frame in (content.bands, content.thin_lines, content.lines)]
    layers: list[list[str]] = [[], [], []]
    for arm, style in content.styles.items():
        band, seeds, line = (of.get(arm, none) for of, none in zip(by_arm, empty, strict=False))
        parts = _mean_paths(line, style, panel)
        parts += _markers(content, by_arm[3].get(arm, content.means.clear()), style, panel)
        parts += _crosses(by_arm[4].get(arm, content.ends.clear()), panel)
        layers[0].append(arm_group(style, *_bands(band, panel)))
        layers[1].append(arm_group(style, *_seed_paths(seeds, panel), **faint))
        layers[2].append(arm_group(style, *parts))
    return "".join(part for layer in layers for part in layer)


def _bands(bands: pl.DataFrame, panel: Panel) -> list[str]:
    if not len(bands):
        return []
    x = [panel.at_x(step) for step in bands["step"]]
    low, high = ([panel.at_y(value) for value in bands[name]] for name in ("low", "high"))
    if len(x) == 1:  # an area of one step has no extent
        wide = {"stroke": "currentColor", "stroke_width": 8, "stroke_opacity": 0.25}
        return [rule(x[0], low[0], x[0], high[0], class_="band", **wide)]
    return [element("path", d=area_path(x, low, high), fill="currentColor", fill_opacity=0.15)]


def _seed_paths(lines: pl.DataFrame, panel: Panel) -> list[str]:
    parts = []
    for part in lines.partition_by("line", maintain_order=True):
        x = [panel.at_x(step) for step in part["step"]]
        y = [panel.at_y(value) for value in part["value"]]
        title = element("title", words(f"{part['arm'][0]}, seed {part['seed'][0]}"))
        if len(x) == 1:
            looks = {"r": 2.0, "stroke": "currentColor"}
            parts.append(element("circle", title, cx=x[0], cy=y[0], **looks))
        else:
            parts.append(element("path", title, d=line_path(x, y), stroke="currentColor"))
    return parts


def _mean_paths(lines: pl.DataFrame, style: Style, panel: Panel) -> list[str]:
    looks = {"fill": "none", "stroke": "currentColor", "stroke_width": 2.2}
    looks |= {"stroke_linejoin": "round", "stroke_dasharray": style.dasharray}
    parts = []
    for part in lines.partition_by("line", maintain_order=True):
        x = [panel.at_x(step) for step in part["step"]]
        y = [panel.at_y(value) for value in part["value"]]
        parts.append(element("path", d=line_path(x, y), **looks))
    return parts


def _markers(content: Content, means: pl.DataFrame, style: Style, panel: Panel) -> list[str]:
    """A mark at every mean, or at about a dozen of them, counted from the last."""
    many = len(means)
    every = 1 if many <= MOST_MARKERS else many // 12
    marked = means.with_row_index().filter((many - 1 - pl.col("index")) % every == 0)
    inside = marked.filter(pl.col("mean").is_between(content.axis.low, content.axis.high))
    return [
        marker(style.shape, panel.at_x(step), panel.at_y(mean))
        for step, mean in inside.select("step", "mean").iter_rows()
    ]


def _crosses(ends: pl.DataFrame, panel: Panel) -> list[str]:
    looks = {"anchor": "middle", "font_weight": "bold", "fill": "currentColor", "class_": "cross"}
    low, high = panel.y
    return [
        text("×", panel.at_x(step), panel.at_y(min(max(value, low), high)) + 6, size=18, **looks)
        for step, value in ends.select("step", "value").iter_rows()
    ]


def _labels(content: Content) -> dict[str, str]:
    """`relu, n = 4, 1 diverged` for every arm; long names are cut in the middle."""
    last_n = dict(content.means.group_by("arm", maintain_order=True).agg(pl.col("n").last()).rows())
    diverged = dict(content.ends.group_by("arm").len().rows())
    return {
        arm: f"{shorten(arm, LABEL_LENGTH)}, n = {last_n.get(arm, 0)}"
        + (f", {diverged[arm]} diverged" if arm in diverged else "")
        for arm in content.styles
    }


def _last_values(content: Content) -> dict[str, float]:
    """Where each arm's line ends; an arm whose every run diverged has no mean, but runs' ends."""
    points = [content.ends, content.means.rename({"mean": "value"})]
    ends = pl.concat([part.select("arm", "value") for part in points])
    return dict(ends.iter_rows())
