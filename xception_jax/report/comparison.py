"""Variants measured side by side: what the benchmarks draw beside their numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from xception_jax.report.arm_styles import COLORS, INK, QUIET
from xception_jax.report.canvas import WIDE, add_axes, house_style

_OTHERS = "#b9c4cc"
_ROW = 0.2  # inches


def comparison_frame(cases: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """One row per case and variant.

    Args:
        cases: each with `name`, `unit`, `reference`, `subject` and `variants`, of which each has
            `name`, `value` and `ratio`, with `median`, `low`, `high` and `n`.

    Returns:
        Columns case, unit, reference, variant, is_subject, median, low, high, n, ratio.
    """
    rows = [
        {
            **{"case": case["name"], "unit": case["unit"], "reference": case["reference"]},
            **{"variant": variant["name"], "is_subject": variant["name"] == case["subject"]},
            **{name: variant["value"][name] for name in ("median", "low", "high", "n")},
            "ratio": variant["ratio"]["median"],
        }
        for case in cases
        for variant in case["variants"]
    ]
    return pl.DataFrame(rows)


def draw_comparison(variants: pl.DataFrame, *, width: float = WIDE) -> Figure:
    """Draws a panel a case and a bar a variant, the subject's in color.

    Bars are medians and begin at zero, thin lines go from quartile to quartile over the rounds, and
    beside each stand the median and its ratio to the reference.

    Args:
        variants: as `comparison_frame` makes it.
        width: inches.

    Returns:
        A figure with one axes per case.
    """
    cases = variants.partition_by("case", maintain_order=True)
    left, right, head, foot = 2.35, 1.2, 0.5, 0.35
    heights = [_ROW * len(case) for case in cases]
    with house_style():
        figure = Figure((width, sum(heights) + (head + foot) * len(cases)))
        top = 0.0
        for case, height in zip(cases, heights, strict=True):
            axes = add_axes(figure, left, top + head, width - left - right, height)
            _heading(figure, case, top)
            _bars(axes, case)
            top += head + height + foot
    return figure


def _heading(figure: Figure, case: pl.DataFrame, top: float) -> None:
    width, height = figure.get_size_inches()
    first = case.row(0, named=True)
    how = (
        f"{first['unit']}, median and quartiles of {max(case['n'])} rounds; in brackets: times as "
        f"fast as {first['reference']}"
    )
    lines: tuple[tuple[float, str, dict[str, Any]], ...] = (
        (0.14, first["case"], {"fontsize": 9, "fontweight": "bold"}),
        (0.32, how, {"fontsize": 7.5, "color": QUIET}),
    )
    for down, words, look in lines:
        figure.text(0.07 / width, 1 - (top + down) / height, words, va="center", **look)


def _bars(axes: Axes, case: pl.DataFrame) -> None:
    rows = range(len(case))
    colors = [COLORS[0] if subject else _OTHERS for subject in case["is_subject"]]
    axes.barh(rows, case["median"], height=0.62, color=colors)
    axes.hlines(rows, case["low"], case["high"], color=INK, linewidth=0.8)
    axes.set_ylim(len(case) - 0.5, -0.5)
    axes.set_yticks(rows, list(case["variant"]))
    axes.set_xlim(0, 1.02 * float(case["high"].max()))  # type: ignore[arg-type]
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.spines["bottom"].set_visible(False)
    axes.spines["left"].set_visible(True)
    axes.tick_params(axis="x", length=0)
    for row, median, ratio in zip(rows, case["median"], case["ratio"], strict=True):
        axes.annotate(
            f"{median:.4g} ({ratio:.2f})", (1, row), xycoords=("axes fraction", "data"),
            xytext=(6, 0), textcoords="offset points", va="center", fontsize=7.5,
        )  # fmt: skip
