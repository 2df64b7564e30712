"""The report's figures, in the order in which they are shown."""

import re
from dataclasses import replace

from xception_jax.report.canvas import ReportFigure
from xception_jax.report.costs import cost_figure
from xception_jax.report.curves import curve_figure
from xception_jax.report.differences import difference_figure
from xception_jax.report.effects import effect_figure
from xception_jax.report.factors import factor_figure, read_factorial
from xception_jax.report.sensitivity import tuning_figure
from xception_jax.statistics.bases import parts_of
from xception_jax.statistics.json_types import Verdicts
from xception_jax.statistics.results import Sweep


def report_figures(sweep: Sweep, verdicts: Verdicts) -> tuple[ReportFigure, ...]:
    """All figures that there is something to draw for; the curves are there in any case.

    E is the page's table of seeds. Where there are several bases, all but the effects are drawn for
    each of them, since data sets have no axis in common.

    Args:
        sweep: what was read.
        verdicts: what `verdicts.json` holds.
    """
    parts = parts_of(sweep)
    kinds = (
        [
            curve_figure(part, part.metric, letter="A", heading="Validation over training")
            for part in parts
        ],
        [difference_figure(part) for part in parts],
        [effect_figure(sweep, verdicts)],
        [cost_figure(part) for part in parts],
        [curve_figure(part, "loss", letter="F", heading="Validation loss") for part in parts],
        [tuning_figure(part) for part in parts],
        [factor_figure(part, read_factorial(part)) for part in parts],
    )
    return tuple(
        _on_base(figure, part, number) if len(figures) > 1 else figure
        for figures in kinds
        for number, (figure, part) in enumerate(zip(figures, parts, strict=False), 1)
        if figure
    )


def _on_base(figure: ReportFigure, part: Sweep, number: int) -> ReportFigure:
    """The figure with a letter, a heading and a name that tell those of several bases apart."""
    name = "" if part.base is None else part.base.name
    of_file = re.sub("[^A-Za-z0-9]+", "-", name)
    return replace(
        figure,
        letter=f"{figure.letter}{number}",
        heading=f"{figure.heading} on {name}",
        name=f"{figure.name}_{number}_{of_file}",
        title=f"{figure.title} on {name}",
    )
