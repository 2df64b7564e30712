"""Averages of weights and of the statistics of batch normalization, and what evaluation uses."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training.known_steps import (
    SGD,
    NormedImages,
    own,
    run_steps,
    softmax_batches,
    softmax_program,
)
from xception_jax.models import model_from_config
from xception_jax.models.functional import functionalize
from xception_jax.training.checkpoint import read_state
from xception_jax.training.objective import SingleLabel
from xception_jax.training.setup import make_step_spec, open_data
from xception_jax.training.sharding import make_mesh
from xception_jax.training.step import StepSpec

STEPS, ROWS = 12, 16


def step_spec(momentum: float, parts: int, group_size: int | None, decay: float) -> StepSpec:
    function, *_ = functionalize(NormedImages(momentum, group_size))
    return StepSpec(
        model=function,
        task=SingleLabel(0.0),
        optimizer=SGD,
        average_decay=decay,
        accumulation_steps=parts,
        augmentation="none",
        padding=0,
        dropout=False,
        grouped=group_size is not None,
    )


def statistics_in_numpy(momentum: float, parts: int, group_size: int | None, decay: float):
    """The averaged and the moving statistics by name, in float64, after all steps."""
    averages = {"norm/mean": np.zeros(3), "norm/variance": np.ones(3)}
    moving = dict(averages)
    for step, batch in enumerate(softmax_batches(STEPS, ROWS)):
        x = batch["image"] / 127.5 - 1.0
        rows = np.split(x, ROWS // group_size if group_size else parts)
        means = np.array([row.mean((0, 1, 2)) for row in rows])
        variances = np.array([row.var((0, 1, 2)) for row in rows])
        share = min(decay, (1 + step) / (10 + step))
        for name, values in (("norm/mean", means), ("norm/variance", variances)):
            averages[name] = share * averages[name] + (1 - share) * values.mean(0)
            for value in [values.mean(0)] if group_size else values:
                moving[name] = momentum * moving[name] + (1 - momentum) * value
    return averages, moving


@pytest.mark.parametrize(
    ("momentum", "parts", "group_size"),
    [(0.9, 1, None), (0.99, 1, None), (0.9, 4, None), (0.9, 2, 4), (0.0, 1, None)],
)
def test_averaged_statistics_equal_numpy_in_float64(momentum, parts, group_size):
    settings = momentum, parts, group_size, 0.5  # the warm-up ends with the ninth step
    state, _ = run_steps(step_spec(*settings), softmax_batches(STEPS, ROWS))
    averages, moving = statistics_in_numpy(*settings)
    # Sums of 144 pixels and twelve updates in float32, of values of at most 1: dozens of 6e-8.
    for path, value in averages.items():
        np.testing.assert_allclose(state.averages[path], value, rtol=0, atol=3e-6, err_msg=path)
        np.testing.assert_allclose(state.batch_stats[path], moving[path], rtol=0, atol=3e-6)
        assert np.abs(value - moving[path]).max() > 1e-3 or not momentum


def test_a_step_that_is_not_finite_leaves_the_averages():
    spec = replace(step_spec(0.9, 1, None, 0.5), optimizer=replace(SGD, warmup_steps=0))
    state, outcomes = run_steps(spec, softmax_batches(STEPS, ROWS), given=own(learning_rate=1e38))
    taken = sum(bool(outcome.active) for outcome in outcomes)
    assert 0 < taken < STEPS
    before, _ = run_steps(
        spec, list(softmax_batches(STEPS, ROWS))[:taken], given=own(learning_rate=1e38)
    )
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, state.averages, before.averages)))


def test_a_run_is_evaluated_with_averaged_statistics(run, shrunk, tmp_path):
    """By a plain call of the model on images gathered here."""
    record = run(tmp_path)
    config = shrunk()
    with_data = open_data(config)
    spec = make_step_spec(config, with_data.info)
    _, state = read_state(tmp_path / "checkpoints", spec.shapes(), make_mesh(), None)
    model = model_from_config(replace(config.model, num_classes=10, in_channels=1))
    evaluated = jax.jit(partial(model.apply, train=False))
    arrays = with_data.device_data[record["result"]["split"]]
    images = jnp.asarray(arrays["image"] / np.float32(127.5) - np.float32(1))

    def loss(batch_stats) -> float:
        parameters = {path: state.averages[path] for path in state.parameters}
        logits, _ = evaluated(parameters, batch_stats, images)
        each = jax.nn.log_softmax(logits)[np.arange(len(images)), arrays["label"]]
        return float(-each.mean())

    averaged = loss({path: state.averages[path] for path in state.batch_stats})
    # Two compilations of one computation, of float32 sums in other orders.
    assert record["result"]["loss"] == pytest.approx(averaged, rel=1e-5)
    assert abs(loss(state.batch_stats) - averaged) > 1e-2 * averaged


def test_without_averages_the_parameters_are_evaluated():
    state = softmax_program(average_decay=0.0).init(0)
    assert state.averages == {}
    parameters, batch_stats = state.evaluated()
    assert parameters is state.parameters
    assert batch_stats is state.batch_stats


def test_averages_start_at_the_initial_values():
    state = step_spec(0.9, 1, None, 0.5).init(0)
    start = state.parameters | state.batch_stats
    assert state.averages.keys() == start.keys()
    assert all(np.array_equal(state.averages[path], value) for path, value in start.items())
