"""Variants measured side by side: what the benchmarks draw beside their numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from xception_jax.report.arm_styles import COLORS, INK
from xception_jax.report.canvas import WIDE, house_style

_OTHERS = "#b9c4cc"


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


def draw_comparison(variants: pl.DataFrame) -> Figure:
    """Draws a panel a case and a bar a variant, the subject's in color.

    Bars are medians and begin at zero, thin lines go from quartile to quartile over the rounds, and
    beside each stand the median and its ratio to the reference.

    Args:
        variants: the frame that `comparison_frame` returns.

    Returns:
        A figure with one axes per case, each with a twin that has the numbers.
    """
    cases = variants.partition_by("case", maintain_order=True)
    counts = [len(case) for case in cases]
    with house_style():
        figure = Figure((WIDE, 0.2 * sum(counts) + 0.85 * len(cases)))
        grid = figure.subplots(len(cases), 1, squeeze=False, height_ratios=counts).ravel()
        for case, axes in zip(cases, grid, strict=True):
            _bars(axes, case)
    return figure


def _bars(axes: Axes, case: pl.DataFrame) -> None:
    first, rows = case.row(0, named=True), range(len(case))
    axes.set_title(first["case"])
    axes.set_xlabel(
        f"{first['unit']}, median and quartiles of {max(case['n'])} rounds; in brackets: times as "
        f"fast as {first['reference']}"
    )
    colors = [COLORS[0] if subject else _OTHERS for subject in case["is_subject"]]
    axes.barh(rows, case["median"], height=0.62, color=colors)
    axes.hlines(rows, case["low"], case["high"], color=INK, linewidth=0.8)
    axes.set_yticks(rows, list(case["variant"]))
    axes.set_ylim(len(case) - 0.5, -0.5)
    numbers = axes.twinx()
    numbers.set_ylim(axes.get_ylim())
    numbers.grid(visible=False)
    pairs = zip(case["median"], case["ratio"], strict=True)
    numbers.set_yticks(rows, [f"{_short(median)} ({ratio:.2f})" for median, ratio in pairs])
    axes.set_xlim(0, 1.02 * float(case["high"].max()))  # type: ignore[arg-type]
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="x", length=0)


def _short(number: float) -> str:
    """Formats a number with four digits, or as a whole one: 21.12, 12,150."""
    return f"{number:,.0f}" if number >= 1e3 else f"{number:.4g}"
