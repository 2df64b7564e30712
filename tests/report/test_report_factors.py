"""The table and the figure of an experiment's factors, against NumPy."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.lines import Line2D
from scipy import stats

from tests.known_effects import ARMS, FACTORS, build_factorial, finals
from tests.report.figure_checks import artists, points, texts
from tests.synthetic_sweep import NewSweep, SweepWriter, edit_sweep
from xception_jax.report.canvas import NARROW, WIDE
from xception_jax.report.factors import (
    Factorial,
    factor_figure,
    factor_notes,
    factor_table,
    read_factorial,
)
from xception_jax.report.reading import read_directory
from xception_jax.sweep import Interaction

CLAIM = Interaction(tuple(FACTORS), ("pw", "relu"))


@pytest.fixture
def planted(new_sweep: NewSweep, rng: np.random.Generator) -> SweepWriter:
    effects = dict.fromkeys(ARMS, 0.0) | {"dw-relu": -0.02, "pw-relu": 0.04}
    return build_factorial(new_sweep, (CLAIM,), effects, rng)


def test_the_table_has_every_effect_and_interaction(planted: SweepWriter) -> None:
    factorial = read_factorial(read_directory(planted.directory))
    assert factorial is not None
    rows = {row[1]: row for row in factor_table(factorial).rows}
    values = finals(planted)
    effect = np.mean(
        [values[f"pw-{name}"] - values[f"dw-{name}"] for name in ("none", "relu", "elu")]
    )
    assert rows["pw − dw"][0] == "order"
    assert rows["pw − dw"][3] == f"{effect:+.4f}".replace("-", "−")
    product = (values["pw-relu"] - values["dw-relu"]) - (values["pw-none"] - values["dw-none"])
    found = rows["(pw − dw) × (relu − none)"]
    assert (found[0], found[2]) == ("order × intermediate activation", "interaction")
    assert found[3] == f"{product.mean():+.4f}".replace("-", "−")
    assert list(rows) == [
        "pw − dw",
        "relu − none",
        "elu − none",
        "(pw − dw) × (relu − none)",
        "(pw − dw) × (elu − none)",
    ]


def test_a_table_that_is_cut_says_so(rng: np.random.Generator) -> None:
    """Factors of 7 and 10 levels have 6 + 9 effects and 6 x 9 interactions."""
    levels = {
        name: tuple(f"{name[0]}{at}" for at in range(count))
        for name, count in (("model.order", 7), ("model.segments", 10))
    }
    factorial = Factorial(levels, rng.normal(size=(70, 2)), ())
    assert len(factor_table(factorial).rows) == 60
    (note,) = factor_notes(factorial)
    assert "first 60 of 69" in note
    fewer = Factorial(levels | {"model.segments": ("s0", "s1")}, rng.normal(size=(14, 2)), ())
    assert len(factor_table(fewer).rows) == 13
    assert not factor_notes(fewer)


@pytest.mark.usefixtures("undrawn_figures")
def test_the_page_has_the_notes_of_a_cut_table(
    call: Callable, planted: SweepWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xception_jax.report.factors.MOST_ROWS", 3)
    assert call("report", planted.directory)[0] == 0
    page = (planted.directory / "report" / "index.html").read_text()
    assert "The first 3 of 5 effects and interactions are shown" in page


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_figure_shows_means_and_paired_effects(planted: SweepWriter, width: float) -> None:
    sweep = read_directory(planted.directory)
    figure = factor_figure(sweep, read_factorial(sweep))
    assert figure is not None
    drawn = figure.draw(width)
    values = finals(planted)
    means = points(artists(drawn, "means-0-", Line2D)["means-0-1"])[1]
    names = FACTORS["model.intermediate_activation"]
    assert means == pytest.approx([values[f"pw-{name}"].mean() for name in names])
    effects = points(artists(drawn, "effects-0-", Line2D)["effects-0-1"])[1]
    differences = [values[f"pw-{name}"] - values[f"dw-{name}"] for name in names]
    assert effects == pytest.approx([row.mean() for row in differences])
    interval = drawn.findobj(lambda artist: artist.get_gid() == "interval-means-0-1")[0]
    first = np.asarray(interval.get_segments()[0])[:, 1]  # type: ignore[attr-defined]
    t = stats.ttest_1samp(values["pw-none"], 0).confidence_interval()
    assert first == pytest.approx([t.low, t.high])
    shown = texts(drawn)
    for word in ("order", "intermediate activation", "Difference from dw", "relu"):
        assert word in shown


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_names_of_factors_are_printable_in_the_figure(planted: SweepWriter, width: float) -> None:
    def rename(record: dict[str, Any]) -> None:
        factors = record["experiment"]["factors"]
        renamed = {name.replace("or", "o\x00\x1br"): levels for name, levels in factors.items()}
        record["experiment"]["factors"] = renamed

    edit_sweep(planted.directory, rename)
    sweep = read_directory(planted.directory)
    factorial = read_factorial(sweep)
    figure = factor_figure(sweep, factorial)
    assert factorial is not None
    assert figure is not None
    shown = texts(figure.draw(width))
    assert "o\ufffd\ufffdrder" in shown
    shown += [cell for row in factor_table(factorial).rows for cell in row]
    assert all(text.isprintable() for text in shown)


@pytest.mark.usefixtures("undrawn_figures")
def test_the_page_shows_factors_where_there_are_some(call: Callable, planted: SweepWriter) -> None:
    assert call("report", planted.directory)[0] == 0
    page = (planted.directory / "report" / "index.html").read_text()
    assert "(pw − dw) × (relu − none)" in page
    assert 'id="factors"' in page
    assert (planted.directory / "report" / "factors.pdf").exists()


def test_a_sweep_without_factors_or_with_damaged_ones_shows_none(planted: SweepWriter) -> None:
    path = planted.directory / "sweep.json"
    record = json.loads(path.read_text())
    many: Any = {str(n): {"a": {}, "b": {}} for n in range(40)}
    others: Any = ({}, {"model.order": {}}, {"model.order": {"x": {}, "y": {}}})
    for factors in (None, 3, *others, many):
        record["experiment"]["factors"] = factors
        path.write_text(json.dumps(record))
        assert read_factorial(read_directory(planted.directory)) is None
