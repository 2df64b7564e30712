"""The words of figures do not cover each other: many arms with long names, as in a large study."""

import itertools
import json
import runpy
from collections.abc import Callable, Sequence

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from tests.shrunk import ROOT
from tests.synthetic_sweep import STEPS, SweepWriter, edit_sweep, saturating
from tests.synthetic_tuning import add_tuning
from tests.synthetic_verdicts import verdicts_on
from xception_jax.report.arm_styles import COLORS
from xception_jax.report.canvas import NARROW, WIDE, ReportFigure
from xception_jax.report.figures import report_figures
from xception_jax.report.reading import read_directory

STUDY = ROOT / "experiments" / "studies" / "segments.py"


@pytest.fixture
def figures(new_sweep: Callable[..., SweepWriter]) -> Sequence[ReportFigure]:
    """The figures of a tuned sweep with the 21 arms and 12 claims of a study, two seeds each."""
    experiment = runpy.run_path(str(STUDY))["get_experiment"]()
    claims = json.loads(json.dumps([claim.describe() for claim in experiment.claims]))
    arms = {arm: {"model.name": arm} for arm in experiment.arms}
    sweep = new_sweep(arms=arms, seeds=(0, 1), claims=claims)
    rates = [0.4 / 2**halved for halved in range(6)]
    add_tuning(
        sweep, {arm: {(rate,): [0.8, 0.8 + rate * (0.2 - rate)] for rate in rates} for arm in arms}
    )
    for number, (arm, seed) in enumerate(itertools.product(arms, sweep.seeds)):
        final = 0.8 + 0.001 * number
        sweep.add_run(
            arm,
            seed,
            steps=STEPS,
            top1=saturating(final),
            test_top1=final,
            parameters=1000 + number // 2,
            images_per_second=100.0 + number,
        )
    factors = experiment.describe()["factors"]
    edit_sweep(sweep.directory, lambda record: record["experiment"].update(factors=factors))
    return report_figures(read_directory(sweep.directory), verdicts_on())


def overlapping(words: Sequence[Text]) -> list[tuple[str, str]]:
    boxes = {text: text.get_window_extent() for text in words if text.get_text()}
    return [
        (one.get_text(), other.get_text())
        for one, other in itertools.combinations(boxes, 2)
        if boxes[one].overlaps(boxes[other])
    ]


def require_room(figure: Figure) -> None:
    """Panels' titles, and the labels of their horizontal axes, lie beside each other."""
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    titles = [text for text in figure.findobj(Text) if text.get_fontweight() == "bold"]
    assert overlapping(titles) == []
    for axes in figure.axes:
        level = [label for label in axes.get_xticklabels() if not label.get_rotation()]
        assert overlapping(level) == []
        require_room_of_turned(axes)
        assert axes.bbox.height > 0.8 * figure.dpi, "an axes has no room"


def require_room_of_turned(axes: Axes) -> None:
    """Turned labels, which begin as far from each other as their ticks, are no thicker than that.

    Turned by 40 degrees, lines whose ends are 1 apart are sin(40°) = 0.64 apart.
    """
    turned = [label for label in axes.get_xticklabels() if label.get_rotation()]
    ends = sorted(label.get_window_extent().x1 for label in turned)
    for one, other in itertools.pairwise(ends):
        assert 0.6 * (other - one) > float(turned[0].get_fontsize()) * axes.figure.dpi / 72


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_words_of_figures_have_room(figures: Sequence[ReportFigure], width: float) -> None:
    assert [figure.letter for figure in figures] == ["A", "B", "D", "F", "T", "G"]
    for figure in figures:
        require_room(figure.draw(width))


@pytest.mark.parametrize(("letter", "line"), [("A", "mean-arm-{}"), ("T", "mean-0-arm-{}")])
def test_many_arms_have_a_panel_for_each_level(
    figures: Sequence[ReportFigure], letter: str, line: str
) -> None:
    """Every arm is in one panel, and an activation has the same color in all of them."""
    figure = next(figure for figure in figures if figure.letter == letter).draw(WIDE)
    levels = ("per_channel", "8", "4", "2", "1", "pointwise_…er_channel", "pointwise_first-1")
    seeds = "\nn = 2" * (letter == "A")
    assert [axes.get_title("left") for axes in figure.axes] == [at + seeds for at in levels]
    drawn: list[str] = []
    for axes in figure.axes:
        means = {str(line.get_gid()): line for line in axes.lines}
        means = {name: line for name, line in means.items() if name.startswith("mean-")}
        assert [line.get_color() for line in means.values()] == list(COLORS[:3])
        drawn += means
    assert sorted(drawn) == sorted(line.format(number) for number in range(21))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["none", "relu", "elu"]
