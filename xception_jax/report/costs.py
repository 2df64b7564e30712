"""Figure D: what an arm costs, against what it reaches."""

from dataclasses import dataclass

import polars as pl
from scipy.special import stdtrit

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
from xception_jax.report.axes import value_axis
from xception_jax.report.curves import LABEL_LENGTH
from xception_jax.report.export import Drawing, Figure, element
from xception_jax.statistics.descriptive import Mean
from xception_jax.statistics.paired import CONFIDENCE
from xception_jax.statistics.results import Run, Sweep

COSTS = {
    "parameters": "Parameters",
    "macs": "Multiply-adds per image",
    "images_per_second": "Measured training speed (images/s)",
}
TITLES = {"top1": "Test top-1 accuracy", "map100": "Test MAP@100"}
READING = (
    "Small: one run. Large: the mean of an arm’s done runs, with its 95% interval. Speed is what a "
    "run measured while it trained; what else the machine did is not known."
)


@dataclass(frozen=True)
class Arm:
    """Cost and outcome of an arm's runs."""

    name: str
    style: Style
    points: tuple[tuple[float, float], ...]

    @property
    def mean(self) -> tuple[float, float]:
        """Of cost and of outcome."""
        cost, outcome = zip(*self.points, strict=True)
        return sum(cost) / len(cost), sum(outcome) / len(outcome)

    @property
    def half(self) -> float | None:
        """Half of the confidence interval of the mean outcome."""
        found = Mean.of(outcome for _, outcome in self.points)
        if found.deviation is None:
            return None
        return float(stdtrit(found.n - 1, (1 + CONFIDENCE) / 2) * found.deviation / found.n**0.5)


def draw(sweep: Sweep) -> Figure | None:
    """One panel per cost that differs between runs; None where no run has ended."""
    panels = {cost: arms for cost in COSTS if (arms := _arms(sweep, cost)) and _differs(arms)}
    if not panels:
        return None
    title = TITLES[sweep.metric]
    same = [COSTS[cost].lower() for cost in COSTS if _is_same(sweep, cost)]
    notes = [f"Not drawn, because every run has the same: {', '.join(same)}."] if same else []
    return Figure(
        name="cost",
        title=f"{title} against cost",
        notes=tuple(notes),
        wide=_draw(panels, title, wide=True),
        narrow=_draw(panels, title, wide=False),
    )


def _cost(run: Run, cost: str) -> float | None:
    value: float | None = getattr(run, cost)
    return value


def _arms(sweep: Sweep, cost: str) -> list[Arm]:
    styles = arm_styles(list(sweep.arms))
    points: dict[str, list[tuple[float, float]]] = {arm: [] for arm in sweep.arms}
    for run in sweep.runs:
        spent, reached = _cost(run, cost), run.test_metric
        if run.status == "done" and spent is not None and reached is not None:
            points[run.arm].append((float(spent), reached))
    return [Arm(arm, styles[arm], tuple(found)) for arm, found in points.items() if found]


def _differs(arms: list[Arm]) -> bool:
    costs = [cost for arm in arms for cost, _ in arm.points]
    return max(costs) > min(costs)


def _is_same(sweep: Sweep, cost: str) -> bool:
    arms = _arms(sweep, cost)
    return bool(arms) and not _differs(arms)


# -- drawing -----------------------------------------------------------------------------------


def _draw(panels: dict[str, list[Arm]], title: str, *, wide: bool) -> Drawing:
    styles = {arm.name: arm.style for arms in panels.values() for arm in arms}
    labels = {name: shorten(name, LABEL_LENGTH) for name in styles}
    columns = min(len(panels), 3) if wide else 1
    left, gap, top, width, high = (46.0, 0.0, 34.0, 304.0, 190.0)
    if wide:
        beside = label_width(labels.values()) if columns == 1 else 0.0
        left, gap, top, high = 66.0, 60.0, 14.0, 280.0
        width = (WIDE - left - beside - 14 - gap * (columns - 1)) / columns
    parts = [] if wide else [text(title, 2.0, 14.0, size=13.0)]
    for index, (cost, arms) in enumerate(panels.items()):
        column, row = index % columns, index // columns
        place = (left + column * (width + gap), top + row * (high + 66))
        panel = Panel(*place, width, high, *_ranges(arms))
        axes = frame(
            panel,
            x_title=COSTS[cost],
            y_title=title if wide and not column else None,
            x_ticks=7 if width > 500 else 4,
            y_ticks=5,
        )
        parts += [axes, *(_marks(arm, panel) for arm in arms)]
    said = f"{title} against {' and '.join(COSTS[cost].lower() for cost in panels)}."
    if wide and columns == 1:
        ends = {arm.name: panel.at_y(arm.mean[1]) for arm in arms}
        words = labels_beside(panel, labels, ends, styles, leaders=False)
        return Drawing(WIDE, panel.bottom + 48, "".join([*parts, words]), said)
    below = panel.bottom + 64
    room = (left, WIDE - left) if wide else (8.0, NARROW - 10.0)
    words, used = labels_below(room[0], below, room[1], labels, styles)
    return Drawing(WIDE if wide else NARROW, below + used, "".join([*parts, words]), said)


def _ranges(arms: list[Arm]) -> tuple[tuple[float, float], tuple[float, float]]:
    costs = [cost for arm in arms for cost, _ in arm.points]
    room = 0.08 * (max(costs) - min(costs))
    outcomes = [outcome for arm in arms for _, outcome in arm.points]
    points = pl.DataFrame({"step": 1, "value": outcomes, "status": "done"})
    none = pl.DataFrame(schema={"step": pl.Int64, "low": pl.Float64, "high": pl.Float64})
    axis = value_axis(points, none, bounds=(0.0, 1.0), least_span=0.01)
    return (min(costs) - room, max(costs) + room), (axis.low, axis.high)


def _marks(arm: Arm, panel: Panel) -> str:
    faint = min(0.5, max(0.2, 10 / len(arm.points)))
    dots = [
        element("circle", cx=panel.at_x(x), cy=panel.at_y(y), r=2.4, fill_opacity=faint)
        for x, y in arm.points
    ]
    x, y = arm.mean
    parts = [element("g", *dots, fill="currentColor")]
    if arm.half is not None:
        low, high = (min(max(y + side * arm.half, panel.y[0]), panel.y[1]) for side in (-1, 1))
        looks = {"stroke": "currentColor", "stroke_width": 1.6, "class_": "interval"}
        parts.append(rule(panel.at_x(x), panel.at_y(low), panel.at_x(x), panel.at_y(high), **looks))
    mark = marker(arm.style.shape, panel.at_x(x), panel.at_y(y), 5.0)
    return arm_group(arm.style, *parts, mark)
