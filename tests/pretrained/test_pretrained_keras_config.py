"""Whole Keras models that prepare their images themselves, with Keras's layers as the oracle."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

from tests.weight_files import assert_equal, read, redraw
from xception_jax.errors import InputError
from xception_jax.models import model_function
from xception_jax.pretrained.files import open_source
from xception_jax.pretrained.importing import import_file, initial_from
from xception_jax.pretrained.keras_config import probabilities_of_head, with_own_preprocessing
from xception_jax.pretrained.keras_layers import read_layers
from xception_jax.pretrained.preprocessing import expected_by

layers = keras.layers

SIZE = 71


@pytest.fixture(scope="module")
def base(module_seed):
    model = keras.applications.Xception(
        weights=None, input_shape=(SIZE, SIZE, 3), classes=4, classifier_activation=None
    )
    redraw(model, np.random.default_rng(module_seed))
    return model


@pytest.fixture(scope="module")
def right(base, tmp_path_factory):
    path = tmp_path_factory.mktemp("right") / "x.weights.h5"
    base.save_weights(path)
    return read(path, model_function("xception", num_classes=4))


def chained(steps, x):
    for step in steps:
        x = step(x)
    return x


def saved(base, path, *preparing):
    inputs = layers.Input((SIZE, SIZE, 3))
    keras.Model(inputs, base(chained(preparing, inputs))).save(path)
    return path


PREPARATIONS = {
    "from 0 to 1": lambda: [layers.Rescaling(1 / 255)],
    "from -1 to 1": lambda: [layers.Rescaling(1 / 127.5, offset=-1)],
    "by channel": lambda: [
        layers.Normalization(mean=[120.0, 110, 100], variance=[3000.0, 3500, 4000])
    ],
    "twice": lambda: [
        layers.Rescaling(1 / 255, offset=0.1),
        layers.RandomFlip(),
        layers.ZeroPadding2D(0),
        layers.Activation("linear"),
        layers.Normalization(mean=0.4, variance=0.05),
    ],
}


@pytest.mark.parametrize(("name", "suffix"), [("twice", ".keras"), ("twice", ".h5")])
def test_a_model_that_scales_its_images_is_fed_what_keras_feeds_it(
    *, base, right, rng, tmp_path, name, suffix
):
    preparing = PREPARATIONS[name]()
    path = saved(base, tmp_path / f"own{suffix}", *preparing)
    weights = import_file(path, model="xception", size=SIZE)
    assert_equal({**weights.parameters, **weights.batch_stats}, right)
    pixels = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    active = [layer for layer in preparing if "Random" not in type(layer).__name__]
    theirs = chained(active, pixels[np.newaxis].astype(np.float32))
    ours = weights.preprocessing(Image.fromarray(pixels))
    # A few float32 operations in another order, each rounded by 6e-8 of its size.
    np.testing.assert_allclose(ours, np.asarray(theirs)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("name", [name for name in PREPARATIONS if name != "twice"])
def test_the_scaling_of_a_model_is_that_of_keras(name, suffix, rng, tmp_path):
    preparing, path = PREPARATIONS[name](), tmp_path / f"x{suffix}"
    found = small(path, before=lambda x: chained(preparing, x))
    prepare = with_own_preprocessing(path, found, expected_by("keras", 8))
    pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
    theirs = np.asarray(chained(preparing, pixels[np.newaxis].astype(np.float32)))[0]
    # A few float32 operations in another order, each rounded by 6e-8 of its size.
    np.testing.assert_allclose(prepare(Image.fromarray(pixels)), theirs, rtol=1e-5, atol=1e-5)


def test_other_ranges_are_not_trained_from_in_silence(base, tmp_path):
    function = model_function("xception", num_classes=4)
    initial_from(saved(base, tmp_path / "usual.keras", layers.Rescaling(1 / 127.5, -1)), function)
    with pytest.raises(InputError, match=r"other\.keras.*scales its images itself"):
        initial_from(saved(base, tmp_path / "other.keras", layers.Rescaling(1 / 255)), function)


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (lambda: layers.Resizing(SIZE, SIZE), r"'resizing\w*' \(Resizing\) is not understood"),
        (layers.Normalization, r"\(Normalization\) has no mean and variance"),
        (lambda: layers.UpSampling2D(1), r"\(UpSampling2D\) is not understood"),
    ],
)
def test_layers_that_are_not_understood_are_named(tmp_path, layer, named):
    path = tmp_path / "own.keras"
    found = small(path, before=layer())
    with pytest.raises(InputError, match=named):
        with_own_preprocessing(path, found, expected_by("keras"))


@pytest.mark.parametrize("name", ["rescaling", "normalization"])
def test_scaling_behind_the_first_convolution_is_named(tmp_path, name):
    """It is not the images that such a layer scales, and nothing here would do it."""
    scaling = {
        "rescaling": layers.Rescaling(0.1),
        "normalization": layers.Normalization(mean=1, variance=4),
    }
    parts = [layers.Input((8, 8, 3)), layers.Conv2D(2, 3), layers.GlobalAveragePooling2D()]
    model = keras.Sequential([*parts, scaling[name], layers.Dense(4)])
    path = tmp_path / "own.keras"
    described = read_layers(path, model.to_json())
    with pytest.raises(InputError, match=rf"{name}\w*' \(\w+\) is not understood"):
        with_own_preprocessing(path, described, expected_by("keras"))


def small(path, before=lambda images: images, after=lambda logits: logits):
    """The layers of a small model with something before its convolution and after its head."""
    parts = [before, layers.Conv2D(2, 3), layers.GlobalAveragePooling2D(), layers.Dense(4), after]
    inputs = layers.Input((8, 8, 3))
    keras.Model(inputs, chained(parts, inputs)).save(path)
    with open_source(path) as opened:
        return opened.layers


def twice(x):
    return layers.Add()([x, x])


ON_IMAGES = {
    "operation Add": lambda x: x + (-127.5),
    "operation Concatenate": lambda x: keras.ops.concatenate([x, x]),
    "Add": twice,
    "ReLU": lambda x: layers.ReLU()(layers.Rescaling(1 / 127.5, -1)(x)),
    "Activation": layers.Activation("relu"),
    "AveragePooling2D": layers.AveragePooling2D(3, strides=1, padding="same"),
    "MaxPooling2D": layers.MaxPooling2D(3, strides=1),
    "ZeroPadding2D": layers.ZeroPadding2D(1),
    "BatchNormalization": layers.BatchNormalization(),
}


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("kind", ON_IMAGES)
def test_layers_of_the_architectures_are_named_before_the_first_convolution(kind, suffix, tmp_path):
    """There they change the images, and nothing here would do it."""
    path = tmp_path / f"x{suffix}"
    found = small(path, before=ON_IMAGES[kind])
    with pytest.raises(InputError, match=rf"its layer '\w+' \({kind}\) is not understood"):
        with_own_preprocessing(path, found, expected_by("keras"))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(
    ("kind", "after"),
    [
        ("operation Add", lambda x: x + 1.0),
        ("operation Softmax", lambda x: keras.ops.softmax(x, axis=0)),
        ("Add", twice),
        ("BatchNormalization", layers.BatchNormalization()),
    ],
)
def test_layers_of_the_architectures_are_named_after_the_head(kind, after, suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    found = small(path, after=after)
    with pytest.raises(InputError, match=rf"its layer '\w+' \({kind}\) is not understood"):
        with_own_preprocessing(path, found, expected_by("keras"))


def test_a_class_of_the_users_own_is_not_taken_for_keras_own(tmp_path):
    own = type("Rescaling", (layers.Rescaling,), {"call": lambda _, inputs: inputs**2})
    path = tmp_path / "x.keras"
    found = small(path, before=own(1.0))
    with pytest.raises(InputError, match=r"\(custom Rescaling\) is not understood"):
        with_own_preprocessing(path, found, expected_by("keras"))


def test_arithmetic_on_images_is_named(base, tmp_path):
    inputs = layers.Input((SIZE, SIZE, 3))
    keras.Model(inputs, base(inputs / 127.5 - 1)).save(tmp_path / "own.keras")
    with pytest.raises(InputError, match="is not understood"):
        import_file(tmp_path / "own.keras", model="xception", size=SIZE)


@pytest.mark.parametrize("text", ["", "[", "{", "nonsense", "[" * 100_000, "[" * 65 + "]" * 65])
def test_a_damaged_configuration_is_named(text, tmp_path):
    with pytest.raises(InputError, match=r"x\.keras.*its configuration"):
        read_layers(tmp_path / "x.keras", text)


def test_files_of_weights_alone_are_prepared_as_documented(tmp_path):
    expected = expected_by("keras")
    assert with_own_preprocessing(tmp_path / "x", None, expected) == expected


def test_sequential_models_of_old_files_list_their_layers_alone(tmp_path):
    """Until Keras 2.2.3 the list was their whole configuration, also of one inside of another."""
    inner = keras.Sequential([layers.Input((8, 8, 3)), layers.Conv2D(2, 3, activation="relu")])
    model = keras.Sequential([layers.Rescaling(1 / 255), inner, layers.Dense(4)])
    model.build((None, 8, 8, 3))
    new = json.loads(model.to_json())

    def as_old(layer):
        config = layer["config"]
        if "layers" in config:
            config = [as_old(inside) for inside in config["layers"]]
        return layer | {"config": config}

    old = as_old(new)
    assert isinstance(old["config"], list)
    path = tmp_path / "x.h5"
    expected = read_layers(path, json.dumps(new))
    assert {"Rescaling", "Conv2D", "Dense"} <= {kind for kind, _ in expected}
    assert read_layers(path, json.dumps(old)) == expected


# -- heads -----------------------------------------------------------------------------------------


def described(*head, body=None):
    """The configuration of a small model as a file of Keras holds it."""
    parts = [layers.Input((8, 8, 3)), layers.Conv2D(2, 3), *([body] if body else [])]
    return keras.Sequential([*parts, layers.GlobalAveragePooling2D(), *head]).to_json()


HEADS = {
    "softmax": (lambda: [layers.Dense(4, activation="softmax")], "softmax"),
    "sigmoid": (lambda: [layers.Dense(4, activation="sigmoid")], "sigmoid"),
    "logits": (lambda: [layers.Dense(4)], "softmax"),
    "a softmax of its own": (lambda: [layers.Dense(4), layers.Softmax()], "softmax"),
    "a sigmoid of its own": (
        lambda: [layers.Dense(4), layers.Dropout(0.1), layers.Activation("sigmoid")],
        "sigmoid",
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_the_activation_of_a_head_is_read_from_the_file(name, tmp_path):
    (head, expected), path = HEADS[name], tmp_path / "x.keras"
    assert probabilities_of_head(path, body := read_layers(path, described(*head()))) == expected
    assert with_own_preprocessing(path, body, expected_by("keras")) == expected_by("keras")


@pytest.mark.parametrize(
    ("head", "named"),
    [
        (lambda: [layers.Dense(4, activation="softplus", name="out")], "'out' ends in softplus"),
        (lambda: [layers.Dense(4, activation=layers.LeakyReLU())], "ends in LeakyReLU"),
        (lambda: [layers.Dense(4), layers.Softmax(axis=0)], "ends in softmax over axis 0"),
        (
            lambda: [layers.Dense(4, activation="sigmoid"), layers.Softmax()],
            "ends in sigmoid and softmax",
        ),
        (list, "lists no Dense layer"),
    ],
)
def test_a_head_that_is_not_understood_is_named(head, named, tmp_path):
    path = tmp_path / "x.keras"
    with pytest.raises(InputError, match=rf"x\.keras.*{named}.*--no-head"):
        probabilities_of_head(path, read_layers(path, described(*head())))


def test_a_function_of_the_users_own_is_not_taken_for_keras_own(tmp_path):
    own = {"module": None, "class_name": "function", "config": "softmax"}
    text = described(layers.Dense(4, activation="softmax"))
    own["registered_name"] = "mine>softmax"
    text = text.replace('"activation": "softmax"', f'"activation": {json.dumps(own)}')
    path = tmp_path / "x.keras"
    with pytest.raises(InputError, match="ends in mine>softmax"):
        probabilities_of_head(path, read_layers(path, text))


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (lambda: layers.Conv2D(2, 3, activation="elu"), "Conv2D.* applies elu"),
        (lambda: layers.ReLU(6.0), "ReLU.* applies relu with limits"),
        (lambda: layers.Dense(2, activation="tanh"), "Dense.* applies tanh"),
        (lambda: layers.Activation("swish"), "Activation.* applies s"),
    ],
)
def test_activations_of_other_architectures_are_named(body, named, tmp_path):
    """Their arrays fit, and the numbers would be others without a word."""
    path = tmp_path / "x.keras"
    parts = read_layers(path, described(layers.Dense(4), body=body()))
    with pytest.raises(InputError, match=rf"\({named}.*the models here have ReLU"):
        with_own_preprocessing(path, parts, expected_by("keras"))


@pytest.mark.parametrize(
    "body", [layers.ZeroPadding2D(0), layers.Conv2D(2, 3, activation="relu")], ids=["pad", "relu"]
)
def test_layers_of_these_architectures_are_understood(body, tmp_path):
    path = tmp_path / "x.keras"
    parts = read_layers(path, described(layers.Dense(4), body=body))
    assert with_own_preprocessing(path, parts, expected_by("keras")) == expected_by("keras")
