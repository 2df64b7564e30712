"""The network as built: sizes, options, precision, and use as an ordinary module."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from xception_jax.errors import InputError
from xception_jax.models import (
    SeparableConv,
    create_model,
    functionalize,
    list_models,
    model_function,
)
from xception_jax.models.layers import Conv
from xception_jax.models.xception import Xception


def count(leaves) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in leaves)


def test_xception_is_the_papers():
    function = model_function("xception")
    assert count(function.parameters) == 22_855_952  # table 3
    assert count(function.parameters) + count(function.batch_stats) == 22_910_480


def test_xception_has_36_convolution_layers_in_14_modules():
    model = model_function("xception").abstract()
    modules = [*model.entry, *model.middle, *model.exit]
    assert 1 + len(modules) == 14  # the stem is the first
    assert all(isinstance(conv, Conv) for conv in model.stem)
    convolutions = [conv for module in modules for conv in module.convolutions]
    assert all(isinstance(conv, SeparableConv) for conv in convolutions)
    assert len(model.stem) + len(convolutions) == 36
    with_residual = [hasattr(m, "projection") or m.shortcut == "identity" for m in modules]
    assert with_residual == [True] * 12 + [False]  # all but the first and the last of 14


def test_initial_values_of_a_model_have_names_of_their_own():
    """Two paths with one hash and one shape would be drawn alike."""
    for name in list_models():
        function = model_function(name)
        paths = [leaf.path for leaf in (*function.parameters, *function.batch_stats)]
        assert len({zlib.crc32(path.encode()) for path in paths}) == len(paths)


# What each variant has, in parameters (10 classes); a change here changes every result.
PARAMETERS = [
    ("xception", {}, 20_827_442),
    ("xception", {"middle_modules": 0}, 7_915_634),
    ("xception", {"residual": False}, 19_850_370),
    ("xception_small", {}, 1_887_978),
    ("xception_small", {"segments": 1}, 14_708_010),
    ("xception_small", {"segments": 8, "order": "pointwise_first"}, 4_109_610),
    ("xception_tiny", {}, 102_874),
    ("xception_tiny", {"order": "pointwise_first"}, 104_314),
    ("xception_tiny", {"width": 0.5}, 28_786),
    ("xception_tiny", {"middle_modules": 0}, 74_074),
    ("xception_tiny", {"residual": False}, 94_362),
    ("xception_tiny", {"fully_connected": (50, 20)}, 111_824),
    ("xception_tiny", {"in_channels": 1, "kernel_size": 5}, 115_898),
    ("xception_tiny", {"intermediate_norm": True}, 104_538),
]


@pytest.mark.parametrize(("name", "settings", "parameters"), PARAMETERS)
def test_parameters_of_the_variants(name, settings, parameters):
    assert count(model_function(name, num_classes=10, **settings).parameters) == parameters


@pytest.mark.parametrize(
    "size", [28, *(pytest.param(size, marks=pytest.mark.slow) for size in (32, 64))]
)
@pytest.mark.parametrize(
    ("name", "settings"), [(n, s) for n, s, _ in PARAMETERS if n != "xception"]
)
def test_variants_make_logits_of_small_images(name, settings, size):
    function = model_function(name, num_classes=10, **settings)
    parameters, batch_stats = function.shapes()
    images = jax.ShapeDtypeStruct((3, size, size, settings.get("in_channels", 3)), jnp.float32)
    for train in (False, True):
        logits, new = jax.eval_shape(
            lambda p, s, x, train=train: function.apply(p, s, x, train=train),
            parameters,
            batch_stats,
            images,
        )
        assert (logits.shape, logits.dtype) == ((3, 10), jnp.float32)
        assert new.keys() == batch_stats.keys()


def test_a_model_is_used_directly_and_tracks_its_statistics_in_training(rng):
    model = create_model("xception_tiny", num_classes=5, middle_modules=0, rngs=nnx.Rngs(1))
    assert isinstance(model, Xception)
    images = jnp.asarray(rng.normal(size=(4, 28, 28, 3)), jnp.float32)
    before = np.asarray(model.stem_norms[0].mean[...])
    evaluated = model(images, train=False)
    np.testing.assert_array_equal(model.stem_norms[0].mean[...], before)
    model(images, train=True)
    features = np.asarray(model.stem[0](images), np.float64).reshape(-1, 16)
    # Keras: momentum 0.99, biased variance; 784 numbers of size 1 at float32.
    np.testing.assert_allclose(
        model.stem_norms[0].mean[...], 0.99 * before + 0.01 * features.mean(0), atol=1e-7
    )
    np.testing.assert_allclose(
        model.stem_norms[0].variance[...], 0.99 + 0.01 * features.var(0), rtol=1e-6
    )
    assert np.any(np.asarray(model(images, train=False)) != np.asarray(evaluated))


def test_bfloat16_keeps_parameters_statistics_and_logits_in_float32(rng):
    images = jnp.asarray(rng.normal(size=(8, 32, 32, 3)), jnp.float32)
    runs = {}
    for dtype in ("float32", "bfloat16"):
        function, parameters, batch_stats = functionalize(
            create_model("xception_tiny", num_classes=5, dtype=dtype, middle_modules=0)
        )
        step = jax.jit(function.apply, static_argnames="train")
        logits, new = step(parameters, batch_stats, images, train=True)
        kinds = {v.dtype for v in (*parameters.values(), *new.values(), logits)}
        assert kinds == {jnp.dtype("float32")}
        runs[dtype] = np.asarray(logits), new
    (right, right_new), (logits, new) = runs["float32"], runs["bfloat16"]
    # Some 9 layers that each round to 8 bits (4e-3), adding up as a random walk.
    assert np.linalg.norm(logits - right) / np.linalg.norm(right) < 0.05
    first = "stem_norms/0/variance"
    # What the batch adds, a hundredth of its variance; rounded to 8 bits (4e-3) a few times.
    np.testing.assert_allclose(new[first] - 0.99, right_new[first] - 0.99, rtol=2e-2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "xceptoin"}, "model.name='xceptoin'.*'xception'"),
        ({"segments": 16}, "model.segments=16: must divide 8 .*nearest valid value: 8"),
        ({"segments": 5, "order": "pointwise_first"}, "must divide 8 .*nearest valid value: 4"),
        ({"width": 0}, "model.width=0"),
        ({"width": float("nan")}, "model.width"),
        ({"middle_modules": -1}, "model.middle_modules=-1"),
        ({"middle_modules": 1.5}, "model.middle_modules=1.5"),
        ({"dropout": 1.0}, "model.dropout=1.0"),
        ({"num_classes": 0}, "model.num_classes=0"),
        ({"fully_connected": (10, 0)}, "model.fully_connected=0"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        create_model(**({"name": "xception"} | settings))


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        ((1, 6, 9, 3), InputError, "data.image_size=6.*nearest valid value: 7"),
        ((1, 28, 28, 1), ValueError, r"images must have 3 channels; .*\(1, 28, 28, 1\)"),
        ((28, 28, 3), ValueError, r"images must be \[batch.*\(28, 28, 3\)"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_wrong_images_are_named(shape, error, message):
    function = model_function("xception", num_classes=2)
    parameters, batch_stats = function.shapes()
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    with pytest.raises(error, match=message):
        jax.eval_shape(
            lambda p, s, x: function.apply(p, s, x, train=False), parameters, batch_stats, images
        )


def test_the_smallest_image_the_error_names_is_one_the_model_takes():
    function = model_function("xception", num_classes=2)
    parameters, batch_stats = function.shapes()
    images = jax.ShapeDtypeStruct((1, 7, 7, 3), jnp.float32)
    logits, _ = jax.eval_shape(
        lambda p, s, x: function.apply(p, s, x, train=False), parameters, batch_stats, images
    )
    assert logits.shape == (1, 2)
