"""What a Keras model's configuration says and its arrays do not: epsilons, strides, paddings."""

from pathlib import Path

import jax
import keras
import numpy as np
import pytest

from tests.weight_files import redraw
from xception_jax.errors import InputError
from xception_jax.models import model_function
from xception_jax.pretrained.files import Source
from xception_jax.pretrained.importing import import_file, initial_from
from xception_jax.pretrained.keras_config import with_own_preprocessing
from xception_jax.pretrained.keras_layers import read_layers
from xception_jax.pretrained.preprocessing import expected_by
from xception_jax.pretrained.silent_settings import require_same_computation

SIZE = 71
PATH = Path("x.keras")


@pytest.fixture(scope="module")
def published():
    return keras.applications.Xception(
        weights=None, input_shape=(SIZE, SIZE, 3), classes=4, classifier_activation=None
    )


@pytest.fixture(scope="module")
def layers(published):
    return read_layers(PATH, published.to_json())


@pytest.fixture(scope="module")
def model():
    return model_function("xception", num_classes=4).abstract()


def changed(model, kind, **settings):
    """The model with other settings in its layers of one kind."""

    def copied(layer):
        config = layer.get_config()
        if type(layer).__name__ == kind:
            config |= settings
        return type(layer).from_config(config)

    return keras.models.clone_model(model, clone_function=copied)


def source_of(layers):
    def match(*_):
        raise AssertionError("no array is read")

    return Source(PATH, "keras_archive", match, layers)


@pytest.mark.slow
def test_the_epsilon_of_a_file_is_computed_with(published, rng, tmp_path):
    theirs = changed(published, "BatchNormalization", epsilon=0.05)
    redraw(theirs, rng)
    theirs.save(path := tmp_path / "own.keras")
    images = rng.uniform(-1, 1, (2, SIZE, SIZE, 3)).astype(np.float32)
    expected = np.asarray(theirs(images, training=False))

    weights = import_file(path, size=SIZE)
    assert weights.settings["norm_epsilon"] == 0.05
    scale = np.abs(expected).max()
    functions = {
        epsilon: model_function("xception", num_classes=4, norm_epsilon=epsilon)
        for epsilon in (0.05, 1e-3)
    }
    error = {}
    for epsilon, function in functions.items():
        apply = jax.jit(function.apply, static_argnames="train")
        ours, _ = apply(weights.parameters, weights.batch_stats, images, train=False)
        error[epsilon] = np.abs(np.asarray(ours) - expected).max() / scale
    assert error[0.05] < 1e-4
    assert error[1e-3] > 1e-2  # with Keras's default the same arrays compute something else

    initial_from(path, functions[0.05])
    with pytest.raises(InputError, match=r"norm_epsilon.*0\.05"):
        initial_from(path, functions[1e-3])


def assert_computed_by(model, theirs):
    parts = read_layers(PATH, theirs.to_json())
    for part in (parts, parts[:-2]):  # with its top, and as with include_top=False
        assert require_same_computation(source_of(part), model) == {"norm_epsilon": 1e-3}
        expected = expected_by("keras")
        assert with_own_preprocessing(PATH, part, expected) == expected


def test_the_published_xception_is_computed_here(published, model):
    assert_computed_by(model, published)


@pytest.mark.slow
def test_the_published_inception_v3_is_computed_here():
    theirs = keras.applications.InceptionV3(weights=None, input_shape=(75, 75, 3), classes=4)
    assert_computed_by(model_function("inception_v3", num_classes=4).abstract(), theirs)


@pytest.mark.parametrize(
    ("layer", "settings", "named"),
    [
        ("block2_sepconv1_bn", {"epsilon": 1e-5}, "'block2_sepconv1_bn' has"),
        ("block5_sepconv1", {"dilation_rate": 2}, r"is dilated by \(2, 2\)"),
        ("block1_conv1", {"strides": 1}, "convolutions 3x3 with stride 1, valid"),
        ("block1_conv2", {"padding": "same"}, "35 convolutions 3x3 with stride 1, same"),
        ("block1_conv1", {"strides": [2, 1]}, "0 convolutions 3x3 with stride 2, valid"),
        ("block2_pool", {"pool_size": 2}, "1 max-pools 2x2 with stride 2, same"),
        ("block3_pool", {"strides": 1}, "1 max-pools 3x3 with stride 1, same"),
        ("block4_pool", {"padding": "valid"}, "3 max-pools 3x3 with stride 2, same"),
    ],
)
def test_a_model_that_computes_something_else_is_named(layer, settings, named, layers, model):
    parts = [
        (kind, config | settings if config.get("name") == layer else config)
        for kind, config in layers
    ]
    with pytest.raises(InputError, match=rf"x\.keras.*{named}"):
        require_same_computation(source_of(parts), model)


@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [
        ("ZeroPadding2D", {"padding": [[0, 0], [0, 1]]}, r"pads by \[\[0, 0\], \[0, 1\]\]"),
        ("AveragePooling2D", {"pool_size": [3, 3], "padding": "same"}, "pools 3x3 with stride 3"),
    ],
)
def test_layers_without_arrays_are_named_anywhere(kind, settings, named, layers, model):
    parts = [*layers[:9], (kind, settings), *layers[9:]]
    with pytest.raises(InputError, match=named):
        require_same_computation(source_of(parts), model)


@pytest.mark.parametrize("value", [None, "a", [], {}, [1, [2]], float("nan"), True, 10**400])
@pytest.mark.parametrize("name", ["epsilon", "dilation_rate", "strides", "kernel_size"])
def test_settings_of_another_type_are_no_traceback(name, value, layers, model):
    parts = [
        (kind, config | {name: value} if name in config else config) for kind, config in layers
    ]
    with pytest.raises(InputError, match=r"x\.keras"):
        require_same_computation(source_of(parts), model)
