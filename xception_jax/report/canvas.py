"""What every figure is drawn on: the style sheet, axes placed in inches, and labels of arms.

Figures are Matplotlib's, made without pyplot, so there is no global state and no window. Whatever
belongs to an arm has a group id (`gid`) that contains `arm-<index>`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from matplotlib.ticker import EngFormatter, MaxNLocator, StrMethodFormatter

from xception_jax.report.arm_styles import INK, QUIET, ArmStyle
from xception_jax.report.axes import spread_labels

STYLE = Path(__file__).parent / "style.mplstyle"
WIDE, NARROW = 6.9, 3.4
"""Inches that a figure is wide: two columns of a paper, and one column, or a phone."""
_POINTS = 72.0  # of an inch
_LINE = 11.0  # points from one label to the next
_KEY = 42.0  # points that the piece of an arm's line before its label takes


@dataclass(frozen=True)
class ReportFigure:
    """A figure of the report and its place on the page.

    Attributes:
        letter: names the figure.
        heading: of its section.
        name: of its files, without suffix.
        title: what it shows.
        caption: sentences: how to read it, and what a reader has to know of it.
        draw: makes the figure, so many inches wide.
    """

    letter: str
    heading: str
    name: str
    title: str
    caption: tuple[str, ...]
    draw: Callable[[float], Figure]


def house_style() -> AbstractContextManager[None]:
    """The project's style over Matplotlib's defaults, whatever the user's own settings are."""
    return style.context(["default", STYLE])


def add_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes of this size, in inches; `left` and `top` are distances from the figure's corner."""
    whole, high = figure.get_size_inches()
    return figure.add_axes((left / whole, 1 - (top + height) / high, width / whole, height / high))


def set_step_axis(axes: Axes, last: float, label: str, ticks: int) -> None:
    """An axis of training steps from zero, with room for the marker at the last one."""
    axes.set_xlim(0, 1.012 * last)
    axes.set_xlabel(label)
    set_count_ticks(axes, ticks)


def set_count_ticks(axes: Axes, ticks: int) -> None:
    """Whole numbers on the horizontal axis: `1,000`, and `20k` or `1.5M` where they are large."""
    large = max(map(abs, axes.get_xlim())) >= 1e4
    axes.xaxis.set_major_locator(MaxNLocator(ticks, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(
        EngFormatter(sep="") if large else StrMethodFormatter("{x:,.0f}")
    )


def set_value_ticks(axes: Axes, ticks: int = 6) -> None:
    """Round values on the vertical axis."""
    axes.yaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))


def zero_line(axes: Axes, *, vertical: bool = False) -> None:
    """The line of no difference."""
    draw = axes.axvline if vertical else axes.axhline
    draw(0, color=INK, linewidth=0.9, zorder=1.5)


def text_width(text: str, size: float = 8.0) -> float:
    """Inches that a line of text takes."""
    font = FontProperties(family="DejaVu Sans", size=size)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / _POINTS


def shorten(name: str, most: int) -> str:
    """A long name, cut in the middle."""
    half = most // 2 - 1
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"


def width_beside(labels: Sequence[str]) -> float:
    """Inches that `label_beside` takes to the right of the axes."""
    return _KEY / _POINTS + max(map(text_width, labels), default=0.0) + 0.05


def height_beside(labels: Sequence[str]) -> float:
    """Inches that the axes have to be high for all the labels of `label_beside`."""
    return _LINE * (len(labels) + 1) / _POINTS


def label_beside(
    axes: Axes,
    labels: Mapping[str, str],
    ends: Mapping[str, float],
    styles: Mapping[str, ArmStyle],
) -> None:
    """Labels to the right of the axes, each where its arm's line ends, moved apart.

    Args:
        axes: whose limits are set.
        labels: of each arm.
        ends: the value at which the line of each arm ends.
        styles: of each arm.
    """
    box = axes.get_window_extent()
    width, height = (_POINTS / axes.figure.dpi * side for side in (box.width, box.height))
    low, high = axes.get_ylim()
    wanted = [height * min(max((ends[arm] - low) / (high - low), 0.0), 1.0) for arm in labels]
    placed = spread_labels(wanted, gap=_LINE, low=3.0, high=height - 3.0)
    common: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}

    def across(*points: float) -> list[float]:
        return [1 + point / width for point in points]

    for (arm, label), start, at in zip(labels.items(), wanted, placed, strict=True):
        look, y = styles[arm], at / height
        axes.add_line(
            Line2D(
                across(1, 11), [start / height, y], color=QUIET, alpha=0.5, linewidth=0.5,
                gid=f"leader-{look.gid}", **common,
            )
        )  # fmt: skip
        key = Line2D(across(13, 25.5, 38), [y] * 3, markevery=[1], gid=f"key-{look.gid}", **common)
        key.set(color=look.color, linestyle=look.linestyle, marker=look.marker)
        axes.add_line(key)
        axes.text(
            across(_KEY)[0],
            y,
            label,
            transform=axes.transAxes,
            va="center",
            gid=f"label-{look.gid}",
        )


def label_below(
    figure: Figure,
    left: float,
    top: float,
    labels: Mapping[str, str],
    styles: Mapping[str, ArmStyle],
) -> None:
    """A legend of the arms that begins `left` and `top` inches from the figure's corner."""
    width, height = figure.get_size_inches()
    handles = [
        Line2D(
            [], [], color=styles[arm].color, linestyle=styles[arm].linestyle,
            marker=styles[arm].marker, label=label,
        )
        for arm, label in labels.items()
    ]  # fmt: skip
    legend = figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(left / width, 1 - top / height),
        ncols=_columns(list(labels.values()), width - left),
    )
    for arm, handle, text in zip(labels, legend.legend_handles, legend.get_texts(), strict=True):
        if handle is not None:
            handle.set_gid(f"key-{styles[arm].gid}")
        text.set_gid(f"label-{styles[arm].gid}")


def height_below(labels: Sequence[str], width: float) -> float:
    """Inches that `label_below` takes, where the labels have `width` inches."""
    return 0.165 * -(-len(labels) // _columns(labels, width)) + 0.05


def _columns(labels: Sequence[str], width: float) -> int:
    one = 0.55 + max(map(text_width, labels), default=0.0)
    return max(1, min(len(labels), int(width / one)))
