"""The compiled training step: against NumPy, against plain JAX, compiled once."""

from dataclasses import replace

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
    with_optimizer,
)
from xception_jax.models.functional import functionalize
from xception_jax.training.compile import compile_train_steps, shapes_of
from xception_jax.training.setup import make_step_spec, open_data
from xception_jax.training.sharding import Layout, make_mesh, replicate
from xception_jax.training.state import hyperparameters
from xception_jax.training.step import StepSpec


def in_numpy(start, batches, clip):
    """The whole training of softmax regression in float64."""
    w = {name: np.asarray(value, np.float64) for name, value in start.items()}
    velocity = {name: np.zeros_like(value) for name, value in w.items()}
    average, sums = dict(w), np.zeros(2)
    for step, batch in enumerate(batches):
        x = batch["image"].reshape(len(batch["image"]), -1) / 127.5 - 1.0
        logits = x @ w["kernel"] + w["bias"]
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        target = 0.1 / 4 + 0.9 * np.eye(4)[batch["label"]]
        sums += -np.sum(target * np.log(p)), np.sum(np.argmax(p, 1) == batch["label"])
        slope = (p - target) / len(x)
        gradient = {"kernel": x.T @ slope, "bias": slope.sum(axis=0)}
        norm = np.sqrt(sum(np.sum(g**2) for g in gradient.values()))
        rate = 0.5 * step / 2 if step < 2 else 0.25 * (1 + np.cos(np.pi * (step - 2) / 6))
        decay = min(0.6, (1 + step) / (10 + step))
        for name, g in gradient.items():
            penalty = 0.01 * w[name] if name == "kernel" else 0
            velocity[name] = 0.9 * velocity[name] + g * min(1, clip / norm) + penalty
            w[name] = w[name] - rate * velocity[name]
            average[name] = decay * average[name] + (1 - decay) * w[name]
    return w, average, sums


@pytest.mark.parametrize("clip", [0.4, 1e6])  # always at work, and never
@pytest.mark.parametrize("parts", [1, 4])
def test_steps_of_a_linear_model_equal_numpy_in_float64(parts, clip):
    """Also in parts: without batch normalization, accumulation changes nothing."""
    program = softmax_program(accumulation_steps=parts)
    program = replace(program, optimizer=with_optimizer(SGD, clip_norm=clip))
    start = jax.device_get(program.init(3).parameters)
    state, outcomes = run_steps(program, softmax_batches(), given=own(3, 0.5, 0.01))
    parameters, averages, (loss, top1) = in_numpy(start, softmax_batches(), clip)
    # 8 steps of float32 sums over 27 pixels and 16 rows: a few dozen roundings of 6e-8.
    for name in parameters:
        np.testing.assert_allclose(state.parameters[name], parameters[name], rtol=0, atol=3e-6)
        np.testing.assert_allclose(state.averages[name], averages[name], rtol=0, atol=3e-6)
    assert state.step == 8
    assert state.sums["examples"] == 8 * 16
    assert state.sums["loss"] == pytest.approx(loss, rel=1e-5)
    assert state.sums["top1"] == top1
    # The schedule is computed in float32: a few roundings of 6e-8.
    rates = [float(outcome.learning_rate) for outcome in outcomes]
    assert rates[:4] == pytest.approx([0, 0.25, 0.5, 0.25 * (1 + np.cos(np.pi / 6))], rel=1e-6)
    assert all(outcome.active for outcome in outcomes)


def test_a_step_that_is_not_finite_says_so_and_leaves_the_state():
    """So do all steps after it: the run has ended."""
    program = softmax_program()
    program = replace(program, optimizer=replace(SGD, warmup_steps=0))
    given = own(learning_rate=1e38)
    state, outcomes = run_steps(program, softmax_batches(6), given=given)
    active = [bool(outcome.active) for outcome in outcomes]
    taken = sum(active)
    assert 0 < taken < 6
    assert active == [True] * taken + [False] * (6 - taken)
    before, _ = run_steps(program, list(softmax_batches(6))[:taken], given=given)
    assert outcomes[-1].step == state.step == taken
    same = jax.tree.map(np.array_equal, state, before)
    assert all(jax.tree.leaves(same))


@pytest.fixture(scope="module")
def opened(shrunk):
    """The shrunk real config without augmentation and dropout, its data and its program."""
    config = shrunk("data.augmentation=none", "model.dropout=0", "optimizer.warmup_epochs=0")
    pipeline = open_data(config)
    return config, pipeline, make_step_spec(config, pipeline.info)


def test_a_step_of_the_model_equals_plain_jax(opened):
    """The same model applied without mesh, shard_map and donation, on images gathered by NumPy."""
    from xception_jax.models import model_from_config

    config, pipeline, program = opened
    model = model_from_config(replace(config.model, num_classes=10, in_channels=1))
    index = next(pipeline.train_batches(0))["index"]
    device_data = pipeline.device_data["train"]
    images = jnp.asarray(device_data["image"][index] / np.float32(127.5) - np.float32(1))
    labels = device_data["label"][index]
    start = program.init(0)

    def loss(parameters):
        logits, batch_stats = model.apply(parameters, start.batch_stats, images, train=True)
        own = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
        return -own.mean(), batch_stats

    (mean, batch_stats), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(
        start.parameters
    )
    state, (outcome,) = run_steps(program, [{"index": index}], device_data)
    rate, decay = float(outcome.learning_rate), config.optimizer.weight_decay
    assert rate == pytest.approx(0.1)
    assert state.sums["loss"] / 32 == pytest.approx(float(mean), rel=1e-5)
    # Two compilations of one computation sum in other orders; batch normalization of a batch of 32
    # small images amplifies the 6e-8 of a rounding by a few hundred.
    largest = max(float(jnp.max(jnp.abs(g))) for g in gradient.values())
    for path, value in start.parameters.items():
        penalty = decay * value if path.endswith("kernel") else 0
        expected = value - rate * (gradient[path] + penalty)
        np.testing.assert_allclose(
            state.parameters[path], expected, rtol=0, atol=2e-5 * rate * largest, err_msg=path
        )
    for path, value in batch_stats.items():
        moved, ours = (
            np.asarray(x) - start.batch_stats[path] for x in (value, state.batch_stats[path])
        )
        # Rounded as above, and by 6e-8 of a statistic of 1 itself.
        bound = 2e-5 * np.abs(moved).max() + 2e-7
        np.testing.assert_allclose(ours, moved, rtol=0, atol=bound, err_msg=path)


def test_gradients_in_parts_are_the_mean_of_the_parts_gradients():
    """With batch normalization: each part is normalized on its own."""
    plain = with_optimizer(
        replace(SGD, warmup_steps=0),
        momentum=0.0,
        schedule="constant",
        weight_decay=0.0,
        clip_norm=None,
    )
    function, *_ = functionalize(NormedImages(0.9, None))
    program = replace(softmax_program(), model=function, optimizer=plain)
    start = jax.device_get(program.init(0).parameters)
    (batch,) = softmax_batches(1)

    def moved(program: StepSpec, part: slice) -> dict[str, np.ndarray]:
        rows = {name: values[part] for name, values in batch.items()}
        state, _ = run_steps(program, [rows])
        return {path: state.parameters[path] - start[path] for path in start}

    halves = [moved(program, slice(8)), moved(program, slice(8, 16))]
    together = moved(replace(program, accumulation_steps=2), slice(16))
    mean = {path: (halves[0][path] + halves[1][path]) / 2 for path in start}
    # Float32 sums of 72 pixels in two compilations: a few hundred roundings of 6e-8.
    largest = max(np.abs(value).max() for value in mean.values())
    for path in start:
        np.testing.assert_allclose(
            together[path], mean[path], rtol=0, atol=2e-5 * largest, err_msg=path
        )
    whole = moved(program, slice(16))  # normalized with the other half, it is another gradient
    assert max(np.abs(whole[path] - mean[path]).max() for path in start) > 1e-3 * largest


def test_what_is_no_part_of_the_program_does_not_compile_it_again(shrunk):
    numbers = ("optimizer.learning_rate=0.3", "optimizer.weight_decay=0.1", "model.dropout=0.7")
    programs = []
    for words in ((), ("seed=1", *numbers), ("model.intermediate_activation=elu",)):
        config = shrunk(*words)
        programs.append(make_step_spec(config, open_data(config).info))
    same, other, third = programs
    assert same == other
    assert hash(same) == hash(other)
    assert same != third


def test_a_compiled_step_keeps_its_barriers_and_refuses_to_compile_again(opened):
    config, pipeline, program = opened
    layout = Layout(make_mesh())
    device_data = replicate(pipeline.device_data["train"], layout.mesh)
    batch, shorter = (
        layout.put({"index": np.zeros((1, rows), np.int32)}, layout.steps_spec) for rows in (32, 16)
    )
    step = compile_train_steps(program, layout, shapes_of(device_data), shapes_of(batch))
    # Otherwise XLA:CPU fuses, and computes several times, what barriers keep apart.
    assert "opt-barrier(" in (step.as_text() or "")
    state, active, one, given = layout.stack(
        [(program.init(0), jnp.bool_(True), jnp.int32(1), hyperparameters(config, ("none",)))]
    )
    with pytest.raises(TypeError, match="compiled"):
        step(state, active, device_data, shorter, one, given)


def test_arms_of_a_seed_share_initial_values_and_batches(shrunk):
    configs = [shrunk(f"model.intermediate_activation={name}") for name in ("none", "elu")]
    pipelines = [open_data(config) for config in configs]
    states = [
        make_step_spec(config, pipeline.info).init(0)
        for config, pipeline in zip(configs, pipelines, strict=True)
    ]
    assert states[0].parameters.keys() == states[1].parameters.keys()
    for path, value in states[0].parameters.items():
        assert np.array_equal(value, states[1].parameters[path]), path
    batches = [pipeline.train_batches(5) for pipeline in pipelines]
    for _ in range(4):
        one, other = (next(batch)["index"] for batch in batches)
        assert np.array_equal(one, other)
