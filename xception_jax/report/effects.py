"""A forest plot: every claim and endpoint with its effect, interval and line of no effect."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import blended_transform_factory

from xception_jax.json_values import as_list, as_mapping, as_real, as_text
from xception_jax.report.arm_styles import COLORS, GROUND, INK, QUIET, arm_styles
from xception_jax.report.canvas import (
    WIDE,
    ReportFigure,
    add_axes,
    house_style,
    shorten,
    text_width,
    zero_line,
)
from xception_jax.report.claim_tables import endpoint_name
from xception_jax.statistics.contrasts import contrast_name
from xception_jax.statistics.results import Sweep

READING = (
    "One row per claim and endpoint: the mean paired difference, arm minus baseline, and its "
    "confidence interval. Shaded: the margin within which the claim calls two arms equivalent."
)
# Color, marker and the marker's fill of each verdict; open marks decide nothing.
VERDICTS = {
    "supported": (COLORS[0], "s", COLORS[0]),
    "opposite": (COLORS[1], "D", COLORS[1]),
    "equivalent": (COLORS[2], "o", COLORS[2]),
    "inconclusive": (QUIET, "s", GROUND),
    "not tested": (QUIET, "o", GROUND),
}


def effect_figure(sweep: Sweep, verdicts: Mapping[str, Any]) -> ReportFigure | None:
    """The effects in `verdicts.json`; None where there is none."""
    effects = effect_frame(verdicts)
    if not len(effects):
        return None

    def draw(width: float) -> Figure:
        return draw_effects(effects, arms=list(sweep.arms), width=width)

    title = "Effects and their intervals"
    return ReportFigure("C", "Effects", "forest", title, (READING,), draw)


def effect_frame(verdicts: Mapping[str, Any]) -> pl.DataFrame:
    """One row per claim and endpoint that has an effect.

    Columns: arms (list), endpoint, unit, verdict, effect, low, high, margin; the last three are
    null where there is none.
    """
    rows = [
        row
        for claim in as_list(verdicts.get("claims"))
        for endpoint in as_list(as_mapping(claim).get("endpoints"))
        if (row := _row(as_mapping(claim), as_mapping(endpoint)))["effect"] is not None
    ]
    schema: dict[str, Any] = {"arms": pl.List(pl.String), "endpoint": pl.String, "unit": pl.String}
    schema |= {"verdict": pl.String}
    schema |= dict.fromkeys(("effect", "low", "high", "margin"), pl.Float64)
    return pl.DataFrame(rows, schema=schema)


def _row(claim: Mapping[str, Any], endpoint: Mapping[str, Any]) -> dict[str, Any]:
    declared = as_mapping(claim.get("claim"))
    ends = [as_real(end) for end in as_list(endpoint.get("interval"))]
    low, high = ends if len(ends) == 2 and None not in ends else (None, None)
    verdict = as_text(claim.get("verdict"))
    arms = (declared.get("arm"), declared.get("baseline"), *as_list(declared.get("versus")))
    return {
        "arms": [as_text(arm) for arm in arms],
        "endpoint": endpoint_name(endpoint.get("endpoint")),
        "unit": as_text(endpoint.get("unit")),
        "verdict": verdict if verdict in VERDICTS else "not tested",
        "effect": as_real(endpoint.get("effect")),
        "low": low,
        "high": high,
        "margin": as_real(declared.get("margin")),
    }


# -- drawing -----------------------------------------------------------------------------------


def draw_effects(effects: pl.DataFrame, *, arms: Sequence[str], width: float = WIDE) -> Figure:
    """Draws one panel per unit, since effects in accuracy and in steps share no axis.

    Args:
        effects: as `effect_frame` makes it.
        arms: of the sweep, in its order.
        width: inches; above 5, words stand beside the intervals, else above them.

    Returns:
        A figure with one axes per unit.
    """
    panels = effects.partition_by("unit", maintain_order=True)
    row_height, left, right = 0.42, 0.12, 0.12
    if width > 5:
        row_height, left = 0.32, 1.95
        right = 0.3 + max(text_width(_numbers(effect)) for effect in effects.iter_rows(named=True))
    heights = [row_height * len(panel) + 0.06 for panel in panels]
    with house_style():
        figure = Figure((width, 0.12 + sum(heights) + 0.56 * len(panels)))
        top = 0.12
        for number, (panel, height) in enumerate(zip(panels, heights, strict=True)):
            axes = add_axes(figure, left, top, width - left - right, height)
            _draw_panel(axes, panel, arms, number, wide=width > 5)
            top += height + 0.56
    return figure


def _draw_panel(
    axes: Axes, effects: pl.DataFrame, arms: Sequence[str], number: int, *, wide: bool
) -> None:
    styles = arm_styles(arms)
    unit = effects["unit"][0]
    axes.set_xlim(*_range(effects))
    axes.set_ylim(len(effects), 0)
    axes.grid(visible=False)
    axes.tick_params(labelleft=False)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(6 if wide else 4))
    axes.set_xlabel(f"Difference ({unit})" if unit else "Difference")
    if wide:
        zero_line(axes, vertical=True)
    for index, effect in enumerate(effects.iter_rows(named=True)):
        known = "-".join(styles[arm].gid for arm in effect["arms"] if arm in styles)
        name = f"{number}.{index}-{known}"
        _draw_words(axes, effect, index, name, wide=wide)
        if not wide:  # no line through the words
            axes.vlines(0, index + 0.56, index + 0.92, color=INK, linewidth=0.9, zorder=1.5)
        _draw_interval(axes, effect, index + (0.5 if wide else 0.74), name)
        if effect["margin"]:
            corner, height = (-effect["margin"], index + 0.05), 0.9
            if not wide:
                corner, height = (-effect["margin"], index + 0.52), 0.44
            margin = Rectangle(corner, 2 * effect["margin"], height, color=INK, alpha=0.08)
            margin.set(gid=f"margin-{name}", linewidth=0, zorder=0.5)
            axes.add_patch(margin)


def _range(effects: pl.DataFrame) -> tuple[float, float]:
    """Ends of the axis: all that is drawn, and zero, with some room."""
    margins = effects["margin"].fill_null(0.0)
    shown = pl.concat([effects[name].drop_nulls() for name in ("effect", "low", "high")])
    low = min(0.0, float(shown.min()), -float(margins.max()))  # type: ignore[arg-type]
    high = max(0.0, float(shown.max()), float(margins.max()))  # type: ignore[arg-type]
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def _draw_words(
    axes: Axes, effect: Mapping[str, Any], index: int, name: str, *, wide: bool
) -> None:
    """Arms and endpoint at the left, numbers and verdict at the right."""
    arms = effect["arms"]
    contrast = contrast_name(tuple(shorten(arm, 36 // len(arms)) for arm in arms))
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    common: dict[str, Any] = {"transform": beside, "va": "center"}
    if wide:
        lines = [
            (-0.05, 0.33, contrast, "right", 8.0, INK),
            (-0.05, 0.72, effect["endpoint"], "right", 7.0, QUIET),
            (1.05, 0.33, _numbers(effect), "left", 8.0, INK),
            (1.05, 0.72, effect["verdict"], "left", 7.0, QUIET),
        ]
    else:
        lines = [
            (0.0, 0.15, f"{contrast}: {effect['endpoint']}", "left", 7.0, INK),
            (1.0, 0.42, f"{_numbers(effect)} {effect['verdict']}", "right", 6.5, QUIET),
        ]
    for at, (x, y, words, side, size, color) in enumerate(lines):
        axes.text(
            x, index + y, words, ha=side, fontsize=size, color=color, gid=f"words-{at}-{name}",
            **common,
        )  # fmt: skip


def _draw_interval(axes: Axes, effect: Mapping[str, Any], y: float, name: str) -> None:
    color, marker, fill = VERDICTS[effect["verdict"]]
    if effect["low"] is not None:
        ends = [effect["low"], effect["high"]]
        axes.plot(
            ends, [y, y], color=color, marker="|", markersize=6, markeredgewidth=1.4,
            linewidth=1.4, gid=f"interval-{name}",
        )  # fmt: skip
    axes.plot(
        effect["effect"], y, marker=marker, markersize=5.5, color=color, markerfacecolor=fill,
        markeredgewidth=1.2, markeredgecolor=color, zorder=2.5, gid=f"effect-{name}",
    )  # fmt: skip


def _numbers(effect: Mapping[str, Any]) -> str:
    """`+0.012 [+0.003, +0.021]`, all with the decimals that the largest needs."""
    interval = () if effect["low"] is None else (effect["low"], effect["high"])
    values = [effect["effect"], *interval]
    largest = max(abs(value) for value in values)
    decimals = 4 if largest < 1 else 2 if largest < 10 else 0
    said = [f"{value:+,.{decimals}f}".replace("-", "−") for value in values]
    return said[0] if len(said) == 1 else f"{said[0]} [{said[1]}, {said[2]}]"
