"""The report's figures, in the order in which they are shown."""

from collections.abc import Mapping
from typing import Any

from xception_jax.report.canvas import ReportFigure
from xception_jax.report.costs import cost_figure
from xception_jax.report.curves import curve_figure
from xception_jax.report.differences import difference_figure
from xception_jax.report.effects import effect_figure
from xception_jax.report.factors import factor_figure, read_factorial
from xception_jax.report.tuning import tuning_figure
from xception_jax.statistics.results import Sweep


def report_figures(sweep: Sweep, verdicts: Mapping[str, Any]) -> tuple[ReportFigure, ...]:
    """All figures that there is something to draw for; the curves are there in any case.

    E is the page's table of seeds.

    Args:
        sweep: what was read.
        verdicts: what `verdicts.json` holds.
    """
    figures = (
        curve_figure(sweep, sweep.metric, letter="A", heading="Validation over training"),
        difference_figure(sweep),
        effect_figure(sweep, verdicts),
        cost_figure(sweep),
        curve_figure(sweep, "loss", letter="F", heading="Validation loss"),
        tuning_figure(sweep),
        factor_figure(sweep, read_factorial(sweep)),
    )
    return tuple(figure for figure in figures if figure)
