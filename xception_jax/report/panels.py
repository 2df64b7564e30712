"""A panel for each level of a factor, where a sweep has too many arms to be drawn in one."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xception_jax.report.arm_styles import ArmStyle, arm_styles
from xception_jax.report.canvas import (
    BOLD_CHARACTER,
    LABEL_LENGTH,
    headed_panels,
    is_wide,
    label_arms,
    legend_height,
    shorten,
)
from xception_jax.report.factors import factor_levels
from xception_jax.statistics.results import Sweep

MOST_TOGETHER = 10
"""More arms than this have a panel for each level of a factor, where there are factors."""
PANELS_READING = "Each panel has the arms with one level of the factor that has the most levels."

Panels = Mapping[str, Mapping[str, str]]
"""The headings of panels with the arms of each by the name of their line."""


def panels_by_level(sweep: Sweep) -> dict[str, dict[str, str]]:
    """The panels of a sweep's arms; empty where one panel has room for all.

    A panel is a level of the factor that has the most levels, a line the levels of the others.
    """
    of_arms = sweep.levels_of_arms
    if len(sweep.arms) <= MOST_TOGETHER or len(of_arms) < len(sweep.arms):
        return {}
    levels = factor_levels(of_arms)
    if len(levels) < 2:  # each panel would have one line, without a name
        return {}
    along = max(levels, key=lambda factor: len(levels[factor]))
    panels: dict[str, dict[str, str]] = {level: {} for level in levels[along]}
    for arm, at in of_arms.items():
        line = "-".join(level for factor, level in at.items() if factor != along)
        panels[at[along]][line] = arm
    return panels


def draw_by_level(
    panels: Panels,
    *,
    arms: Sequence[str],
    draw: Callable[[Axes, Mapping[str, ArmStyle]], None],
    below: Callable[[Collection[str]], str] = lambda _: "",
    ends: tuple[float, float],
    title: str,
    x_label: str,
    width: float,
) -> Figure:
    """Draws panels with a legend below them; lines of one name look alike in all of them.

    Args:
        panels: as `panels_by_level` gives them.
        arms: the arms of the sweep, in its order.
        draw: draws a panel's arms, which it is given with their styles.
        below: a second line of a panel's heading, of its arms.
        ends: lowest and highest value of the value axes.
        title: what the panels show.
        x_label: label of the horizontal axes.
        width: inches.

    Returns:
        A figure with one axes per panel.
    """
    columns = min(4 if is_wide(width) else 2, len(panels))
    rows = -(-len(panels) // columns)
    lines = {line: shorten(line, LABEL_LENGTH) for panel in panels.values() for line in panel}
    looks, numbers = arm_styles(list(lines)), {arm: number for number, arm in enumerate(arms)}
    characters = int((width - 0.6) / columns / BOLD_CHARACTER)
    headings = [
        "\n".join(filter(None, (shorten(level, characters), below(panel.values()))))
        for level, panel in panels.items()
    ]
    figure, grid = headed_panels(
        headings,
        columns=columns,
        ends=ends,
        title=title,
        x_label=x_label,
        size=(width, 0.6 + 1.6 * rows + legend_height(lines, width, beside=False)),
    )
    for axes, panel in zip(grid, panels.values(), strict=True):
        draw(axes, {arm: replace(looks[line], index=numbers[arm]) for line, arm in panel.items()})
    label_arms(figure, lines, looks, beside=False, of_arms=False)
    return figure
