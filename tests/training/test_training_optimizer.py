"""Updates and schedules against Keras and plain NumPy in float64."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from xception_jax.config import resolve
from xception_jax.config.fields import Options
from xception_jax.config.schema import OptimizerConfig
from xception_jax.errors import InputError
from xception_jax.training.optimizer import _DECOUPLED, OptimizerSpec, require_optimizer

# float32 rounds to 6e-8 of a value; a dozen steps of a few operations each stay well below this.
TOLERANCE = 2e-6


def settings(warmup_steps=0, **changes):
    config: dict[str, Any] = {
        "name": "sgd",
        "momentum": 0.0,
        "schedule": "constant",
        "weight_decay": 0.0,
    }
    return OptimizerSpec(OptimizerConfig(**config | changes), 4, warmup_steps, 20)


def draw(seed, steps=12):
    """Parameters, and a gradient for each step."""
    rng = np.random.default_rng(seed)
    start = {"dense/kernel": rng.normal(size=(3, 4)), "dense/bias": rng.normal(size=4)}
    grads = [{k: rng.normal(size=v.shape) for k, v in start.items()} for _ in range(steps)]
    return start, grads


def ours(config, start, grads, rate=0.1, decay=0.01):
    optimizer = config.transformation(jnp.float32(rate), jnp.float32(decay))
    parameters = jax.tree.map(np.float32, start)
    state = optimizer.init(parameters)
    for gradient in grads:
        clipped = config.clipped(jax.tree.map(np.float32, gradient))
        updates, state = optimizer.update(clipped, state, parameters)
        parameters = jax.tree.map(lambda p, u: p + u, parameters, updates)
    return parameters


def in_keras(optimizer, start, grads):
    import keras

    variables = {name: keras.Variable(value, dtype="float32") for name, value in start.items()}
    optimizer.build(list(variables.values()))
    for gradient in grads:
        optimizer.apply([np.float32(gradient[n]) for n in variables], list(variables.values()))
    return {name: np.asarray(value) for name, value in variables.items()}


def assert_close(ours, theirs):
    for name in theirs:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_that_of_keras(momentum, nesterov):
    import keras

    start, grads = draw(0)
    theirs = keras.optimizers.SGD(0.1, momentum=momentum, nesterov=nesterov and momentum > 0)
    config = settings(momentum=momentum, nesterov=nesterov)
    assert_close(ours(config, start, grads), in_keras(theirs, start, grads))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_rmsprop_is_that_of_tensorflow(momentum):
    """TensorFlow's kernel: the mean square starts at one, epsilon is inside the root."""
    start, grads = draw(1)
    rate, decay, epsilon = 0.045, 0.9, 1.0
    theirs = dict(start)
    mean_square = {name: np.ones_like(value) for name, value in start.items()}
    velocity = {name: np.zeros_like(value) for name, value in start.items()}
    for gradient in grads:
        for name, g in gradient.items():
            mean_square[name] += (1 - decay) * (g**2 - mean_square[name])
            velocity[name] = momentum * velocity[name] + rate * g / np.sqrt(
                mean_square[name] + epsilon
            )
            theirs[name] = theirs[name] - velocity[name]
    config = settings(name="rmsprop", momentum=momentum)
    assert_close(ours(config, start, grads, rate), theirs)


def test_weight_decay_is_the_gradient_of_a_penalty_on_kernels_alone():
    start, grads = draw(2)
    theirs, velocity = dict(start), {name: np.zeros_like(v) for name, v in start.items()}
    for gradient in grads:
        for name, g in gradient.items():
            penalty = 0.01 * theirs[name] if name.endswith("kernel") else 0.0
            velocity[name] = 0.9 * velocity[name] + g + penalty
            theirs[name] = theirs[name] - 0.1 * velocity[name]
    assert_close(ours(settings(momentum=0.9, weight_decay=1.0), start, grads), theirs)


def test_clipping_bounds_the_global_norm_and_leaves_smaller_gradients():
    start, grads = draw(3, steps=6)
    for number, gradient in enumerate(grads):
        for name in gradient:
            gradient[name] *= 10.0 ** (number - 4)  # from far below the bound to far above
    theirs = dict(start)
    for gradient in grads:
        norm = np.sqrt(sum(np.sum(g**2) for g in gradient.values()))
        for name, g in gradient.items():
            theirs[name] = theirs[name] - 0.1 * g * min(1.0, 0.5 / norm)
    assert_close(ours(settings(clip_norm=0.5), start, grads), theirs)


def test_clipping_comes_before_weight_decay():
    start = {"dense/kernel": np.full((2, 2), 1e3)}
    grads = [{"dense/kernel": np.zeros((2, 2))}]
    moved = ours(settings(clip_norm=1e-3, weight_decay=1.0), start, grads, decay=0.1)
    # In float32: a few roundings of 6e-8.
    np.testing.assert_allclose(moved["dense/kernel"], 1e3 - 0.1 * 0.1 * 1e3, rtol=1e-6)


def test_exponential_decay_goes_in_stairs_like_that_of_keras():
    import keras

    theirs = keras.optimizers.schedules.ExponentialDecay(0.045, 4, 0.94, staircase=True)
    factor = settings(schedule="exponential").factor_at()
    for step in range(20):
        # Both in float32: a few roundings of 6e-8.
        assert 0.045 * float(factor(step)) == pytest.approx(float(theirs(step)), rel=1e-6)
    assert float(factor(3)) == float(factor(0)) > float(factor(4))


@pytest.mark.parametrize("warmup", [0, 5])
def test_cosine_with_warm_up(warmup):
    factor = settings(schedule="cosine", warmup_steps=warmup).factor_at()
    for step in range(20):
        if step < warmup:
            expected = step / warmup
        else:
            expected = 0.5 * (1 + np.cos(np.pi * (step - warmup) / (20 - warmup)))
        # In float32, 6e-8: near the end, the difference of two numbers of size 1.
        assert float(factor(step)) == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_warm_up_longer_than_the_run_only_rises():
    factor = settings(schedule="cosine", warmup_steps=100).factor_at()
    factors = [float(factor(step)) for step in range(20)]
    assert factors == sorted(factors)
    assert factors[19] == pytest.approx(0.19)


def test_decay_of_the_paper_in_steps(shrunk):
    """It says 0.94 every 2 epochs; 2 epochs of 96 images are 6 batches of 32."""
    from xception_jax.training.setup import make_step_spec, open_data

    config = shrunk("optimizer.schedule=exponential", "optimizer.warmup_epochs=0")
    program = make_step_spec(config, open_data(config).info)
    factor = program.optimizer.factor_at()
    assert program.optimizer.decay_steps == 6
    assert [round(float(factor(step)), 5) for step in (0, 5, 6, 11, 12)] == [
        1.0, 1.0, 0.94, 0.94, 0.8836,
    ]  # fmt: skip


KERNELS = {"dense/kernel": True, "dense/bias": False}
# Each of Optax's own, as its documentation has it: decoupled decay of the kernels alone.
OPTAX = {
    "adam": ({}, lambda rate, decay: optax.adamw(rate, weight_decay=decay, mask=KERNELS)),
    "adamw": ({"b2": 0.9}, lambda rate, decay: optax.adamw(
        rate, b2=0.9, weight_decay=decay, mask=KERNELS)),
    "lamb": ({"b1": 0.8}, lambda rate, decay: optax.lamb(
        rate, b1=0.8, weight_decay=decay, mask=KERNELS)),
    "lion": ({}, lambda rate, decay: optax.lion(rate, weight_decay=decay, mask=KERNELS)),
    "muon": ({"beta": 0.9}, lambda rate, decay: optax.contrib.muon(
        rate, beta=0.9, weight_decay=decay, weight_decay_mask=KERNELS,
        adam_weight_decay=0.0)),
}  # fmt: skip


def of_optax(optimizer, start, grads):
    parameters = jax.tree.map(np.float32, start)
    state = optimizer.init(parameters)
    for gradient in grads:
        updates, state = optimizer.update(jax.tree.map(np.float32, gradient), state, parameters)
        parameters = optax.apply_updates(parameters, updates)
    return parameters


@pytest.mark.parametrize("name", OPTAX)
def test_an_optimizer_of_optax_by_its_name_is_that_optimizer(name):
    options, theirs = OPTAX[name]
    start, grads = draw(4)
    config = settings(
        name=name,
        options=Options(options.items()),
        decay="decoupled",
        weight_decay=1.0,
        schedule="cosine",
        warmup_steps=3,
    )
    factor = config.factor_at()
    expected = of_optax(theirs(lambda step: 0.05 * factor(step), 0.1), start, grads)
    found = ours(config, start, grads, rate=0.05, decay=0.1)
    for parameter, value in expected.items():
        # Decay and update are rounded one after the other, not added before the rate.
        np.testing.assert_allclose(found[parameter], value, rtol=5e-6, atol=5e-6)


@pytest.mark.parametrize("name", sorted(_DECOUPLED))
def test_optimizers_with_a_decay_of_their_own_exist_and_take_it(name):
    require_optimizer(OptimizerConfig(name=name, decay="decoupled"), sharded=False)
    require_optimizer(OptimizerConfig(name=name, weight_decay=0.0), sharded=False)


def test_coupled_decay_of_an_optimizer_of_optax_is_a_part_of_its_gradient():
    start, grads = draw(5)
    penalized = optax.chain(optax.add_decayed_weights(0.1, mask=KERNELS), optax.adam(0.05))
    config = settings(name="adam", weight_decay=1.0)
    assert_close(
        ours(config, start, grads, rate=0.05, decay=0.1), of_optax(penalized, start, grads)
    )


@pytest.mark.parametrize("shape", [(3, 3, 4, 6), (1, 1, 5, 4)])
def test_muon_sees_a_convolution_as_a_matrix_of_its_inputs_by_its_outputs(shape, rng):
    start = {"a/kernel": rng.normal(size=shape)}
    grads = [{"a/kernel": rng.normal(size=shape)} for _ in range(3)]
    flat = [{"a/kernel": g["a/kernel"].reshape(-1, shape[-1])} for g in grads]
    first = {"a/kernel": start["a/kernel"].reshape(-1, shape[-1])}
    expected = of_optax(optax.contrib.muon(0.1), first, flat)["a/kernel"]
    found = ours(settings(name="muon"), start, grads, rate=0.1)["a/kernel"]
    # Newton and Schulz's iteration multiplies in another order of the same numbers.
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)


def test_muon_leaves_depthwise_kernels_to_adam(rng):
    start = {"a/kernel": rng.normal(size=(3, 3, 1, 6))}
    grads = [{"a/kernel": rng.normal(size=(3, 3, 1, 6))} for _ in range(3)]
    config = settings(name="muon")
    expected = of_optax(optax.adam(0.1, eps_root=0.0, nesterov=True), start, grads)
    assert_close(ours(config, start, grads, rate=0.1), expected)


@pytest.mark.parametrize("name", ["adamw", "lamb", "lion", "muon"])
def test_packed_runs_are_updated_as_each_alone(name):
    """One program for learning rates and decays that differ, as a pack has it."""
    start, grads = draw(6, steps=4)
    config = settings(name=name, decay="decoupled", weight_decay=1.0)
    rates, decays = np.array([[0.1, 0.01], [0.0, 0.3]], np.float32)

    def run(rate, decay):
        return ours(config, start, grads, rate, decay)

    def traced(rate, decay):
        return of_optax(config.transformation(rate, decay), start, grads)

    packed = jax.jit(jax.vmap(traced))(rates, decays)
    for number, pair in enumerate(zip(rates, decays, strict=True)):
        one = jax.tree.map(lambda value, n=number: value[n], packed)
        alone = run(*pair)
        # Four steps in two compilations; the iterations of Muon amplify a rounding of 6e-8.
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), one, alone)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.name=adamm"], r"optimizer.name='adamm'.*nearest valid value: 'adam'"),
        (["optimizer.name=rmspro"], r"nearest valid value: 'rmsprop'"),
        (["optimizer.name=adamw", "optimizer.options.b3=0.9"], r"options.b3=0.9.*'b[12]'"),
        (
            ["optimizer.name=adamw", "optimizer.options.weight_decay=1"],
            r"options\.weight_decay=1: follows from optimizer\.weight_decay",
        ),
        (
            ["optimizer.name=adamw", "optimizer.options.learning_rate=1"],
            r"options\.learning_rate=1: follows from optimizer\.learning_rate",
        ),
        (["optimizer.name=adam", "optimizer.options.b1=high"], "cannot train here with b1='high'"),
        (["optimizer.name=adamw"], r"optimizer.decay='coupled'.*nearest valid value: 'decoupled'"),
        (["optimizer.name=lion"], r"optimizer.decay='coupled'.*nearest valid value: 'decoupled'"),
        (["optimizer.name=lbfgs"], "cannot train here"),
        (
            ["optimizer.name=noisy_sgd"],
            r"optimizer\.name='noisy_sgd': must be sgd, rmsprop or",
        ),
        (["optimizer.options.nesterov=true"], "sgd takes none"),
    ],
)
def test_what_cannot_optimize_is_refused_by_its_name(words, message):
    with pytest.raises(InputError, match=message) as error:
        require_optimizer(resolve(overrides=words).optimizer, sharded=False)
    assert "\n" not in str(error.value)


def test_an_optimizer_of_whole_arrays_is_not_shared_out():
    with pytest.raises(InputError, match=r"train.shard_optimizer=True.*lamb"):
        require_optimizer(OptimizerConfig(name="lamb"), sharded=True)
    require_optimizer(OptimizerConfig(name="adam"), sharded=True)
