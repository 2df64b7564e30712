"""What every figure shares: the style sheet, its two widths, tick formats and the legend of arms.

Figures are Matplotlib's, made without pyplot, so there is no global state and no window; they lay
themselves out (`layout="constrained"`). Whatever belongs to an arm has a group id (`gid`) that
contains `arm-<index>`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator, StrMethodFormatter

from xception_jax.report.arm_styles import INK, ArmStyle

STYLE = Path(__file__).parent / "style.mplstyle"
WIDE, NARROW = 6.9, 3.4
"""Inches that a figure is wide: two columns of a paper, and one column, or a phone."""
CHARACTER = 0.062
"""Inches that a character takes at most on average (DejaVu Sans, 8 pt)."""
BOLD_CHARACTER = 0.07
"""The same of a character in bold, as in the titles of panels."""
LABEL_LENGTH = 26
"""The most characters of an arm's name in a legend."""
_LEGEND_ROW = 0.17


@dataclass(frozen=True)
class ReportFigure:
    """A figure of the report and its place on the page.

    Attributes:
        letter: names the figure.
        heading: heading of its section.
        name: name of its files, without suffix.
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


def is_wide(width: float) -> bool:
    """Whether a figure of so many inches has room for words and panels beside each other."""
    return width > 5


def value_panels(
    count: int, *, label: str, ends: tuple[float, float], width: float, height: float
) -> tuple[Figure, list[Axes]]:
    """A figure of panels that share a labelled value axis, side by side where there is room.

    Args:
        count: number of panels.
        label: label of the value axis.
        ends: lowest and highest value of the axis.
        width: inches.
        height: inches.
    """
    wide = is_wide(width)
    figure = Figure((width, height))
    rows = 1 if wide else count
    panels = list(figure.subplots(rows, count // rows, sharey=True, squeeze=False).ravel())
    for axes in panels:
        set_value_axis(axes, *ends)
    if wide:
        panels[0].set_ylabel(label)
    else:
        figure.suptitle(label, x=0.02, ha="left")
    return figure, panels


def headed_panels(
    headings: Sequence[str],
    *,
    columns: int,
    ends: tuple[float, float],
    title: str,
    x_label: str,
    size: tuple[float, float],
) -> tuple[Figure, list[Axes]]:
    """A figure of panels over the same values, which share a value axis.

    Args:
        headings: of the panels, in rows.
        columns: number of panels side by side.
        ends: lowest and highest value of the value axes.
        title: what the panels show.
        x_label: label of the horizontal axes, which have numbers and a label in the lowest panels
            only; without its parenthesis where a panel is too narrow for it.
        size: width and height in inches.
    """
    figure = Figure(size)
    figure.suptitle(title, x=0.01, ha="left")
    grid = figure.subplots(-(-len(headings) // columns), columns, sharey=True, squeeze=False)
    panels, unused = list(grid.flat[: len(headings)]), grid.flat[len(headings) :]
    for axes in unused:
        axes.remove()
    fits = 1.2 * CHARACTER * len(x_label) < size[0] / columns
    for index, (heading, axes) in enumerate(zip(headings, panels, strict=True)):
        set_value_axis(axes, *ends)
        is_lowest = index + columns >= len(headings)
        if is_lowest:
            axes.set_xlabel(x_label if fits else x_label.partition(" (")[0])
        axes.tick_params(labelbottom=is_lowest)
        axes.set_title(heading)
    return figure, panels


def set_step_axis(axes: Axes, last: float, ticks: int) -> None:
    """An axis of training steps from zero, with room for the marker at the last one."""
    axes.set_xlim(0, 1.012 * last)
    set_count_ticks(axes, ticks)


def set_count_ticks(axes: Axes, ticks: int) -> None:
    """Whole numbers on the horizontal axis: `1,000`, and `20k` or `1.5M` where they are large."""
    large = max(map(abs, axes.get_xlim())) >= 1e4
    axes.xaxis.set_major_locator(MaxNLocator(ticks, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(
        EngFormatter(sep="") if large else StrMethodFormatter("{x:,.6g}")
    )


def set_value_axis(axes: Axes, low: float, high: float) -> None:
    """The range of the vertical axis, with round ticks."""
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))


def zero_line(axes: Axes, *, vertical: bool = False) -> None:
    """The line of no difference."""
    draw = axes.axvline if vertical else axes.axhline
    draw(0, color=INK, linewidth=0.9, zorder=1.5)


def shorten(name: str, most: int) -> str:
    """A long name, cut in the middle."""
    half = most // 2 - 1
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"


def label_arms(
    figure: Figure,
    labels: Mapping[str, str],
    styles: Mapping[str, ArmStyle],
    *,
    beside: bool,
    of_arms: bool = True,
) -> None:
    """A legend of the arms in the order given, to the right of the axes or below them.

    See `legend_height` for the room that it takes. Without `of_arms` an entry is of lines of
    several arms, and belongs to none.
    """
    handles = [
        Line2D(
            [], [], color=styles[arm].color, linestyle=styles[arm].linestyle,
            marker=styles[arm].marker, label=label,
        )
        for arm, label in labels.items()
    ]  # fmt: skip
    legend = figure.legend(
        handles=handles,
        loc="outside right upper" if beside else "outside lower left",
        ncols=1 if beside else _legend_columns(labels, figure.get_figwidth()),
    )
    if not of_arms:
        return
    for arm, handle, text in zip(labels, legend.legend_handles, legend.get_texts(), strict=True):
        if handle is not None:
            handle.set_gid(f"key-{styles[arm].gid}")
        text.set_gid(f"label-{styles[arm].gid}")


def legend_height(labels: Mapping[str, str], width: float, *, beside: bool) -> float:
    """Inches that a legend of the arms is high in a figure of so many inches: see `label_arms`."""
    columns = 1 if beside else _legend_columns(labels, width)
    return _LEGEND_ROW * ceil(len(labels) / columns)


def _legend_columns(labels: Mapping[str, str], width: float) -> int:
    """The number of columns of a legend below the axes."""
    room = width / (0.6 + CHARACTER * max(map(len, labels.values()), default=0))
    return max(1, min(len(labels), int(room)))
