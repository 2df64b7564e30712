"""Turns curves into pictures. The only module that knows Altair and vl-convert."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import polars as pl
import vl_convert

from xception_jax.analysis.axes import ValueAxis, clip_bands, clip_lines, spread_labels

# Okabe and Ito's colours, which stay apart for colour-blind eyes, without the yellow, which does
# not show on white. The dashes and the shapes tell arms apart in grey print.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
DASHES = ((1, 0), (7, 3), (2, 2), (9, 3, 2, 3), (5, 2, 1, 2, 1, 2))
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
INK, QUIET = "#1a1a1a", "#767676"
FONT = "Helvetica, Arial, Liberation Sans, sans-serif"
MOST_MARKERS = 25
"""Means of more evaluations than this have a marker at about every twelfth part of them only."""


@dataclass(frozen=True)
class Style:
    """How one arm is drawn; the page's tables show the same."""

    color: str
    dash: tuple[int, ...]
    shape: str


@dataclass(frozen=True)
class Layout:
    """Sizes in pixels."""

    width: int
    height: int
    labels_beside: bool
    label_length: int
    x_ticks: int


WIDE = Layout(width=560, height=340, labels_beside=True, label_length=28, x_ticks=8)
NARROW = Layout(width=285, height=240, labels_beside=False, label_length=36, x_ticks=4)


@dataclass(frozen=True)
class Content:
    """What one figure draws, in whatever layout.

    Attributes:
        title: of the value axis.
        arms: those with a curve, in the order of their labels.
        styles: how each arm is drawn.
        seeds: columns run, arm, step, value.
        means: columns arm, step, n, mean, low, high; low and high are null where no band is.
        ends: columns run, arm, step, value: the last point of every diverged run.
        axis: range of the value axis.
        is_cut: whether that range has to be told to the reader.
        step_title: of the step axis.
    """

    title: str
    arms: tuple[str, ...]
    styles: Mapping[str, Style]
    seeds: pl.DataFrame
    means: pl.DataFrame
    ends: pl.DataFrame
    axis: ValueAxis
    is_cut: bool
    step_title: str


def arm_styles(arms: Sequence[str]) -> dict[str, Style]:
    """Color, dash and marker of every arm; no two of the first 35 arms are drawn alike."""
    return {
        arm: Style(
            COLORS[index % len(COLORS)],
            DASHES[(index + index // len(COLORS)) % len(DASHES)],
            SHAPES[(index + index // len(COLORS)) % len(SHAPES)],
        )
        for index, arm in enumerate(arms)
    }


@dataclass(frozen=True)
class _Channels:
    """The encodings that all layers of a figure share: two axes, and an arm's look."""

    x_axis: dict[str, Any]
    y_axis: dict[str, Any]
    color: alt.Color
    dash: alt.StrokeDash
    shape: alt.Shape

    def x(self, field: str) -> alt.X:
        return alt.X(f"{field}:Q", **self.x_axis)

    def y(self, field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", **self.y_axis)


def _channels(content: Content, layout: Layout) -> _Channels:
    axis, arms = content.axis, list(content.arms)
    looks = [content.styles[arm] for arm in arms]

    def by_arm(values: list[Any]) -> dict[str, Any]:
        return {"scale": alt.Scale(domain=arms, range=values), "legend": None}

    return _Channels(
        x_axis={
            "title": content.step_title,
            "scale": alt.Scale(domain=[0, _last_step(content)], nice=False),
            "axis": alt.Axis(format=",d", tickCount=layout.x_ticks, grid=False, labelFlush=False),
        },
        y_axis={
            "title": _value_title(content, layout),
            "scale": alt.Scale(domain=[axis.low, axis.high], nice=False, zero=False),
            "axis": alt.Axis(tickCount=6),
        },
        color=alt.Color("arm:N", **by_arm([look.color for look in looks])),
        dash=alt.StrokeDash("arm:N", **by_arm([list(look.dash) for look in looks])),
        shape=alt.Shape("arm:N", **by_arm([look.shape for look in looks])),
    )


def draw(content: Content, layout: Layout) -> str:
    """The figure as SVG text."""
    channels = _channels(content, layout)
    faint = min(0.45, max(0.12, 15 / max(content.seeds["run"].n_unique(), 1)))
    layers = [*_curve_layers(channels, faint), *_label_layers(layout, channels)]
    chart = (
        alt.layer(*layers)
        .properties(width=layout.width, height=layout.height, background="white", padding=8)
        .configure(font=FONT)
        .configure_view(stroke=None)
        .configure_axis(
            labelFontSize=12,
            titleFontSize=13,
            titleFontWeight="normal",
            labelColor=INK,
            titleColor=INK,
            titlePadding=10,
            gridColor="#e6e6e6",
            domainColor=QUIET,
            tickColor=QUIET,
        )
    )
    spec = chart.to_dict(validate=False)
    # Put in here because Altair copies what it is given several times a layer.
    spec["datasets"] = {name: frame.to_dicts() for name, frame in _frames(content, layout).items()}
    return vl_convert.vegalite_to_svg(spec)


def _frames(content: Content, layout: Layout) -> dict[str, pl.DataFrame]:
    """What the layers draw, by name, all of it cut to the value axis."""
    low, high = content.axis.low, content.axis.high
    means = content.means.with_columns(line=pl.col("arm"))
    seeds = content.seeds.with_columns(line=pl.col("run").cast(pl.String))
    many, index = pl.len().over("arm"), pl.int_range(pl.len()).over("arm")
    every = pl.when(many <= MOST_MARKERS).then(1).otherwise(many // 12)
    marked = means.filter((many - 1 - index) % every == 0)
    lines = means.select("arm", "line", "step", value="mean")
    bands = means.drop_nulls("low").select("arm", "line", "step", "low", "high")
    lone = means.filter(many == 1).drop_nulls("low")
    return {
        "bands": clip_bands(bands, low, high),
        "seeds": clip_lines(seeds.select("arm", "line", "step", "value"), low, high),
        "means": clip_lines(lines, low, high),
        "markers": marked.filter(pl.col("mean").is_between(low, high)),
        "ends": content.ends.with_columns(pl.col("value").clip(low, high)),
        # An area of one step has no extent, nor has a line of one point.
        "lone_bands": lone.with_columns(pl.col("low", "high").clip(low, high)),
        "lone_seeds": seeds.filter(
            (pl.len().over("run") == 1) & pl.col("value").is_between(low, high)
        ),
        "labels": _place_labels(content, layout),
    }


def rasterize(svg: str) -> bytes:
    """A drawing as PNG, two pixels a unit."""
    return bytes(vl_convert.svg_to_png(svg, scale=2))


def _curve_layers(on: _Channels, seed_opacity: float) -> list[alt.Chart]:
    step, value, line = on.x("step"), on.y("value"), alt.Detail("line:N")
    top = alt.Y2("high:Q")
    return [
        _chart("bands").mark_area(fillOpacity=0.16).encode(step, on.y("low"), top, on.color),
        _chart("lone_bands")
        .mark_rule(strokeOpacity=0.25, strokeWidth=8)
        .encode(step, on.y("low"), top, on.color),
        _chart("seeds")
        .mark_line(strokeWidth=0.8, strokeOpacity=seed_opacity, strokeJoin="round")
        .encode(step, value, on.color, line),
        _chart("lone_seeds").mark_point(size=14, strokeOpacity=0.5).encode(step, value, on.color),
        _chart("means")
        .mark_line(strokeWidth=2.2, strokeJoin="round")
        .encode(step, value, on.color, on.dash, line),
        _chart("markers")
        .mark_point(filled=True, size=42, opacity=1)
        .encode(step, on.y("mean"), on.color, on.shape),
        _chart("ends")
        .mark_text(text="×", fontSize=18, fontWeight="bold")
        .encode(step, value, on.color),
    ]


def _chart(dataset: str) -> alt.Chart:
    return alt.Chart(alt.NamedData(name=dataset))


def _last_step(content: Content) -> int:
    last: Any = content.seeds["step"].max()
    return max(int(last or 0), 1)


def _value_title(content: Content, layout: Layout) -> str | list[str]:
    """Says on the axis itself that it is cut."""
    if not content.is_cut:
        return content.title
    cut = f"axis from {content.axis.low:g} to {content.axis.high:g}"
    return f"{content.title}, {cut}" if layout.labels_beside else [content.title, cut]


# -- labels ------------------------------------------------------------------------------------


def _labels(content: Content, most: int) -> dict[str, str]:
    """`relu, n = 4, 1 diverged` for every arm; long names are cut in the middle."""
    last_n = dict(content.means.group_by("arm", maintain_order=True).agg(pl.col("n").last()).rows())
    diverged = dict(content.ends.group_by("arm").len().rows())
    labels = {}
    for arm in content.arms:
        half = most // 2 - 1
        name = arm if len(arm) <= most else f"{arm[:half]}…{arm[-half:]}"
        suffix = f", {diverged[arm]} diverged" if arm in diverged else ""
        labels[arm] = f"{name}, n = {last_n.get(arm, 0)}{suffix}"
    return labels


def _place_labels(content: Content, layout: Layout) -> pl.DataFrame:
    """Where each label goes, in values of the two axes, beyond their ends.

    Returns:
        Columns arm, label, swatch_start, swatch_middle, swatch_end, text, y, and for the line
        that leads to a label: step, value.
    """
    low, high = content.axis.low, content.axis.high
    labels = _labels(content, layout.label_length)
    # An arm whose every run diverged has no mean: its label points at a run's end.
    points = [content.ends, content.means.rename({"mean": "value"})]
    ends = pl.concat([frame.select("arm", "step", "value") for frame in points])
    last = {arm: (step, value) for arm, step, value in ends.iter_rows()}

    def value_at(pixel: float) -> float:
        return high - pixel / layout.height * (high - low)

    def step_at(pixel: float) -> float:
        return pixel / layout.width * _last_step(content)

    values = [min(max(last[arm][1], low), high) for arm in content.arms]
    if layout.labels_beside:
        wanted = [(high - value) / (high - low) * layout.height for value in values]
        pixels = spread_labels(wanted, gap=18, low=0, high=layout.height)
        left = layout.width + 14
    else:
        pixels = [layout.height + 62 + 19 * index for index in range(len(values))]
        left = 0
    rows = [
        {
            "arm": arm,
            "label": labels[arm],
            "swatch_start": step_at(left),
            "swatch_middle": step_at(left + 14),
            "swatch_end": step_at(left + 28),
            "text": step_at(left + 35),
            "y": value_at(pixel),
            "step": last[arm][0],
            "value": value,
        }
        for arm, value, pixel in zip(content.arms, values, pixels, strict=True)
    ]
    schema = dict.fromkeys(("arm", "label"), pl.String)
    numbers = ("swatch_start", "swatch_middle", "swatch_end", "text", "y", "step", "value")
    return pl.DataFrame(rows, schema=schema | dict.fromkeys(numbers, pl.Float64))


def _label_layers(layout: Layout, on: _Channels) -> list[alt.Chart]:
    chart = _chart("labels")
    swatch = chart.mark_rule(strokeWidth=2.2).encode(
        on.x("swatch_start"), alt.X2("swatch_end:Q"), on.y("y"), on.color, on.dash
    )
    marker = chart.mark_point(filled=True, size=42, opacity=1).encode(
        on.x("swatch_middle"), on.y("y"), on.color, on.shape
    )
    text = chart.mark_text(align="left", baseline="middle", fontSize=12.5, color=INK).encode(
        on.x("text"), on.y("y"), alt.Text("label:N")
    )
    if not layout.labels_beside:
        return [swatch, marker, text]
    leader = chart.mark_rule(strokeWidth=0.7, color="#b5b5b5").encode(
        on.x("step"), alt.X2("swatch_start:Q"), on.y("value"), alt.Y2("y:Q")
    )
    return [leader, swatch, marker, text]
