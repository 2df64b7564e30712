"""Pictures of variants measured side by side: what the benchmarks leave beside their numbers."""

from collections.abc import Sequence
from typing import Any

from xception_jax.report.arm_styles import COLORS, GRID, INK, QUIET, Panel, rule, text
from xception_jax.report.axes import format_tick, ticks
from xception_jax.report.export import Drawing, element

_WIDTH, _LEFT, _BARS, _ROW = 760, 250, 330, 22
_OTHERS = "#b9c4cc"


def compare(cases: Sequence[dict[str, Any]], label: str) -> Drawing:
    """A panel a case, a bar a variant, the subject's in color.

    Bars are medians and begin at zero, thin lines go from quartile to quartile over the rounds, and
    beside each stand the median and its ratio to the reference.

    Args:
        cases: each with `name`, `unit`, `reference`, `subject` and `variants`, of which each has
            `name`, `value` and `ratio`, with `median`, `low`, `high` and `n`. Those without a
            variant are left out.
        label: what the whole shows.
    """
    parts, top = [], 8.0
    for case in cases:
        if case["variants"]:
            height = _ROW * len(case["variants"])
            highest = max(variant["value"]["high"] for variant in case["variants"])
            panel = Panel(_LEFT, top + 46, _BARS, height, (0.0, highest * 1.02), (0.0, 1.0))
            parts += _heading(case, top) + _axis(panel)
            for row, variant in enumerate(case["variants"]):
                parts += _bar(panel, row, variant, variant["name"] == case["subject"])
            top = panel.bottom + 44
    return Drawing(_WIDTH, top, "".join(parts), label)


def _heading(case: dict[str, Any], top: float) -> list[str]:
    rounds = max(variant["value"]["n"] for variant in case["variants"])
    said = (
        f"{case['unit']}, median and quartiles of {rounds} rounds; in brackets: times as fast as "
        f"{case['reference']}"
    )
    return [
        text(case["name"], 8.0, top + 14, size=14.0, font_weight="bold"),
        text(said, 8.0, top + 32, fill=QUIET),
    ]


def _axis(panel: Panel) -> list[str]:
    at = ticks(*panel.x, 5)
    parts = []
    for value, said in zip(at, format_tick(at), strict=True):
        x = panel.at_x(value)
        parts.append(rule(x, panel.top, x, panel.bottom, stroke=GRID, class_="grid"))
        parts.append(text(said, x, panel.bottom + 16, anchor="middle"))
    return [*parts, rule(panel.left, panel.top, panel.left, panel.bottom)]


def _bar(panel: Panel, row: int, variant: dict[str, Any], is_subject: bool) -> list[str]:
    value, middle = variant["value"], panel.top + (row + 0.5) * _ROW
    end = panel.at_x(value["median"])
    said = f"{value['median']:.4g} ({variant['ratio']['median']:.2f})"
    return [
        text(variant["name"], panel.left - 7, middle + 4, anchor="end"),
        element(
            "rect",
            x=panel.left,
            y=middle - 0.31 * _ROW,
            width=end - panel.left,
            height=0.62 * _ROW,
            fill=COLORS[0] if is_subject else _OTHERS,
        ),
        rule(panel.at_x(value["low"]), middle, panel.at_x(value["high"]), middle, stroke=INK),
        text(said, panel.right + 10, middle + 4),
    ]
