"""Figure C: every claim and endpoint with its effect, its interval and the line of no effect."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xception_jax.json_values import as_list, as_mapping, as_real, as_text
from xception_jax.report.arm_styles import (
    NARROW,
    QUIET,
    WIDE,
    Panel,
    Style,
    arm_styles,
    frame,
    marker,
    rule,
    shorten,
    text,
    zero_line,
)
from xception_jax.report.export import Drawing, Figure, element
from xception_jax.report.tables import endpoint_name
from xception_jax.statistics.contrasts import contrast_name
from xception_jax.statistics.results import Sweep

READING = (
    "One row per claim and endpoint: the mean paired difference, arm minus baseline, and its "
    "confidence interval. Shaded: the margin within which the claim calls two arms equivalent."
)
VERDICTS = ("supported", "opposite", "equivalent", "inconclusive", "not tested")


@dataclass(frozen=True)
class Row:
    """One claim and endpoint."""

    arms: tuple[str, ...]
    name: str
    endpoint: str
    unit: str
    verdict: str
    effect: float
    interval: tuple[float, float] | None
    margin: float | None


def draw(sweep: Sweep, verdicts: Mapping[str, Any]) -> Figure | None:
    """One panel per unit, since effects in accuracy and in steps share no axis; None: no effect."""
    rows = [
        row
        for claim in as_list(verdicts.get("claims"))
        for endpoint in as_list(as_mapping(claim).get("endpoints"))
        if (row := _row(as_mapping(claim), as_mapping(endpoint)))
    ]
    if not rows:
        return None
    return Figure(
        name="forest",
        title="Effects and their intervals",
        notes=(),
        wide=_draw(sweep, rows, wide=True),
        narrow=_draw(sweep, rows, wide=False),
    )


def _row(claim: Mapping[str, Any], endpoint: Mapping[str, Any]) -> Row | None:
    effect = as_real(endpoint.get("effect"))
    if effect is None:
        return None
    declared = as_mapping(claim.get("claim"))
    ends = [as_real(end) for end in as_list(endpoint.get("interval"))]
    known = [end for end in ends if end is not None]
    versus = as_list(declared.get("versus"))
    arms = tuple(as_text(arm) for arm in (declared.get("arm"), declared.get("baseline"), *versus))
    verdict = as_text(claim.get("verdict"))
    return Row(
        arms=arms,
        name=contrast_name(tuple(shorten(arm, 36 // len(arms)) for arm in arms)),
        endpoint=endpoint_name(endpoint.get("endpoint")),
        unit=as_text(endpoint.get("unit")),
        verdict=verdict if verdict in VERDICTS else "not tested",
        effect=effect,
        interval=(known[0], known[1]) if len(known) == 2 else None,
        margin=as_real(declared.get("margin")),
    )


def _draw(sweep: Sweep, rows: list[Row], *, wide: bool) -> Drawing:
    left, width, high = (250, 400, 30) if wide else (16, 326, 46)
    top, parts, styles = 26.0, [], arm_styles(list(sweep.arms))
    for unit in dict.fromkeys(row.unit for row in rows):
        of_unit = [row for row in rows if row.unit == unit]
        panel = Panel(left, top, width, high * len(of_unit) + 10, _range(of_unit), (0, 1))
        title = f"Difference ({unit})" if unit else "Difference"
        axes = frame(panel, x_title=title, y_title=None, y_ticks=0)
        first = panel.top + 5 + high * (0.5 if wide else 0.72)
        middle = [first + high * at for at in range(len(of_unit))]
        lines = [_line(styles, row, panel, y) for row, y in zip(of_unit, middle, strict=True)]
        shades = [_margin(row, panel, high, at) for at, row in enumerate(of_unit)]
        parts += [*shades, axes, zero_line(panel, vertical=True), *lines]
        top = panel.bottom + 72
    label = "Effect and confidence interval of every claim and endpoint."
    return Drawing(WIDE if wide else NARROW, top - 18, "".join(parts), label)


def _range(rows: list[Row]) -> tuple[float, float]:
    """Of the axis: all that is drawn, and zero, with some room."""
    shown = [0.0, *(row.effect for row in rows)]
    shown += [end for row in rows for end in row.interval or ()]
    shown += [side * row.margin for row in rows if row.margin for side in (-1, 1)]
    low, high = min(shown), max(shown)
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def _line(styles: Mapping[str, Style], row: Row, panel: Panel, y: float) -> str:
    known = [styles[arm] for arm in row.arms if arm in styles]
    numbers = _numbers(row)
    if panel.left > 100:  # there is room for words beside it
        words = [
            text(row.name, panel.left - 16, y - 2, size=12.5, anchor="end"),
            text(row.endpoint, panel.left - 16, y + 11, size=10.5, anchor="end", **_QUIETLY),
            text(numbers, panel.right + 18, y + 4, size=12.0),
        ]
    else:
        words = [
            text(f"{row.name}: {row.endpoint}", panel.left - 14, y - 17, size=11.5),
            text(numbers, panel.right + 16, y - 17, size=11.0, anchor="end", **_QUIETLY),
        ]
    classes = " ".join(["arm", *(f"a{style.index}" for style in known)])
    return element("g", *words, *_interval(row, panel, y), class_=classes)


_QUIETLY = {"fill": QUIET, "class_": "quiet"}


def _interval(row: Row, panel: Panel, y: float) -> list[str]:
    mark = marker("square", panel.at_x(row.effect), y, 4.6)
    parts = [mark]
    if row.interval:
        low, high = map(panel.at_x, row.interval)
        looks = {"stroke": "currentColor", "stroke_width": 2.0, "class_": "interval"}
        ends = [rule(x, y - 4, x, y + 4, **looks) for x in (low, high)]
        parts = [rule(low, y, high, y, **looks), *ends, mark]
    color = {"supported": "#0072B2", "opposite": "#D55E00", "equivalent": "#009E73"}
    shade = color.get(row.verdict, QUIET)
    return [element("g", *parts, class_=f"v-{row.verdict.replace(' ', '-')}", color=shade)]


def _margin(row: Row, panel: Panel, high: int, at: int) -> str:
    if not row.margin:
        return ""
    left, right = panel.at_x(-row.margin), panel.at_x(row.margin)
    return element(
        "rect", x=left, y=panel.top + 5 + high * at, width=right - left, height=float(high),
        fill="#000000", opacity=0.07, class_="margin",
    )  # fmt: skip


def _numbers(row: Row) -> str:
    """`+0.012 [+0.003, +0.021]`, all with the decimals that the largest needs."""
    values = [row.effect, *(row.interval or ())]
    largest = max(abs(value) for value in values)
    decimals = 4 if largest < 1 else 2 if largest < 10 else 0
    said = [f"{value:+,.{decimals}f}".replace("-", "−") for value in values]
    return said[0] if len(said) == 1 else f"{said[0]} [{said[1]}, {said[2]}]"
