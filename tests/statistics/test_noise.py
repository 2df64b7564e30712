"""Noise of seeds and of examples, against least squares, simulated truth, and through a report."""

from functools import partial

import numpy as np
import pytest

from tests.synthetic_sweep import DATA, STEPS, NewSweep, SweepWriter, edit_run, saturating
from xception_jax.report import write_report
from xception_jax.statistics.noise import separate


def drawn(generator: np.random.Generator, seeds: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """Whether runs are right, by chance, with the sum of a seed's and an example's effect."""
    chance = 0.5 + seeds[:, None] + examples
    return (generator.random(chance.shape) < chance).astype(float)


def test_the_residual_is_that_of_least_squares(rng: np.random.Generator) -> None:
    """A linear model with a constant for every seed and every example."""
    seeds, examples = 5, 12
    correct = rng.normal(size=(seeds, examples))
    row, column = np.divmod(np.arange(correct.size), examples)
    design = np.hstack([np.eye(seeds)[row], np.eye(examples)[column]])
    fitted = design @ np.linalg.lstsq(design, correct.ravel(), rcond=None)[0]
    mean_square = ((correct.ravel() - fitted) ** 2).sum() / ((seeds - 1) * (examples - 1))
    found = separate(correct)
    # Least squares, and sums of squares, in float64: 1e-16 a term.
    assert found["of_examples"] == pytest.approx(mean_square / examples, rel=1e-9)
    assert found["variance"] == pytest.approx(correct.mean(axis=1).var(ddof=1), rel=1e-12)
    assert found["of_seeds"] + found["of_examples"] == pytest.approx(found["variance"], rel=1e-12)


def test_both_parts_are_unbiased(rng: np.random.Generator) -> None:
    """Their means over simulated test sets and seeds, within four standard errors of the truth."""
    seeds, examples, spread, hardness = 6, 40, 0.1, 0.3
    found = [
        separate(
            drawn(
                rng,
                rng.uniform(-spread, spread, seeds),
                rng.uniform(-hardness, hardness, examples),
            )
        )
        for _ in range(4000)
    ]
    of_seeds, of_example = spread**2 / 3, hardness**2 / 3  # variances of uniform draws
    rest = 0.25 - of_seeds - of_example  # the mean of p (1 - p)
    for values, truth in (
        ([noise["of_seeds"] for noise in found], of_seeds),
        ([noise["of_examples"] for noise in found], rest / examples),
        ([noise["variance"] for noise in found], of_seeds + rest / examples),
    ):
        error = np.std(values) / np.sqrt(len(values))
        assert abs(np.mean(values) - truth) < 4 * error


def test_the_standard_error_of_another_test_set(rng: np.random.Generator) -> None:
    """The same runs on many test sets: how their mean accuracy scatters."""
    seeds = rng.uniform(-0.1, 0.1, 6)
    found = [separate(drawn(rng, seeds, rng.uniform(-0.3, 0.3, 40))) for _ in range(4000)]
    stated = np.mean([noise["error_of_examples"] ** 2 for noise in found])
    # A variance of 4,000 draws is known to 2.2%; four times that, and the stated one's own error.
    assert np.var([noise["mean"] for noise in found], ddof=1) == pytest.approx(stated, rel=0.1)


def with_predictions(new_sweep: NewSweep, correct: dict[str, np.ndarray]) -> SweepWriter:
    sweep = new_sweep(arms={arm: {} for arm in correct}, seeds=range(len(correct["a"])))
    for arm, rows in correct.items():
        for seed, row in enumerate(rows):
            path = sweep.add_run(arm, seed, steps=STEPS, top1=saturating(0.9), test_top1=row.mean())
            index = np.arange(row.size)
            np.savez(path / "predictions.npz", correct=row > 0, index=index, split="test")
    return sweep


def test_the_report_has_a_row_for_every_arm_and_contrast(
    new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    examples = rng.uniform(-0.3, 0.3, 200)
    correct = {arm: drawn(rng, rng.uniform(-0.1, 0.1, 5), examples) for arm in ("a", "b")}
    sweep = with_predictions(new_sweep, correct)
    (sweep.run_directory("b", 4) / "predictions.npz").unlink()
    result = write_report(sweep.directory)
    rows = {row["of"]: row for row in result.verdicts["noise"]}
    assert list(rows) == ["a", "b", "b − a"]
    assert [row["seeds"] for row in rows.values()] == [5, 4, 4]
    expected = separate(correct["b"][:4] - correct["a"][:4])
    assert rows["b − a"] == {"of": "b − a", "arms": ["b", "a"], **expected}
    page = result.page.read_text()
    assert "<h2>Noise of seeds and of examples</h2>" in page
    assert f"{rows['a']['variance'] ** 0.5:.4f}" in page


@pytest.mark.parametrize("missing", ["predictions", "labels"])
def test_no_row_where_seeds_have_other_examples_or_none(new_sweep: NewSweep, missing: str) -> None:
    """Other labels in the same places: a split of its own for each seed."""
    sweep = with_predictions(new_sweep, {"a": np.ones((3, 10)), "b": np.zeros((3, 10))})
    for arm in ("a", "b"):
        for seed in (1, 2):
            path = sweep.run_directory(arm, seed)
            if missing == "predictions":
                (path / "predictions.npz").write_bytes(b"")
            else:
                splits = {"test": {"examples": 10, "labels": f"{seed}"}}
                edit_run(path, partial(dict.update, data={**DATA, "splits": splits}))
    result = write_report(sweep.directory)
    assert result.verdicts["noise"] == []
    assert "Noise of seeds and of examples" not in result.page.read_text()


def test_runs_that_never_differ_have_no_noise() -> None:
    noise = separate(np.ones((4, 10)))
    assert (noise["variance"], noise["of_examples"], noise["of_seeds"]) == (0, 0, 0)
    assert (noise["error_of_seeds"], noise["error_of_examples"], noise["mean"]) == (0, 0, 1)
