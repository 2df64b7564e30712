"""A forest plot: every claim and endpoint with its effect, interval and line of no effect."""

import re
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from xception_jax.json_values import as_real, as_text
from xception_jax.report.arm_styles import COLORS, GROUND, INK, QUIET, arm_styles
from xception_jax.report.canvas import (
    WIDE,
    ReportFigure,
    house_style,
    is_wide,
    shorten,
    zero_line,
)
from xception_jax.report.claim_tables import endpoint_name
from xception_jax.statistics.contrasts import read_contrast
from xception_jax.statistics.json_types import ClaimVerdict, EndpointVerdict, Verdicts
from xception_jax.statistics.results import Sweep
from xception_jax.statistics.sentences import per_unit, significant

READING = (
    "One row per claim and endpoint: the paired difference, arm minus baseline, and the interval "
    "that inverts its test: 95%, or 90% of an effect inside the margin, where each of two "
    "one-sided tests has 5%. A mark without a line has too few seeds for a finite interval. "
    "Shaded: the margin within which the claim calls two arms equivalent. Dashed: the difference "
    "beyond which the interval must lie, for a claim of better or worse by a margin, or of not "
    "worse. The intervals hold for differences that scatter symmetrically; what is rarer than one "
    "in n seeds, such as a divergence, may be missing from all n."
)
READING_BASES = (
    "One panel per claim and endpoint, one row per base: the paired difference on that base, with "
    "the interval that inverts its test and the verdict on the base alone. Below the line: the "
    "mean over the bases, seed by seed, with its interval, and the verdict over all bases. The "
    "mean describes these bases and decides nothing: the verdict over all comes from the p-values "
    "on the bases. There is no mean of steps, since budgets differ. Marks, shading and dashes mean "
    "the same in every panel: a mark without a line has too few seeds for a finite interval; "
    "shaded is the margin of an equivalence; dashed, the difference beyond which the interval must "
    "lie."
)
WORDS, NARROW_WORDS, AXIS_WORDS = 46, 30, 24
"""Characters of a line beside the plot, in the wide and the narrow layout, and below it there."""
_NAME_LENGTH, _ENDPOINT_LENGTH = 80, 90  # longer ones are cut in the middle
_LINE, _GAP = 0.13, 0.08  # inches of a line, and between two rows
# Color, marker and the marker's fill of each verdict; open marks decide nothing.
VERDICTS = {
    "supported": (COLORS[0], "s", COLORS[0]),
    "opposite": (COLORS[1], "D", COLORS[1]),
    "equivalent": (COLORS[2], "o", COLORS[2]),
    "inconclusive": (QUIET, "s", GROUND),
    "open": (QUIET, "s", GROUND),
    "not tested": (QUIET, "o", GROUND),
}


def effect_figure(sweep: Sweep, verdicts: Verdicts) -> ReportFigure | None:
    """The effects in `verdicts.json`; None where there is none."""
    effects = effect_frame(verdicts)
    if not len(effects):
        return None

    def draw(width: float) -> Figure:
        return draw_effects(effects, arms=list(sweep.arms), width=width)

    title = f"Effects and their intervals{', by base' * bool(sweep.bases)}"
    reading = READING_BASES if sweep.bases else READING
    return ReportFigure("C", "Effects", "forest", title, (reading,), draw)


def effect_frame(verdicts: Verdicts) -> pl.DataFrame:
    """One row per claim and endpoint that has an effect, or one per base and one over all bases.

    Columns: panel (of the figure), name (of the contrast or base), arms (list), endpoint (and the
    levels of factors to which the contrast belongs; of a base its pairs), unit, verdict, has_scores
    (it is a slope per unit of declared scores), is_mean (over bases), effect, low, high, margin (of
    an equivalence), edge (what another claim with a margin is tested against); the last four are
    null where there is none.
    """
    rows: list[dict[str, Any]] = []
    for number, claim in enumerate(verdicts["claims"], 1):
        for at, endpoint in enumerate(claim["endpoints"]):
            if "bases" in claim:
                rows += _of_bases(number, claim, at)
            else:
                row = _row(claim, endpoint)
                rows.append(row | {"panel": row["unit"]})
    rows = [row for row in rows if row["effect"] is not None]
    schema: dict[str, Any] = {"panel": pl.String, "name": pl.String, "arms": pl.List(pl.String)}
    schema |= dict.fromkeys(("endpoint", "unit", "verdict"), pl.String)
    schema |= dict.fromkeys(("has_scores", "is_mean"), pl.Boolean)
    schema |= dict.fromkeys(("effect", "low", "high", "margin", "edge"), pl.Float64)
    return pl.DataFrame(rows, schema=schema)


def _of_bases(number: int, claim: ClaimVerdict, at: int) -> list[dict[str, Any]]:
    """An endpoint of a claim on each of its bases, and last over all of them."""
    count, at_least = len(claim["bases"]), claim["at_least"]
    over = f"all {count} bases" if at_least == count else f"at least {at_least} of {count}"
    rows = []
    for judged in claim["bases"]:
        if at < len(judged["endpoints"]):
            row = _row(judged, judged["endpoints"][at]) | {"arms": judged["arms"]}
            seeds = f"{judged['n']['pairs']} seeds"
            rows.append(
                row | {"panel": _panel(number, row), "name": judged["base"], "endpoint": seeds}
            )
    row = _row(claim, claim["endpoints"][at])
    mean = {"name": f"over {over}", "endpoint": "mean of the bases", "is_mean": True}
    return [*rows, row | {"panel": _panel(number, row)} | mean]


def _panel(number: int, row: Mapping[str, Any]) -> str:
    return f"{number}. {row['name']}, {row['endpoint']}"


def _row(claim: ClaimVerdict, endpoint: EndpointVerdict) -> dict[str, Any]:
    declared, edge, contrast = claim["claim"], endpoint["null"], read_contrast(claim["claim"])
    is_equivalence = declared.get("direction") == "equivalent"
    low, high = endpoint["interval"] or (None, None)
    row = {
        "name": as_text(claim["title"]),
        "arms": list(contrast.arms if contrast else ()),
        "endpoint": endpoint_name(endpoint["endpoint"]) + (contrast.where if contrast else ""),
        "unit": (endpoint["unit"] + (per_unit(contrast) if contrast else "")).strip(),
        "verdict": claim["verdict"],
        "has_scores": bool(contrast and contrast.scores),
        "is_mean": False,
        "effect": endpoint["effect"],
        "low": low,
        "high": high,
        "margin": as_real(declared.get("margin")) if is_equivalence else None,
        "edge": edge or None,
    }
    return row | {"name": contrast.abbreviated(shorten, _NAME_LENGTH)} if contrast else row


# -- drawing -----------------------------------------------------------------------------------


def draw_effects(effects: pl.DataFrame, *, arms: Sequence[str], width: float = WIDE) -> Figure:
    """Draws one panel per unit, since effects in accuracy and in steps share no axis.

    Where there are several bases, it is one per claim and endpoint.

    Args:
        effects: as `effect_frame` makes it.
        arms: the arms of the sweep, in its order.
        width: inches; above 5, the numbers stand at the right, else below the names.

    Returns:
        A figure with one axes per panel, each with a twin that has the numbers if there is room.
    """
    wide = is_wide(width)
    labels = [_label(row, wide=wide) for row in effects.iter_rows(named=True)]
    effects = effects.with_columns(pl.Series("label", labels))
    panels = effects.partition_by("panel", maintain_order=True)
    counts = [len(panel) for panel in panels]
    row_height = _GAP + _LINE * max(label.count("\n") + 1 for label in labels)
    with house_style():
        figure = Figure((width, _heads(panels) + row_height * sum(counts)))
        grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=counts).ravel()
        for number, (panel, axes) in enumerate(zip(panels, grid, strict=True)):
            _draw_panel(axes, panel, arms, number, wide=wide)
    return figure


def _heads(panels: Sequence[pl.DataFrame]) -> float:
    """Inches that the panels' axes and titles take beside their rows."""
    titled = sum(panel["panel"][0] != panel["unit"][0] for panel in panels)
    return 0.55 * len(panels) + 0.25 * titled


def _draw_panel(
    axes: Axes, effects: pl.DataFrame, arms: Sequence[str], number: int, *, wide: bool
) -> None:
    styles, unit = arm_styles(arms), effects["unit"][0]
    axes.set_xlim(*_range(effects))
    axes.set_ylim(len(effects) - 0.5, -0.5)
    axes.grid(visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(6 if wide else 3))
    kind = "Slope" if effects["has_scores"][0] else "Difference"
    if kind == "Slope":  # too small for Matplotlib's own ticks, which set a factor beside the label
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xlabel(_fill(f"{kind} ({unit})" if unit else kind, WORDS if wide else AXIS_WORDS))
    if effects["panel"][0] != unit:
        most = 2 * WORDS if wide else NARROW_WORDS
        axes.set_title(_fill(effects["panel"][0], most), loc="left")
    zero_line(axes, vertical=True)
    rows = list(effects.iter_rows(named=True))
    ids = ["-".join(styles[arm].gid for arm in row["arms"] if arm in styles) for row in rows]
    labels = [row["label"] for row in rows]
    if wide:
        _label_rows(axes.yaxis, labels, ids, f"name-{number}")
        numbers = axes.twinx()
        numbers.set_ylim(axes.get_ylim())
        numbers.grid(visible=False)
        _label_rows(numbers.yaxis, list(map(_value, rows)), ids, f"value-{number}")
    else:
        _label_rows(axes.yaxis, labels, ids, f"words-{number}", size=7)
    for y, (row, arms_id) in enumerate(zip(rows, ids, strict=True)):
        _draw_interval(axes, row, y, f"{number}.{y}-{arms_id}")
        if row["is_mean"]:
            axes.axhline(y - 0.5, color=QUIET, linewidth=0.6, gid=f"over-{number}")
        if row["margin"]:
            corner = (-row["margin"], y - 0.45)
            margin = Rectangle(corner, 2 * row["margin"], 0.9, color=INK, alpha=0.08)
            margin.set(gid=f"margin-{number}.{y}-{arms_id}", linewidth=0, zorder=0.5)
            axes.add_patch(margin)
        if row["edge"]:
            axes.plot(
                [row["edge"]] * 2, [y - 0.42, y + 0.42], color=INK, linewidth=0.9,
                linestyle=(0, (3, 2)), gid=f"edge-{number}.{y}-{arms_id}",
            )  # fmt: skip


def _label_rows(
    axis: Axis, labels: Sequence[str], ids: Sequence[str], name: str, size: float = 7.5
) -> None:
    axis.set_ticks(range(len(labels)), labels, fontsize=size)
    axis.set_tick_params(length=0, pad=10)
    for row, (text, arms_id) in enumerate(zip(axis.get_ticklabels(), ids, strict=True)):
        text.set_gid(f"{name}.{row}-{arms_id}")


def _label(effect: Mapping[str, Any], *, wide: bool) -> str:
    """What is compared and by which endpoint, and, where the plot is narrow, the numbers."""
    width = WORDS if wide else NARROW_WORDS
    texts = _unbroken(effect["name"], width), shorten(effect["endpoint"], _ENDPOINT_LENGTH)
    lines = [_fill(text, width) for text in texts]
    return "\n".join(lines if wide else [*lines, _value(effect)])


def _fill(text: str, width: int) -> str:
    """A text in lines of so many characters, broken between words only."""
    return fill(text, width, break_long_words=False, break_on_hyphens=False)


def _unbroken(name: str, width: int) -> str:
    """A contrast that breaks before its signs, and inside a bracket only if that is too wide."""
    tight = re.sub(r"([−×]) ", "\\1\u00a0", name)
    return re.sub(
        r"\([^)]*\)",
        lambda part: part[0].replace(" ", "\u00a0") if len(part[0]) <= width else part[0],
        tight,
    )


def _value(effect: Mapping[str, Any]) -> str:
    return f"{_numbers(effect)}\n{effect['verdict']}"


def _range(effects: pl.DataFrame) -> tuple[float, float]:
    """Ends of the axis: all that is drawn, and zero, with some room."""
    margins = effects["margin"].fill_null(0.0)
    shown = pl.concat([effects[name].drop_nulls() for name in ("effect", "low", "high", "edge")])
    low = min(0.0, float(shown.min()), -float(margins.max()))  # type: ignore[arg-type]
    high = max(0.0, float(shown.max()), float(margins.max()))  # type: ignore[arg-type]
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


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
    """`+0.012 [+0.003, +0.021]`, all with the decimals that the largest needs.

    A slope over declared scores has the digits that its sentence gives it.
    """
    interval = () if effect["low"] is None else (effect["low"], effect["high"])
    values = [effect["effect"], *interval]
    largest = max(abs(value) for value in values)
    decimals = 4 if largest < 1 else 2 if largest < 10 else 0
    effect_text, *ends = [
        significant(value) if effect["has_scores"] else f"{value:+,.{decimals}f}".replace("-", "−")
        for value in values
    ]
    return f"{effect_text} [{', '.join(ends)}]" if ends else effect_text
