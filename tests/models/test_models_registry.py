"""What holds for all models of the registry: inert settings, small images, training."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from xception_jax.config import resolve
from xception_jax.errors import InputError
from xception_jax.models import (
    create_model,
    list_models,
    model_config,
    model_function,
    unused_settings,
)

# Another value than the default for every setting of create_model.
OTHERS = {
    "num_classes": 5,
    "in_channels": 1,
    "order": "pointwise_first",
    "intermediate_activation": "elu",
    "segments": 1,
    "kernel_size": 5,
    "intermediate_norm": True,
    "squeeze_excite_ratio": 4,
    "residual": False,
    "width": 0.5,
    "middle_modules": 3,
    "separable": True,
    "padding": "torch",
    "fully_connected": (7,),
    "dropout": 0.1,
    "dtype": "bfloat16",
    "depthwise_implementation": "lax",
    "rematerialize": True,
    "norm_momentum": 0.9,
    "norm_epsilon": 1e-5,
    "norm_group_size": 4,
    "axis_name": "data",
    "activation_choices": ("relu", "elu"),
}
SMALL = [name for name in list_models() if name.endswith(("_tiny", "_small"))]


def test_every_setting_is_tried_below():
    assert {*OTHERS, "name", "rngs"} == set(inspect.signature(create_model).parameters)


def test_every_setting_of_the_config_is_one_of_create_model_and_the_other_way_round():
    config = resolve({}).to_dict()["model"]
    of_the_data = {"num_classes", "in_channels", "axis_name", "activation_choices", "rngs"}
    assert {*config} | of_the_data == set(inspect.signature(create_model).parameters)


def test_all_families_are_there():
    families = {name.removesuffix("_tiny").removesuffix("_small") for name in list_models()}
    assert families == {"xception", "inception_v3", "inception", "alexnet", "separable_vgg"}


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("name", ["xception_tiny", "separable_vgg_tiny", "inception_tiny",
                                  "alexnet_tiny"])  # fmt: skip
def test_inert_settings_are_exactly_those_that_change_nothing(name, separable):
    base = model_function(name, separable=separable)
    unchanged = [
        setting
        for setting, value in OTHERS.items()
        if setting != "separable"
        and model_function(name, separable=separable, **{setting: value}) == base
    ]
    others: dict[str, Any] = {
        setting: value for setting, value in OTHERS.items() if setting != "separable"
    }
    others["segments"] = "per_channel"  # with a number of them no convolution is depthwise
    others["width"] = 1.0  # at any other, segments round the numbers of features
    said = unused_settings(model_config(name, separable=separable, **others))
    assert {*said} - {"separable"} == {*unchanged} - {"activation_choices"}  # of packs alone
    assert ("separable" in said) == (model_function(name, separable=not separable) == base)


def test_without_a_depthwise_convolution_its_implementation_changes_nothing():
    settings: dict[str, Any] = {"depthwise_implementation": "lax"}

    def unused(**changes):
        return set(unused_settings(model_config("xception_tiny", **settings, **changes)))

    assert unused(segments=2) - unused() == {*settings}
    # The first block of this one has two channels, so two segments are one each.
    assert unused(segments=2, width=0.05) == unused()


@pytest.mark.parametrize("name", ["alexnet_tiny", "inception_tiny"])
@pytest.mark.parametrize("width", [1.0, 0.5])
def test_segments_change_a_model_without_blocks_where_its_width_is_scaled(name, width):
    """Numbers of features are rounded to multiples of the segments, whatever convolves them."""
    settings: dict[str, Any] = {"separable": False, "width": width}
    models = [model_function(name, **settings, segments=segments) for segments in (1, 8)]
    said = unused_settings(model_config(name, **settings, segments=8))
    assert ("segments" in said) == (models[0] == models[1]) == (width == 1)


def test_inception_v3_pads_nothing_that_has_a_stride():
    assert "padding" in unused_settings(model_config("inception_v3", padding="torch"))
    assert model_function("inception_v3", padding="torch") == model_function("inception_v3")
    with pytest.raises(InputError, match=r"inception_v2.*'inception_v3'"):
        unused_settings(model_config("inception_v2"))


@pytest.mark.parametrize("size", [28, 64])
@pytest.mark.parametrize("padding", ["same", "torch"])
@pytest.mark.parametrize("name", SMALL)
def test_small_models_make_logits_of_small_images(name, padding, size):
    function = model_function(name, num_classes=10, padding=padding, separable=size == 64)
    parameters, batch_stats = jax.eval_shape(function.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((3, size, size, 3), jnp.float32)
    for train in (False, True):
        logits, new = jax.eval_shape(
            lambda p, s, x, train=train: function.apply(p, s, x, train=train),
            parameters,
            batch_stats,
            images,
        )
        assert (logits.shape, logits.dtype) == ((3, 10), jnp.float32)
        assert new.keys() == batch_stats.keys()


@pytest.mark.parametrize(
    ("name", "separable"),
    [
        pytest.param("inception_tiny", True, marks=pytest.mark.slow),
        ("alexnet_tiny", False),
        # Of the modules of xception_tiny, with which all tests train.
        pytest.param("separable_vgg_tiny", False, marks=pytest.mark.slow),
    ],
)
def test_a_step_down_the_gradient_lowers_the_loss(name, separable, rng):
    function = model_function(
        name,
        num_classes=3,
        separable=separable,
        intermediate_activation="elu",
        depthwise_implementation="lax",  # its program is the shortest to compile
    )
    parameters, batch_stats = function.init(jax.random.key(int(rng.integers(2**31))))
    images = jnp.asarray(rng.normal(size=(6, 28, 28, 3)), jnp.float32)
    labels = jnp.asarray([0, 1, 2] * 2)

    @jax.jit
    def step(parameters):
        def loss(parameters):
            logits, _ = function.apply(parameters, batch_stats, images, train=True)
            return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(6), labels])

        value, gradient = jax.value_and_grad(loss)(parameters)
        norm = jnp.sqrt(sum(jnp.sum(g * g) for g in gradient.values()))
        size = 1e-3 / norm  # a step of length 1e-3 lowers it by 1e-3 times the slope
        return value, norm, gradient, {p: v - size * gradient[p] for p, v in parameters.items()}

    before, norm, gradient, moved = step(parameters)
    after = step(moved)[0]
    assert all(np.any(np.asarray(g) != 0) for g in gradient.values())
    # Curvature and the kinks of ReLU take some of it.
    assert 0.5 < float((before - after) / (1e-3 * norm)) < 1.5


@pytest.mark.usefixtures("unchecked_types")
def test_wrong_padding_is_named():
    with pytest.raises(InputError, match=r"model.padding='tourch'.*'torch'"):
        create_model("xception_tiny", padding="tourch", rngs=nnx.Rngs(0))
