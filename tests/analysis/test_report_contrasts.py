"""Figures of contrasts and costs, and the table of seeds: numbers known beforehand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.analysis.synthetic_sweep import STEPS, SweepWriter, saturating
from xception_jax.analysis import cost_figure, difference_figure
from xception_jax.analysis.axes import format_tick, ticks
from xception_jax.analysis.bands import simultaneous_band
from xception_jax.analysis.read import read_directory
from xception_jax.analysis.summary import summarize
from xception_jax.analysis.tables import seed_table

NewSweep = Callable[..., SweepWriter]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 12))
def test_ticks_are_round_evenly_spaced_and_inside(low: float, span: float, about: int) -> None:
    at = ticks(low, low + span, about)
    assert 1 <= len(at) <= 2.6 * about + 1
    assert low - 1e-6 * span <= at[0] <= at[-1] <= low + span + 1e-6 * span
    np.testing.assert_allclose(np.diff(at), (at[-1] - at[0]) / max(len(at) - 1, 1), rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.0, 0.25, 0.5], ["0.00", "0.25", "0.50"]),
        ([-20.0, 0.0, 20.0], ["−20", "0", "20"]),
        ([0.0, 5000.0, 10000.0], ["0", "5k", "10k"]),
        ([1e6, 1.5e6], ["1.0M", "1.5M"]),
        ([1000.0, 2000.0], ["1,000", "2,000"]),
    ],
)
def test_ticks_in_words(values: list[float], words: list[str]) -> None:
    assert format_tick(values) == words


def planted(new_sweep: NewSweep, claims=()) -> SweepWriter:
    """Arms that differ by 0.02, 0.03 and 0.07 from the first, the same in every seed and step."""
    sweep = new_sweep(arms={"a": {}, "b": {}, "c": {}, "d": {}}, claims=claims)
    for seed in sweep.seeds:
        curve = np.array(saturating(0.7, noise=0.01, seed=seed))
        for arm, gain in zip(sweep.arms, (0.0, 0.02, 0.03, 0.07), strict=True):
            top1 = (curve + gain).tolist()
            sweep.add_run(arm, seed, steps=STEPS, top1=top1, test_top1=0.6 + gain + 0.01 * seed)
    return sweep


def test_differences_are_paired_by_seed(new_sweep: NewSweep, monkeypatch) -> None:
    interaction = {"arm": "d", "baseline": "c", "versus": ["b", "a"], "direction": "better"}
    sweep = read_directory(
        planted(new_sweep, claims=[interaction, {"arm": "b", "baseline": "a"}]).directory
    )
    seen = []

    def note(differences):
        seen.append(differences)
        return simultaneous_band(differences)

    monkeypatch.setattr(difference_figure, "simultaneous_band", note)
    figure = difference_figure.draw(sweep)
    assert figure is not None
    assert ">(d − c) − (b − a), 3 pairs<" in figure.wide.body
    assert ">b − a, 3 pairs<" in figure.narrow.body
    for differences, expected in zip(seen, (0.02, 0.02), strict=True):
        assert differences.shape == (3, len(STEPS))
        np.testing.assert_allclose(differences, expected, atol=1e-12)


def test_a_diverged_run_takes_its_pair_out_and_is_counted(new_sweep: NewSweep) -> None:
    sweep = planted(new_sweep)
    sweep.add_run("b", 2, status="diverged", steps=STEPS[:2], top1=[0.1, float("nan")])
    figure = difference_figure.draw(read_directory(sweep.directory))
    assert figure is not None
    assert ">b − a, 2 pairs<" in figure.wide.body
    assert ">c − a, 3 pairs<" in figure.wide.body
    assert any(note.startswith("1 pairs with a diverged run") for note in figure.notes)


def test_no_figure_of_differences_with_one_pair(new_sweep: NewSweep) -> None:
    sweep = new_sweep(arms={"a": {}, "b": {}}, seeds=(0,))
    for arm in sweep.arms:
        sweep.add_run(arm, 0, steps=STEPS, top1=saturating(0.9), test_top1=0.9)
    assert difference_figure.draw(read_directory(sweep.directory)) is None


def test_costs_that_differ_have_a_panel_and_the_others_a_word(new_sweep: NewSweep) -> None:
    sweep = new_sweep(arms={"a": {}, "b": {}}, seeds=(0, 1))
    for size, arm in enumerate(sweep.arms, 1):
        for seed in sweep.seeds:
            costs: dict[str, Any] = {
                "parameters": 1000 * size,
                "macs": 5,
                "images_per_second": 100.0 + seed,
            }
            sweep.add_run(arm, seed, test_top1=0.8 + 0.01 * seed, **costs)
    figure = cost_figure.draw(read_directory(sweep.directory))
    assert figure is not None
    assert ">Parameters<" in figure.wide.body
    assert ">Measured training speed (images/s)<" in figure.wide.body
    assert ">Multiply-adds per image<" not in figure.wide.body
    assert figure.notes == ("Not drawn, because every run has the same: multiply-adds per image.",)


def test_table_of_seeds_has_values_and_differences(new_sweep: NewSweep) -> None:
    written = planted(new_sweep)
    written.add_run("b", 2, status="diverged", steps=STEPS[:2], top1=[0.1, float("nan")])
    sweep = read_directory(written.directory)
    table = seed_table(sweep, summarize(sweep))
    assert table.columns == ("seed", "a", "b", "c", "d", "b − a", "c − a", "d − a")
    first = ("0", "0.6000", "0.6200", "0.6300", "0.6700", "+0.0200", "+0.0300", "+0.0700")
    assert table.rows[0] == first
    assert table.rows[2][2] == "diverged"
    assert table.rows[2][5] == "—"
