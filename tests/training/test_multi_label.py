"""Labels that are sets of classes: loss and MAP@100 against oracles, runs of the real config."""

import json
from fractions import Fraction
from pathlib import Path
from typing import cast

import jax.numpy as jnp
import numpy as np
import pytest

from tests.interrupting import stop_after
from tests.same_run import assert_same_run
from tests.shrunk import MULTI_LABEL_CONFIG, MULTI_LABEL_SHRUNK, SOONEST
from xception_jax.config import load_config, resolve
from xception_jax.data.splits import ArrayRecords
from xception_jax.errors import InputError
from xception_jax.tracking import read_metrics
from xception_jax.training import Interrupted, RunNames, train
from xception_jax.training.checkpoint import Checkpoints
from xception_jax.training.metrics import (
    any_in_top,
    average_precision,
    in_top,
    mean_average_precision,
    sigmoid_cross_entropy,
)
from xception_jax.training.setup import make_step_spec, open_data, require_trainable
from xception_jax.training.sharding import make_mesh
from xception_jax.training.state import TrainState


def shrunk(*words):
    overrides = [*MULTI_LABEL_SHRUNK, *SOONEST, *words]
    return resolve(load_config(MULTI_LABEL_CONFIG), overrides=overrides)


def run(directory, *words, **arguments):
    return train(shrunk(*words), directory, names=RunNames("shrunk"), **arguments)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """An uninterrupted run."""
    home = tmp_path_factory.mktemp("whole") / "run"
    assert run(home)["status"] == "done"
    return home


def drawn(rng, rows, classes, levels=None):
    """Scores (of few `levels`, so that many tie) and sets of at least one class."""
    scores = rng.normal(size=(rows, classes))
    if levels is not None:
        scores = rng.integers(levels, size=(rows, classes)).astype(float)
    labels = (rng.random((rows, classes)) < 0.3).astype(np.uint8)
    labels[np.arange(rows), rng.integers(classes, size=rows)] = 1
    return scores, labels


def counted_by_hand(scores, labels, weights, k):
    """MAP@k in exact fractions, by loops over pairs of classes; None: no image counts."""
    precisions = []
    for row, shown in zip(scores, labels, strict=True):
        classes = range(len(row))
        gained = Fraction(0)
        for one in classes:
            above = [other for other in classes if row[other] >= row[one]]
            if shown[one] and len(above) <= k:
                right = sum(1 for other in above if shown[other])
                gained += Fraction(weights[one]) * Fraction(right, len(above))
        heaviest = sorted((Fraction(weights[c]) for c in classes if shown[c]), reverse=True)[:k]
        if sum(heaviest):
            precisions.append(gained / sum(heaviest))
    return float(sum(precisions) / len(precisions)) if precisions else None


def test_loss_is_the_negative_log_likelihood_of_the_set():
    rng = np.random.default_rng(0)
    logits, labels = drawn(rng, 32, 12)
    logits *= 6
    probability = 1 / (1 + np.exp(-logits))
    expected = -np.sum(np.log(np.where(labels, probability, 1 - probability)), axis=1)
    found = sigmoid_cross_entropy(jnp.float32(logits), jnp.array(labels))
    np.testing.assert_allclose(found, expected, rtol=2e-6)  # float32 sums of 12


def test_loss_of_huge_logits_is_finite():
    logits = jnp.array([[1e30, -1e30]], jnp.float32)
    assert float(sigmoid_cross_entropy(logits, jnp.array([[1, 0]], jnp.uint8))[0]) == 0
    assert np.isfinite(float(sigmoid_cross_entropy(logits, jnp.array([[0, 1]], jnp.uint8))[0]))


@pytest.mark.parametrize("k", [1, 5])
def test_top_is_whether_one_of_the_best_classes_is_shown(k):
    scores, labels = drawn(np.random.default_rng(1), 300, 20)
    best = np.argsort(-scores, axis=1)[:, :k]
    expected = np.take_along_axis(labels, best, axis=1).any(axis=1)
    assert 0 < expected.mean() < 1
    found = any_in_top(jnp.float32(scores), jnp.array(labels), k)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("k", [1, 5])
def test_with_one_label_top_is_that_of_one_label(k):
    rng = np.random.default_rng(2)
    scores = rng.integers(4, size=(400, 9)).astype(np.float32)  # many ties
    scores[rng.random(scores.shape) < 0.03] = np.nan
    scores[rng.random(scores.shape) < 0.03] = np.inf
    labels = rng.integers(9, size=400)
    one_hot = jnp.array(np.eye(9, dtype=np.uint8)[labels])
    expected = in_top(jnp.array(scores), jnp.array(labels), k)
    np.testing.assert_array_equal(any_in_top(jnp.array(scores), one_hot, k), expected)
    assert not any_in_top(jnp.array(scores), jnp.zeros_like(one_hot), k).any()


@pytest.mark.parametrize("levels", [None, 4])
def test_unweighted_it_is_that_of_scikit_learn(levels):
    from sklearn.metrics import label_ranking_average_precision_score

    scores, labels = drawn(np.random.default_rng(3), 500, 30, levels)
    expected = label_ranking_average_precision_score(labels, scores)
    for k in (30, 100):  # both in float64, 1e-16, with sums in other orders
        assert mean_average_precision(scores, labels, k=k) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("levels", [None, 4])
@pytest.mark.parametrize("k", [1, 3, 8, 100])
def test_weighted_it_is_what_is_counted_by_hand(k, levels):
    rng = np.random.default_rng(4)
    scores, labels = drawn(rng, 60, 12, levels)
    weights = rng.integers(0, 5, size=12)
    labels[7] = 0  # shows nothing
    labels[8] = weights == 0  # shows only what weighs nothing
    expected = counted_by_hand(scores, labels, weights.tolist(), k)
    found = mean_average_precision(scores, labels, weights, k)
    assert found == pytest.approx(expected, rel=1e-12)
    scaled = mean_average_precision(scores, labels, weights * 0.37, k)
    assert scaled == pytest.approx(expected, rel=1e-12)


def test_one_case_in_figures():
    """Ranked: class 2 (shown), 0, 1 (shown), 3; precisions 1 and 2/3, weights 3 and 1."""
    scores, labels = np.array([[3.0, 2.0, 4.0, 1.0]]), np.array([[0, 1, 1, 0]], np.uint8)
    weights = np.array([5, 1, 3, 7])
    assert mean_average_precision(scores, labels, weights) == pytest.approx((3 + 2 / 3) / 4)
    assert mean_average_precision(scores, labels, weights, k=2) == pytest.approx(3 / 4)
    assert mean_average_precision(scores, labels, weights, k=1) == 1  # the heaviest, found


def test_perfect_constant_and_broken_scores():
    _, labels = drawn(np.random.default_rng(5), 200, 20)
    weights = np.arange(20) + 1.0
    assert mean_average_precision(weights * labels, labels, weights, k=3) == pytest.approx(1)
    constant = average_precision(np.zeros(labels.shape), labels, np.ones(20), k=100)
    np.testing.assert_allclose(constant, labels.mean(axis=1))
    for broken in (np.nan, np.inf, -np.inf):
        scores = weights * labels
        scores[:, 4] = broken
        assert mean_average_precision(scores, labels, weights) == 0
    assert mean_average_precision(weights * labels, np.zeros_like(labels)) == 0


def test_order_of_classes_and_size_of_chunks_change_nothing(monkeypatch):
    rng = np.random.default_rng(6)
    scores, labels = drawn(rng, 50, 12, levels=3)
    weights, order = rng.random(12), rng.permutation(12)
    expected = mean_average_precision(scores, labels, weights, k=6)
    # Sums in float64, 1e-16, in other orders.
    shuffled = scores[:, order], labels[:, order], weights[order]
    assert mean_average_precision(*shuffled, k=6) == pytest.approx(expected, rel=1e-12)
    monkeypatch.setattr("xception_jax.training.metrics._ROWS", 7)
    assert mean_average_precision(scores, labels, weights, k=6) == pytest.approx(expected)


def test_rows_and_result_hold_map100(whole):
    rows = read_metrics(whole / "metrics.jsonl")
    names = {"step", "epoch", "split", "loss", "top1", "top5"}
    assert [row["step"] for row in rows if row["split"] == "valid"] == [2, 4, 6]
    for row in rows:
        extra = {"learning_rate"} if row["split"] == "train" else {"map100"}
        assert set(row) == names | extra
        assert 0 <= row["top1"] <= row["top5"] <= 1
    record = json.loads((whole / "run.json").read_text())
    result = record["result"]
    assert record["metric"] == "map100"
    assert set(result) == {"split", "examples", "loss", "top1", "top5", "map100"}
    assert result["examples"] == 1500


@pytest.mark.usefixtures("unchecked_types")
def test_the_best_checkpoint_is_the_one_of_the_best_map100(tmp_path):
    checkpoints = Checkpoints(tmp_path / "kept", keep_last=1, keep_best=1, metric="map100", run="")
    for step, (top1, map100) in enumerate([(0.1, 0.9), (0.9, 0.1), (0.2, 0.2)], start=1):
        checkpoints.save(
            step, cast(TrainState, {"x": jnp.zeros(1)}), {"top1": top1, "map100": map100}, b""
        )
        checkpoints.wait()
    checkpoints.close()
    assert {path.name for path in (tmp_path / "kept").iterdir()} >= {"1", "3"}
    assert not (tmp_path / "kept" / "2").exists()


def test_result_is_what_the_predictions_say(whole):
    """From the scores alone, by the definitions."""
    from xception_jax.data import load

    source = load("fashion_mnist_mosaic")
    file = np.load(whole / "predictions.npz")
    scores, labels = file["scores"].astype(float), file["label"]
    result = json.loads((whole / "run.json").read_text())["result"]
    records = source.splits["test"].records
    assert isinstance(records, ArrayRecords)
    np.testing.assert_array_equal(labels, records.labels)
    best = scores.argmax(axis=1)
    np.testing.assert_array_equal(best, file["prediction"])
    right = labels[np.arange(len(labels)), best] == 1
    np.testing.assert_array_equal(right, file["correct"])
    assert right.mean() == pytest.approx(result["top1"])
    losses = np.logaddexp(0, scores) - labels * scores
    # The run computes the loss of an example in float32, and the metrics of a split in float64.
    assert losses.sum(axis=1).mean() == pytest.approx(result["loss"], rel=1e-5)
    expected = counted_by_hand(scores, labels, source.class_frequencies, 100)
    assert result["map100"] == pytest.approx(expected, rel=1e-9)


def test_an_interrupted_run_ends_as_if_it_were_not(whole, tmp_path):
    with pytest.raises(Interrupted):
        run(tmp_path, stop=stop_after(3))
    assert run(tmp_path)["resumed_from"] == [3]
    assert_same_run(whole, tmp_path)


@pytest.mark.slow  # of single labels, test_training_runs.py has it
def test_streaming_gives_the_curve_of_in_memory(whole, tmp_path):
    run(tmp_path, "data.pipeline=streaming")
    rows = [read_metrics(home / "metrics.jsonl") for home in (whole, tmp_path)]
    for one, other in zip(*rows, strict=True):
        for name in ("loss", "top1", *(["map100"] if one["split"] == "valid" else [])):
            # Two programs for one computation round differently; a rank may change by it.
            assert other[name] == pytest.approx(one[name], rel=1e-3), name


def test_label_smoothing_is_refused():
    config = shrunk("train.label_smoothing=0.1")
    with pytest.raises(InputError, match=r"train\.label_smoothing=0\.1.*value: 0\.0"):
        require_trainable(config, open_data(config).info, make_mesh())


def test_decay_of_the_paper_in_examples():
    """0.9 every 3,000,000 images: 93,750 steps of 32; 0.9 every 100: three steps of 32."""
    for words, period in (((), 93_750), (("optimizer.decay_examples=100",), 3)):
        config = shrunk(*words, "train.epochs=2000")
        rate = make_step_spec(config, open_data(config).info).optimizer
        assert rate.decay_steps == period
        at = rate.factor_at()
        for step, power in ((period - 1, 0), (period, 1), (2 * period, 2)):
            # The schedule is computed in float32: a few roundings of 6e-8.
            assert float(at(step)) == pytest.approx(0.9**power, rel=1e-6)
