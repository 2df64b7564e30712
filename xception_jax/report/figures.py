"""The report's figures, in the order in which they are shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xception_jax.report import costs, differences, effects
from xception_jax.report.curves import curve_figure
from xception_jax.report.export import Figure
from xception_jax.statistics.results import Sweep

_CURVES = (
    "Thin lines: one seed each. Thick lines: mean over the n seeds of an arm. Band: 95% confidence "
    "interval of that mean, at each step by itself (Student’s t over seeds), where at least two "
    "seeds have the step."
)


@dataclass(frozen=True)
class Plate:
    """A figure with its place on the page.

    Attributes:
        letter: that names it.
        heading: of its section.
        reading: how to read it.
    """

    letter: str
    heading: str
    reading: str
    figure: Figure


def draw_figures(sweep: Sweep, verdicts: Mapping[str, Any]) -> tuple[Plate, ...]:
    """All figures that there is something to draw for; the curves are there in any case.

    E is the page's table of seeds.

    Args:
        sweep: what was read.
        verdicts: what `verdicts.json` holds.
    """
    wanted = (
        ("A", "Validation over training", _CURVES, curve_figure(sweep, sweep.metric)),
        ("B", "Paired difference", differences.READING, differences.draw(sweep)),
        ("C", "Effects", effects.READING, effects.draw(sweep, verdicts)),
        ("D", "Cost", costs.READING, costs.draw(sweep)),
        ("F", "Validation loss", "Drawn as figure A.", curve_figure(sweep, "loss")),
    )
    return tuple(
        Plate(letter, heading, reading, figure)
        for letter, heading, reading, figure in wanted
        if figure
    )
