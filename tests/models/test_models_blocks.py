"""The separable block against a direct float64 NumPy implementation, and its settings."""

import inspect
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.ops import numpy_oracles as oracle
from xception_jax.config import BlockConfig
from xception_jax.errors import InputError
from xception_jax.models import SeparableConv, create_model
from xception_jax.models.activations import ACTIVATIONS
from xception_jax.models.blocks import build_block

ORDERS = ("depthwise_first", "pointwise_first")
EXACT = {
    "none": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
}


def block(conv: SeparableConv, images: jax.Array, segments: int) -> np.ndarray:
    arrays = images, conv.spatial_kernel[...], conv.pointwise_kernel[...]
    x, spatial_kernel, pointwise_kernel = (np.asarray(a, np.float64) for a in arrays)
    activate, mix = EXACT[conv.config.intermediate_activation], pointwise_kernel[0, 0]
    place = conv.strides, conv.padding
    if conv.config.order == "depthwise_first":
        return activate(oracle.convolution(x, spatial_kernel, *place, segments)) @ mix
    return oracle.convolution(activate(x @ mix), spatial_kernel, *place, segments)


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("segments", [1, 2, "per_channel"])
@pytest.mark.parametrize("activation", sorted(EXACT))
@pytest.mark.parametrize("order", ORDERS)
def test_every_combination_is_that_of_float64_numpy(order, activation, segments, kernel_size, rng):
    conv = SeparableConv(
        4, 6, kernel_size, order=order, intermediate_activation=activation, segments=segments
    )
    channels = 4 if order == "depthwise_first" else 6
    groups = channels if segments == "per_channel" else segments
    assert conv.spatial_kernel.shape == (kernel_size, kernel_size, channels // groups, channels)
    assert conv.pointwise_kernel.shape == (1, 1, 4, 6)
    for kernel in (conv.spatial_kernel, conv.pointwise_kernel):
        kernel[...] = jnp.asarray(rng.normal(size=kernel.shape), jnp.float32)
    x = jnp.asarray(rng.normal(size=(2, 5, 4, 4)), jnp.float32)
    exact = block(conv, x, groups)
    # Up to 150 + 6 products on each of two levels, at float32's 6e-8.
    scale = np.max(np.abs(exact))
    np.testing.assert_allclose(jax.jit(conv)(x), exact, rtol=0, atol=3e-6 * scale)


@st.composite
def blocks(draw) -> tuple[dict, tuple[int, int, int]]:
    """Settings of any block, and (batch, height, width) of images it takes."""
    order, per, segments = (
        draw(st.sampled_from(ORDERS)),
        draw(st.integers(1, 3)),
        draw(st.integers(1, 4)),
    )
    padding = draw(st.sampled_from(["SAME", "VALID", "SYMMETRIC"]))
    kernel = draw(st.sampled_from([1, 3, 5, 7])), draw(st.sampled_from([1, 3, 5, 7]))
    settings = {
        "order": order,
        "segments": draw(st.sampled_from([segments, "per_channel"])),
        "intermediate_activation": draw(st.sampled_from(sorted(EXACT))),
        "kernel_size": kernel,
        "strides": draw(st.integers(1, 4)),
        "padding": padding,
        "depthwise_implementation": draw(st.sampled_from(["lax", "shift"])),
    }
    ends = draw(st.integers(1, 5)), per * segments
    settings["in_features"], settings["out_features"] = (
        ends[::-1] if order == "depthwise_first" else ends
    )
    least = kernel if padding == "VALID" else (1, 1)
    sides = [draw(st.integers(low, 9)) for low in least]
    return settings, (draw(st.integers(1, 2)), *sides)


# Every example compiles a program of its own, which runs once.
@hypothesis.settings(max_examples=10, deadline=None)
@hypothesis.given(blocks(), st.integers(0, 2**32 - 1))
def test_any_kernel_stride_padding_and_shape_is_that_of_float64_numpy(drawn, seed):
    settings, shape = drawn
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        conv = SeparableConv(dtype="float64", **settings)
        for kernel in (conv.spatial_kernel, conv.pointwise_kernel):
            kernel[...] = jnp.asarray(rng.normal(size=kernel.shape), kernel.dtype)
        x = jnp.asarray(rng.normal(size=(*shape, settings["in_features"])))
        out, exact = jax.jit(conv)(x), block(conv, x, conv.groups)
        assert out.shape == exact.shape
        # Up to 147 + 5 products on each of two levels, at float64's 1e-16.
        np.testing.assert_allclose(out, exact, rtol=0, atol=1e-13 * (1 + np.max(np.abs(exact))))


def test_default_block_has_two_parameters_and_keeps_images_without_rngs():
    conv = SeparableConv(3, 8)
    parameters = nnx.to_flat_state(nnx.state(conv, nnx.Param))
    assert sorted(tuple(v.shape) for _, v in parameters) == [(1, 1, 3, 8), (3, 3, 1, 3)]
    assert len(nnx.to_flat_state(nnx.state(conv))) == 2
    assert conv(jnp.ones((2, 7, 5, 3))).shape == (2, 7, 5, 8)


def test_the_signature_names_every_argument_and_its_default():
    parameters = inspect.signature(SeparableConv).parameters
    named = [
        "in_features", "out_features", "kernel_size", "strides", "padding", "config", "rngs",
        "order", "intermediate_activation", "segments",
    ]  # fmt: skip
    assert list(parameters)[: len(named)] == named
    positional = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == ["in_features", "out_features", "kernel_size"]
    defaults = {name: parameters[name].default for name in ("kernel_size", *named[-3:])}
    assert [*defaults.values()] == [3, "depthwise_first", "none", "per_channel"]
    by_position = SeparableConv(4, 6, 5, order="pointwise_first", segments=2, rngs=nnx.Rngs(0))
    by_keyword = SeparableConv(
        in_features=4, out_features=6, kernel_size=5, order="pointwise_first", segments=2
    )
    one, other = (nnx.to_flat_state(nnx.state(c, nnx.Param)) for c in (by_position, by_keyword))
    assert [path for path, _ in one] == [path for path, _ in other]
    for (_, mine), (_, right) in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine[...], right[...])


@pytest.mark.usefixtures("unchecked_types")
def test_sizes_may_be_integers_of_numpy():
    strides: Any = np.int64(2)
    conv = SeparableConv(*np.array([4, 6]), strides=strides, segments=np.int32(2))
    assert conv(jnp.ones((1, 5, 5, 4))).shape == (1, 3, 3, 6)
    assert len(nnx.to_flat_state(nnx.state(conv))) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SeparableConv(4, 6, stride=2), "'stride'; did you mean 'strides'"),
        (lambda: SeparableConv(4, 6, segment=2), "'segment'; did you mean 'segments'"),
        (lambda: create_model("xception_tiny", num_clases=3), "did you mean 'num_classes'"),
    ],
)
def test_an_argument_that_does_not_exist_is_named_with_the_nearest(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_built_from_a_config_it_is_the_same_block():
    config = BlockConfig(
        order="pointwise_first",
        intermediate_activation="elu",
        segments=2,
        kernel_size=5,
        dtype="bfloat16",
    )
    built = build_block(config, 4, 6, rngs=nnx.Rngs(3))
    direct = SeparableConv(
        4,
        6,
        5,
        order="pointwise_first",
        intermediate_activation="elu",
        segments=2,
        dtype="bfloat16",
        rngs=nnx.Rngs(3),
    )
    assert built.config == direct.config == config
    np.testing.assert_array_equal(built.spatial_kernel[...], direct.spatial_kernel[...])


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation_stands_between_the_operations(name, rng):
    conv = SeparableConv(3, 3, 1, intermediate_activation=name)
    conv.spatial_kernel[...] = jnp.ones((1, 1, 1, 3))
    conv.pointwise_kernel[...] = jnp.eye(3)[None, None]
    x = jnp.asarray(rng.normal(size=(1, 2, 2, 3)), jnp.float32)
    expected = x if name == "none" else getattr(jax.nn, name)(x)
    np.testing.assert_allclose(conv(x), expected, rtol=1e-6, atol=1e-6)  # one product with 1


@pytest.mark.parametrize("order", ORDERS)
def test_bfloat16_computes_in_it_and_keeps_float32(order, rng):
    conv = SeparableConv(8, 8, order=order, intermediate_norm=True, dtype="bfloat16")
    x = jnp.asarray(rng.normal(size=(4, 6, 6, 8)), jnp.float32)
    exact = SeparableConv(8, 8, order=order, intermediate_norm=True)
    out, right = conv(x, train=True), exact(x, train=True)
    assert out.dtype == jnp.bfloat16
    assert {v[...].dtype for _, v in nnx.to_flat_state(nnx.state(conv))} == {jnp.dtype("float32")}
    # Four roundings to 8 bits on numbers of size 4 or less, and a sum of 8 of them.
    np.testing.assert_allclose(out.astype(np.float32), right, rtol=0, atol=0.15)
    # What the batch adds, a hundredth of its variance; rounded to 8 bits (4e-3) a few times.
    mine, wanted = (c.intermediate_norm.variance[...] - 0.99 for c in (conv, exact))
    np.testing.assert_allclose(mine, wanted, rtol=2e-2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"order": "pointwise-first"}, "model.order='pointwise-first'.*'pointwise_first'"),
        ({"intermediate_activation": "rellu"}, "intermediate_activation='rellu'.*'relu'"),
        ({"intermediate_activation": "softmax"}, "intermediate_activation='softmax'"),
        ({"segments": 3}, "model.segments=3: must divide 4 .*nearest valid value: (2|4)"),
        ({"segments": 0}, "model.segments=0"),
        ({"segments": True}, "model.segments=True"),
        ({"segments": 2.5}, "model.segments=2.5"),
        ({"segments": "per_chanel"}, "model.segments='per_chanel'.*'per_channel'"),
        ({"kernel_size": 4}, "model.kernel_size=4: must be odd; nearest valid value: 3"),
        ({"kernel_size": 0}, "model.kernel_size=0"),
        ({"dtype": "float16"}, "model.dtype='float16'"),
        ({"depthwise_implementation": "shfit"}, "'shfit'.*'shift'"),
        ({"in_features": 0}, "in_features=0"),
        ({"out_features": 2.5}, "out_features=2.5"),
        ({"kernel_size": (1, 4)}, "model.kernel_size=4: must be odd; nearest valid value: 3"),
        ({"strides": 0}, "strides=0"),
        ({"padding": "SAM"}, "padding='SAM'.*'SAME'"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_wrong_settings_are_named_with_the_nearest_valid_one(settings, message):
    arguments = {"in_features": 4, "out_features": 6} | settings
    with pytest.raises(InputError, match=message) as error:
        SeparableConv(**arguments)
    assert isinstance(error.value, ValueError)


@pytest.mark.parametrize("shape", [(5, 5, 4), (1, 5, 5, 3)])
@pytest.mark.usefixtures("unchecked_types")
def test_wrong_inputs_are_named_with_their_shape(shape):
    with pytest.raises(ValueError, match=rf"x must .*\({', '.join(map(str, shape))}\)"):
        SeparableConv(4, 6)(jnp.ones(shape))
