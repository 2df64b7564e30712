"""The modules of the paper's figures 1 to 4, separable towers, whole Inceptions and AlexNets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from xception_jax.config import ModelConfig, NormConfig
from xception_jax.errors import InputError
from xception_jax.models import SeparableConv, create_model, functionalize, model_function
from xception_jax.models.inception import (
    canonical_towers,
    extreme_module,
    segmented_module,
    simplified_towers,
)
from xception_jax.models.layers import Conv
from xception_jax.models.pooling import average_pool, pool_to_grid
from xception_jax.models.tower_network import ConvUnit, TowerModule

NORM = NormConfig(scale=False)


def spec(**changes) -> ModelConfig:
    return ModelConfig(**{"num_classes": 5} | changes)


def total(parts) -> int:
    return sum(int(np.prod(part.shape)) for part in parts)


def carried(values: dict, segments: int) -> dict:
    """Arrays of `simplified_towers`, beside each other along their channels: those of figure 3."""
    names = {
        "0/convolution/kernel": "convolution/pointwise_kernel",
        "1/convolution/kernel": "convolution/spatial_kernel",
        "0/norm": "convolution/intermediate_norm",
        "1/norm": "norm",
    }
    joined = {}
    for path in values:
        if path.startswith("towers/0/"):
            rest = path.removeprefix("towers/0/")
            for old, new in names.items():
                rest = rest.replace(old, new) if rest.startswith(old) else rest
            towers = [values[path.replace("/0/", f"/{i}/", 1)] for i in range(segments)]
            joined[rest] = jnp.concatenate(towers, axis=-1)
    return joined


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("segments", [1, pytest.param(3, marks=pytest.mark.slow), 4])
def test_figure_2_written_as_towers_is_figure_3_written_as_segments(segments, train, rng):
    features, widths = 6, 5
    towers, values, batch_stats = functionalize(
        TowerModule(7, simplified_towers(segments, features), spec(), rngs=nnx.Rngs(0))
    )
    segmented, empty, _ = functionalize(
        segmented_module(7, segments * features, segments, NORM, rngs=nnx.Rngs(0))
    )
    values = {p: jnp.asarray(rng.normal(size=v.shape) / 3, jnp.float32) for p, v in values.items()}
    batch_stats = {  # means about 1 would leave ReLU nothing to let through
        p: jnp.asarray(rng.uniform(0.5, 1.5, v.shape) - p.endswith("mean"), jnp.float32)
        for p, v in batch_stats.items()
    }
    moved, moved_statistics = (carried(part, segments) for part in (values, batch_stats))
    assert {p: v.shape for p, v in moved.items()} == {p: v.shape for p, v in empty.items()}
    x = jnp.asarray(rng.normal(size=(3, widths, widths, 7)), jnp.float32)
    weights = jnp.asarray(rng.normal(size=(3, widths, widths, segments * features)), jnp.float32)

    def run(function, values, batch_stats):
        def loss(values, x):
            out, new = function.apply(values, batch_stats, x, train=train)
            return jnp.mean(out * weights), (out, new)

        return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(values, x)

    (gradient, x_gradient), (out, new) = run(towers, values, batch_stats)
    (mine, my_x_gradient), (my_out, my_new) = run(segmented, moved, moved_statistics)
    assert np.std(out) > 0.1  # or there would be nothing to compare
    # Two convolutions of at most 54 products on numbers of size 1, at float32's 6e-8.
    np.testing.assert_allclose(my_out, out, rtol=0, atol=1e-5)
    np.testing.assert_allclose(my_x_gradient, x_gradient, rtol=0, atol=1e-5)
    for ours, right in ((mine, carried(gradient, segments)), (my_new, carried(new, segments))):
        assert ours.keys() == right.keys()
        for path in right:
            np.testing.assert_allclose(ours[path], right[path], rtol=0, atol=1e-5, err_msg=path)


def test_figure_4_is_pointwise_first_with_a_relu_after_both(rng):
    module = extreme_module(3, 6, NORM, rngs=nnx.Rngs(0))
    assert isinstance(module.convolution, SeparableConv)
    assert module.convolution.groups == 6
    x = jnp.asarray(rng.normal(size=(2, 4, 4, 3)), jnp.float32)
    mixed = np.asarray(x, np.float64) @ np.asarray(module.convolution.pointwise_kernel[...])[0, 0]
    inner = np.maximum(mixed / np.sqrt(1 + 1e-3), 0)  # statistics are 0 and 1 at first
    kernel, padded = (
        np.asarray(module.convolution.spatial_kernel[...])[:, :, 0],
        np.zeros((2, 6, 6, 6)),
    )
    padded[:, 1:5, 1:5] = inner
    outer = sum(padded[:, i : i + 4, j : j + 4] * kernel[i, j] for i in range(3) for j in range(3))
    expected = np.maximum(outer / np.sqrt(1 + 1e-3), 0)
    # Sums of 3 and then of 9 terms of size 1, each rounded by 6e-8.
    np.testing.assert_allclose(module(x, False), expected, rtol=0, atol=2e-6)


def test_figure_1_has_four_towers_of_which_one_pools(rng):
    module = TowerModule(3, canonical_towers(4), spec(), rngs=nnx.Rngs(0))
    x = jnp.asarray(rng.normal(size=(2, 5, 6, 3)), jnp.float32)
    out = module(x, False)
    assert out.shape == (2, 5, 6, 16)
    last = module.towers[3][1]
    assert isinstance(last, ConvUnit)
    assert isinstance(last.convolution, Conv)
    kernel = np.asarray(last.convolution.kernel[...], np.float64)[0, 0]
    padded = np.full((2, 7, 8, 3), np.nan)
    padded[:, 1:6, 1:7] = x
    taps = [padded[:, i : i + 5, j : j + 6] for i in range(3) for j in range(3)]
    pooled = np.maximum(np.nanmean(taps, axis=0) @ kernel / np.sqrt(1 + 1e-3), 0)
    # Sums of 9 and then of 3 terms of size 1, each rounded by 6e-8.
    np.testing.assert_allclose(out[..., 12:], pooled, rtol=0, atol=2e-6)
    assert [len(tower) for tower in module.towers] == [1, 2, 3, 2]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_average_pool_leaves_padding_out_of_the_mean(dtype, rng):
    x = jnp.asarray(rng.normal(size=(2, 1, 4, 3)), dtype)
    padded = np.full((2, 3, 6, 3), np.nan)
    padded[:, 1:2, 1:5] = np.asarray(x, np.float64)
    taps = [padded[:, i : i + 1, j : j + 4] for i in range(3) for j in range(3)]
    out = average_pool(x)
    assert out.dtype == x.dtype
    limit = 1e-6 if dtype == "float32" else 1e-2  # rounded to 8 bits once
    np.testing.assert_allclose(np.asarray(out, np.float64), np.nanmean(taps, 0), atol=limit)


@pytest.mark.parametrize(("size", "grid"), [(6, 6), (7, 3), (5, 2), (2, 4), (5, 1)])
def test_a_grid_averages_parts_that_cover_the_image(size, grid, rng):
    x = rng.normal(size=(2, size, size + 1, 3))
    parts = [
        x[
            :,
            i * size // grid : -(-(i + 1) * size // grid),
            j * (size + 1) // grid : -(-(j + 1) * (size + 1) // grid),
        ].mean((1, 2))
        for i in range(grid)
        for j in range(grid)
    ]
    out = pool_to_grid(jnp.asarray(x, jnp.float32), grid)
    # Pixels of size 1 are rounded by 6e-8, and so are the sums of at most 30 of them.
    np.testing.assert_allclose(out, np.concatenate(parts, axis=-1), rtol=0, atol=1e-6)


# -- separable -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["inception_v3", "inception_tiny", "alexnet", "alexnet_tiny"])
def test_separable_replaces_every_spatial_convolution_of_the_modules_and_no_other(name):
    regular, separable = (
        model_function(
            name,
            separable=separable,
            order="pointwise_first",
            intermediate_activation="relu",
            intermediate_norm=True,
        ).abstract()
        for separable in (False, True)
    )
    kinds = {
        keys: module
        for keys, module in nnx.iter_modules(separable)
        if isinstance(module, Conv | SeparableConv)
    }
    before = {k: m for k, m in nnx.iter_modules(regular) if isinstance(m, Conv | SeparableConv)}
    assert kinds.keys() == before.keys()
    for keys, module in kinds.items():
        plain = before[keys]
        assert isinstance(plain, Conv)
        kernel = plain.kernel.shape
        spatial = kernel[:2] != (1, 1) and keys[0] == "modules"
        assert isinstance(module, SeparableConv) == spatial, keys
        if isinstance(module, SeparableConv):
            assert module.spatial_kernel.shape == (*kernel[:2], 1, kernel[3]), keys
            assert module.pointwise_kernel.shape == (1, 1, *kernel[2:]), keys
            assert (module.strides, module.padding) == (before[keys].strides, before[keys].padding)
            assert module.config.intermediate_activation == "relu"
            assert module.intermediate_norm.scale is None
    assert any(isinstance(module, SeparableConv) for module in kinds.values())


@pytest.mark.parametrize("segments", [1, 4, "per_channel"])
def test_a_separable_inception_makes_float32_logits(segments):
    images = jax.ShapeDtypeStruct((2, 75, 75, 3), jnp.float32)
    function = model_function("inception_v3", separable=True, segments=segments, num_classes=7)
    parameters, batch_stats = function.shapes()
    logits, _ = jax.eval_shape(
        lambda p, s, x: function.apply(p, s, x, train=True), parameters, batch_stats, images
    )
    assert (logits.shape, logits.dtype) == ((2, 7), jnp.float32)


def test_segments_that_do_not_divide_name_a_number_that_all_blocks_can_have():
    with pytest.raises(InputError, match=r"segments=5: must divide 16 .*nearest valid value: 4"):
        create_model("inception_v3", separable=True, segments=5)
    assert model_function("inception_v3", segments=5) == model_function("inception_v3")


@pytest.mark.parametrize(
    ("name", "smallest"), [("inception_v3", 75), ("inception_tiny", 1), ("alexnet", 57)]
)
def test_the_smallest_image_is_the_one_the_model_says(name, smallest):
    function = model_function(name, num_classes=2)
    assert function.abstract().smallest_image == smallest
    parameters, batch_stats = function.shapes()

    def logits(size):
        images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
        return jax.eval_shape(
            lambda p, s, x: function.apply(p, s, x, train=False)[0], parameters, batch_stats, images
        )

    assert logits(smallest).shape == (1, 2)
    if smallest > 1:
        with pytest.raises(InputError, match=f"data.image_size={smallest - 1}.*: {smallest}"):
            logits(smallest - 1)


# What each variant has, in parameters (10 classes); a change here changes every result.
PARAMETERS = [
    ("inception_v3", {"num_classes": 1000}, 23_817_352),
    ("inception_v3", {}, 21_788_842),
    ("inception_small", {}, 1_897_770),
    ("inception_tiny", {}, 103_814),
    ("alexnet", {"num_classes": 1000}, 62_378_344),
    ("alexnet", {"num_classes": 1000, "separable": True}, 59_047_624),
    ("alexnet", {"num_classes": 1000, "separable": True, "fully_connected": ()}, 9_633_480),
    ("alexnet_tiny", {}, 147_082),
    ("alexnet_tiny", {"separable": True}, 39_698),
    ("separable_vgg", {"num_classes": 1000}, 2_190_888),
    ("separable_vgg_tiny", {}, 77_290),
]


@pytest.mark.parametrize(("name", "settings", "parameters"), PARAMETERS)
def test_parameters_of_the_variants(name, settings, parameters):
    function = model_function(name, **{"num_classes": 10} | settings)
    assert total(function.parameters) == parameters
