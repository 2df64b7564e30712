"""Models as pure functions: pairing of seeds, dropout, transformations, modules of others."""

import zlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from xception_jax import ops
from xception_jax.config.model import NormConfig
from xception_jax.models import create_model, functionalize, model_function
from xception_jax.models.layers import KERNEL_INITIALIZER, BatchNorm, dropout

SETTINGS = [
    {},
    {"order": "pointwise_first"},
    {"intermediate_activation": "elu"},
    {"segments": 2},
    {"residual": False},
    {"middle_modules": 1},
    {"intermediate_norm": True},
    {"dtype": "bfloat16"},
    {"num_classes": 7},
]


def tiny(**settings):
    return model_function("xception_tiny", **({"num_classes": 5} | settings))


@pytest.mark.parametrize("settings", SETTINGS)
def test_models_of_one_seed_share_every_value_whose_path_and_shape_they_share(settings):
    (base, base_statistics), (other, other_statistics) = (
        function.init(jax.random.key(3)) for function in (tiny(), tiny(**settings))
    )
    shared = {p for p in base if p in other and base[p].shape == other[p].shape}
    assert len(shared) > len(base) / 3
    for path in shared:
        np.testing.assert_array_equal(base[path], other[path], err_msg=path)
    for path in base_statistics.keys() & other_statistics.keys():
        if base_statistics[path].shape == other_statistics[path].shape:
            np.testing.assert_array_equal(base_statistics[path], other_statistics[path])


def test_another_seed_differs_in_every_kernel():
    one, other = (tiny().init(jax.random.key(seed))[0] for seed in (0, 1))
    for path in one:
        if path.endswith("kernel"):
            assert np.all(np.asarray(one[path]) != np.asarray(other[path])), path


def test_kernels_of_one_model_and_shape_differ_from_each_other():
    parameters, _ = tiny().init(jax.random.key(0))
    kernels = [v for p, v in parameters.items() if p.endswith("kernel")]
    assert len({np.asarray(k).tobytes() for k in kernels}) == len(kernels)


def test_created_model_is_that_of_its_key():
    model = create_model("xception_tiny", num_classes=5, rngs=nnx.Rngs(11))
    function, parameters, batch_stats = functionalize(model)
    assert function == tiny()
    assert hash(function) == hash(tiny())
    drawn, drawn_statistics = function.init(nnx.Rngs(11).params())
    for path, value in (parameters | batch_stats).items():
        np.testing.assert_array_equal(value, (drawn | drawn_statistics)[path])


def test_values_drawn_in_a_loop_are_those_drawn_alone():
    function, key = tiny(), jax.random.key(4)
    parameters, _ = function.init(key)
    for leaf in function.parameters:
        of_path = jax.random.fold_in(key, np.uint32(zlib.crc32(leaf.path.encode())))
        alone = jax.jit(leaf.initializer, static_argnums=(1, 2))(of_path, leaf.shape, leaf.dtype)
        np.testing.assert_array_equal(parameters[leaf.path], alone, err_msg=leaf.path)


def test_variance_of_kernels_is_one_over_fan_in():
    parameters, _ = tiny().init(jax.random.key(5))
    kernel = np.asarray(parameters["exit/1/convolutions/1/pointwise_kernel"])
    assert kernel.shape == (1, 1, 128, 192)
    # 24,576 draws: the standard error of their variance is 1%.
    np.testing.assert_allclose(kernel.var() * 128, 1, rtol=0.06)


# -- transformations -------------------------------------------------------------------------------


@pytest.fixture
def parts(rng):
    function = tiny(middle_modules=0)
    parameters, batch_stats = function.init(jax.random.key(int(rng.integers(2**31))))
    images = jnp.asarray(rng.normal(size=(4, 16, 16, 3)), jnp.float32)
    return function, parameters, batch_stats, images


def test_apply_is_pure_inside_grad_jit_and_vmap(parts):
    function, parameters, batch_stats, images = parts
    before = {path: np.asarray(value).copy() for path, value in (parameters | batch_stats).items()}

    def step(parameters, batch_stats, images):
        def loss(parameters):
            logits, new = function.apply(parameters, batch_stats, images, train=True)
            return jnp.mean(logits**2), new

        return jax.value_and_grad(loss, has_aux=True)(parameters)

    with jax.checking_leaks():
        (loss, new), gradients = jax.jit(step)(parameters, batch_stats, images)
    twice = jax.tree.map(lambda a: jnp.stack([a, a]), (parameters, batch_stats, images))
    (losses, news), many = jax.jit(jax.vmap(step))(*twice)
    # The same sums in another order: float32 through 6 layers and their normalizations.
    np.testing.assert_allclose(losses, [loss, loss], rtol=1e-3)
    largest = max(float(jnp.max(jnp.abs(g))) for g in gradients.values())
    for path, gradient in gradients.items():
        for member in many[path]:
            np.testing.assert_allclose(member, gradient, rtol=0, atol=1e-3 * largest)
    for path in new:
        np.testing.assert_allclose(news[path][0], new[path], rtol=1e-4, atol=1e-5)
    for path, value in (parameters | batch_stats).items():
        np.testing.assert_array_equal(value, before[path])
    evaluated = jax.jit(partial(function.apply, train=False))
    _, unchanged = evaluated(parameters, batch_stats, images)
    for path, value in unchanged.items():
        np.testing.assert_array_equal(value, before[path])


@pytest.mark.slow
def test_gradient_agrees_with_a_difference_quotient_in_float64(rng):
    with jax.enable_x64(True):
        function = tiny(dtype="float64", intermediate_activation="elu", middle_modules=0)
        key = jax.random.key(int(rng.integers(2**31)))
        parameters, batch_stats = jax.tree.map(lambda a: a.astype("float64"), function.init(key))
        images = jnp.asarray(rng.normal(size=(3, 16, 16, 3)))
        direction = {p: jnp.asarray(rng.normal(size=v.shape)) for p, v in parameters.items()}

        @jax.jit
        def loss(parameters):
            logits, _ = function.apply(parameters, batch_stats, images, train=True)
            return jnp.sum(jnp.sin(logits))

        gradient = jax.grad(loss)(parameters)
        slope = sum(jnp.vdot(gradient[p], direction[p]) for p in parameters)
        steps = []
        for size in (1e-7, -1e-7):
            moved = jax.tree.map(lambda v, d, size=size: v + size * d, parameters, direction)
            steps.append(loss(moved))
        # A step of 1e-7: the quotient is good to about 1e-16 / 1e-7, and crosses few ReLU kinks.
        np.testing.assert_allclose((steps[0] - steps[1]) / 2e-7, slope, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("change", ["missing", "surplus", "reshaped"])
def test_values_of_another_model_are_listed(parts, change):
    function, parameters, batch_stats, images = parts
    wrong = dict(parameters)
    if change == "missing":
        del wrong["classifier/bias"]
    elif change == "surplus":
        wrong["classifier/offset"] = jnp.zeros(5)
    else:
        wrong["classifier/bias"] = jnp.zeros(6)
    word = {"missing": "missing", "surplus": "surplus", "reshaped": "of another shape"}[change]
    with pytest.raises(ValueError, match=rf"parameters .*{word}: classifier/(bias|offset)"):
        function.apply(wrong, batch_stats, images, train=False)


# -- dropout ---------------------------------------------------------------------------------------


def test_dropout_drops_at_its_rate_and_keeps_the_mean(rng):
    keys = jax.random.split(jax.random.key(int(rng.integers(2**31))), 100)
    x = jnp.ones((100, 1000))
    dropped = np.asarray(dropout(x, 0.3, keys))
    assert set(np.unique(dropped)) == {np.float32(0), np.float32(1 / 0.7)}
    # 100,000 draws: the standard error of the share is 0.0015.
    assert abs(np.mean(dropped == 0) - 0.3) < 0.01
    assert len({row.tobytes() for row in dropped}) == 100  # every example its own
    np.testing.assert_array_equal(dropout(x, 0.3, None), x)
    np.testing.assert_array_equal(dropout(x, 0.0, keys), x)


def test_what_is_dropped_does_not_depend_on_the_split_of_the_batch(rng):
    keys = jax.random.split(jax.random.key(int(rng.integers(2**31))), 6)
    x = jnp.asarray(rng.normal(size=(6, 50)), jnp.float32)
    parts = [dropout(x[i : i + 2], 0.5, keys[i : i + 2]) for i in (0, 2, 4)]
    np.testing.assert_array_equal(dropout(x, 0.5, keys), jnp.concatenate(parts))


def test_a_model_drops_in_training_with_keys_only(parts):
    function, parameters, batch_stats, images = parts
    keys = jax.random.split(jax.random.key(0), len(images))
    runs = {
        (train, given is not None): np.asarray(
            function.apply(parameters, batch_stats, images, train=train, dropout_keys=given)[0]
        )
        for train in (False, True)
        for given in (None, keys)
    }
    np.testing.assert_array_equal(runs[False, True], runs[False, False])
    assert np.any(runs[True, True] != runs[True, False])


# -- modules of others -----------------------------------------------------------------------------


class Theirs(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, initializer=None, random: bool = False) -> None:
        kernel = jnp.ones((3, 4))
        metadata = {} if initializer is None else {"initializer": initializer}
        self.layers = nnx.Dict({"1": nnx.Linear(4, 2, rngs=rngs)})
        self.kernel = nnx.Param(kernel, **metadata)
        if random:
            self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, images, train):
        x = jnp.mean(images, axis=(1, 2)) @ self.kernel[...]
        return self.layers["1"](x)


def test_a_module_of_another_maker_is_applied():
    model, images = Theirs(nnx.Rngs(0)), jnp.ones((2, 4, 4, 3))
    function, parameters, batch_stats = functionalize(model)
    assert sorted(parameters) == ["kernel", "layers/1/bias", "layers/1/kernel"]
    logits, _ = jax.jit(function.apply, static_argnames="train")(
        parameters, batch_stats, images, train=True
    )
    # Compiled and operation by operation: sums of at most 16 terms, each rounded by 6e-8.
    np.testing.assert_allclose(logits, model(images, True), rtol=1e-6)
    with pytest.raises(ValueError, match=r"(kernel|bias) does not say how it is drawn"):
        function.init(jax.random.key(0))


class Normed(nnx.Module):
    """Batch normalization of ours and of flax, which does not say its momentum in its variables."""

    def __init__(self) -> None:
        self.ours = BatchNorm(3, NormConfig(momentum=0.75), rngs=nnx.Rngs(0))
        self.theirs = nnx.BatchNorm(3, momentum=0.75, rngs=nnx.Rngs(0))

    def __call__(self, images, train):
        return self.theirs(self.ours(images, train), use_running_average=not train).mean((1, 2))


def test_statistics_of_a_batch_and_what_the_moving_ones_become(rng):
    """From (2, 3), say, at momentum 0.75; a module of others is taken at its word."""
    function, parameters, batch_stats = functionalize(Normed())
    before = {path: value + 2 for path, value in batch_stats.items()}
    images = jnp.float32(rng.normal(1, 2, size=(8, 4, 4, 3)))
    logits, current = function.apply_in_training(parameters, before, images)
    expected, after = function.apply(parameters, before, images, train=True)
    np.testing.assert_array_equal(logits, expected)
    wide = np.asarray(images, np.float64)
    batch = {"ours/mean": wide.mean((0, 1, 2)), "ours/variance": wide.var((0, 1, 2))}
    moved = function.move_stats(before, current)
    assert moved.keys() == after.keys() == current.keys()
    for path, value in after.items():
        # Sums of 128 float32 numbers, in another order than NumPy's.
        np.testing.assert_allclose(current[path], batch.get(path, value), rtol=1e-5, err_msg=path)
        np.testing.assert_allclose(moved[path], value, rtol=1e-6, err_msg=path)


def test_a_module_with_a_random_state_of_its_own_is_refused():
    with pytest.raises(ValueError, match="dropout/rngs"):
        functionalize(Theirs(nnx.Rngs(0), KERNEL_INITIALIZER, random=True))


def test_forward_mode_differentiation_needs_the_references(rng):
    function = tiny(middle_modules=0)
    parameters, statistics = function.init(jax.random.key(0))
    images = jnp.asarray(rng.normal(size=(2, 28, 28, 3)), jnp.float32)
    direction = {p: jnp.asarray(rng.normal(size=v.shape), v.dtype) for p, v in parameters.items()}

    def loss(parameters):
        return jnp.sum(jnp.sin(function.apply(parameters, statistics, images, train=False)[0]))

    def slope(parameters, direction):
        return jax.jvp(loss, (parameters,), (direction,))[1]

    with pytest.raises(TypeError, match="forward-mode"):
        slope(parameters, direction)
    with ops.references_only():
        forward = jax.jit(slope)(parameters, direction)
    gradient = jax.jit(jax.grad(loss))(parameters)
    terms = [float(jnp.sum(gradient[p] * direction[p])) for p in parameters]
    # Sums of up to ten thousand terms of both signs, through 15 layers at float32.
    assert abs(forward - sum(terms)) <= 1e-3 * np.linalg.norm(terms)
