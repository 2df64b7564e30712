"""Loss, accuracy and the Polyak average against NumPy in float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from xception_jax.training.metrics import cross_entropy, in_top
from xception_jax.training.state import polyak


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_loss_is_cross_entropy_with_smoothed_labels(smoothing):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(scale=5, size=(16, 10)), rng.integers(10, size=16)
    targets = np.full((16, 10), smoothing / 10)
    targets[np.arange(16), labels] += 1 - smoothing
    log_softmax = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    expected = -np.sum(targets * log_softmax, axis=1)
    found = cross_entropy(jnp.float32(logits), jnp.int32(labels), smoothing)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)  # float32 sums of 10


def test_loss_of_huge_logits_is_finite():
    logits = jnp.array([[1e30, -1e30, 0.0]], jnp.float32)
    assert float(cross_entropy(logits, jnp.array([0]))[0]) == 0
    assert np.isfinite(float(cross_entropy(logits, jnp.array([1]))[0]))


@pytest.mark.parametrize("k", [1, 5])
def test_in_top_is_the_place_in_the_sorted_order(k):
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(200, 12)), rng.integers(12, size=200)
    best = np.argsort(-logits, axis=1)[:, :k]
    expected = (best == labels[:, None]).any(axis=1)
    assert np.array_equal(in_top(jnp.float32(logits), jnp.int32(labels), k), expected)


@pytest.mark.parametrize(
    ("logits", "top1", "top5"),
    [
        ([0, 0, 0, 0, 0, 0], False, False),  # constant: no credit for a place in the list
        ([1, 1, 0, 0, 0, 0], False, True),  # a tie for the first place
        ([np.nan] * 6, False, False),
        ([np.nan, 0, 0, 0, 0, 0], False, False),
        ([1, np.nan, 0, 0, 0, 0], False, True),  # a NaN elsewhere counts as a rival
        ([np.inf, 0, 0, 0, 0, 0], False, False),
    ],
)
def test_ties_and_nan_count_against_the_model(logits, top1, top5):
    logits = jnp.array([logits], jnp.float32)
    assert bool(in_top(logits, jnp.array([0]), 1)[0]) is top1
    assert bool(in_top(logits, jnp.array([0]), 5)[0]) is top5


def test_fewer_classes_than_five_are_all_in_the_top_five():
    logits = jnp.array([[3.0, 2.0, 1.0]])
    assert in_top(logits, jnp.array([2]), 5).all()


def test_polyak_average_with_warm_up():
    rng = np.random.default_rng(2)
    values = rng.normal(size=(40, 3))
    expected, found = values[0], {"w": jnp.float32(values[0])}
    for step, value in enumerate(values[1:]):
        decay = min(0.7, (1 + step) / (10 + step))  # from step 21 on it is 0.7
        expected = decay * expected + (1 - decay) * value
        found = polyak(found, {"w": jnp.float32(value)}, jnp.int32(step), 0.7)
    np.testing.assert_allclose(found["w"], expected, rtol=1e-6, atol=1e-6)
    assert polyak({}, {"w": jnp.ones(3)}, jnp.int32(0), 0.7) == {}
