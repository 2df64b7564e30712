"""Keras as the oracle: its files are read correctly, and it reads the files that we write."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import jax
import keras
import numpy as np
import pytest

from tests.weight_files import assert_equal, random_model, read, redraw, values_of
from xception_jax.errors import InputError
from xception_jax.models import model_function
from xception_jax.pretrained import load_weights, save_keras_weights

CLASSES, SIZE = 10, 71


@dataclass
class Certified:
    """Keras's Xception with random values, its logits for some images, and its saved files."""

    keras: Any
    images: np.ndarray
    logits: np.ndarray
    files: dict[str, Path]


def keras_xception() -> Any:
    return keras.applications.Xception(
        weights=None,
        input_shape=(SIZE, SIZE, 3),
        classes=CLASSES,
        classifier_activation=None,
    )


def logits_of(model: Any, images: np.ndarray) -> np.ndarray:
    trainable = [variable.value for variable in model.trainable_variables]
    rest = [variable.value for variable in model.non_trainable_variables]
    call = jax.jit(lambda t, r, x: model.stateless_call(t, r, x, training=False)[0])
    return np.asarray(call(trainable, rest, images))


def assert_same_logits(ours: np.ndarray, theirs: np.ndarray) -> None:
    error, spread = np.max(np.abs(ours - theirs)), np.std(theirs[0] - theirs[1])
    size = np.max(np.abs(theirs))
    print(f"max abs error {error:.3g} of logits of size {size:.3g}; images differ by {spread:.3g}")
    assert spread > 2e-4 * size, "the images must make a difference"
    # float32's rounding of 6e-8 through 36 layers, or through Inception's 47.
    assert error < 1e-5 * size


@pytest.fixture(scope="module")
def certified(module_seed, tmp_path_factory) -> Certified:
    model, rng = keras_xception(), np.random.default_rng(module_seed)
    redraw(model, rng)
    images = rng.uniform(-1, 1, (2, SIZE, SIZE, 3)).astype(np.float32)
    directory = tmp_path_factory.mktemp("keras")
    files = {
        "keras": directory / "x.weights.h5",
        "keras_archive": directory / "x.keras",
        "keras_legacy": directory / "x.h5",
    }
    model.save_weights(files["keras"])
    model.save(files["keras_archive"])
    model.save(files["keras_legacy"])
    return Certified(model, images, logits_of(model, images), files)


@pytest.fixture(scope="module")
def function():
    return model_function("xception", num_classes=CLASSES)


@pytest.fixture(scope="module")
def right(certified, function) -> dict[str, Any]:
    """All values read from `.weights.h5`; another test certifies them by their logits."""
    return read(certified.files["keras"], function)


def test_the_values_of_a_weights_file_give_keras_logits(certified, function, right):
    parameters = {leaf.path: right[leaf.path] for leaf in function.parameters}
    batch_stats = {leaf.path: right[leaf.path] for leaf in function.batch_stats}
    logits, _ = jax.jit(function.apply, static_argnames="train")(
        parameters, batch_stats, certified.images, train=False
    )
    assert_same_logits(np.asarray(logits), certified.logits)


@pytest.mark.parametrize("kind", ["keras_archive", "keras_legacy"])
def test_whole_model_files_hold_the_same_values(certified, function, right, kind):
    assert_equal(read(certified.files[kind], function), right)


def test_load_weights_changes_the_model_in_place_and_keras_reads_what_it_saves(
    certified, right, rng, tmp_path
):
    model = random_model(rng, width=1, middle_modules=8, num_classes=CLASSES)
    load_weights(model, certified.files["keras_legacy"], source="keras_legacy")
    assert_equal(values_of(model), right)
    path = tmp_path / "ours.weights.h5"
    save_keras_weights(model, path)
    before = certified.keras.get_weights()
    certified.keras.set_weights([np.zeros_like(value) for value in before])
    certified.keras.load_weights(path)
    for variable, value in zip(certified.keras.weights, before, strict=True):
        assert np.array_equal(variable.value, value), variable.path
    assert list(tmp_path.iterdir()) == [path], "no temporary file is left"


# -- files as older versions of Keras wrote them ---------------------------------------------------


def keras_1_weight(layer: str, variable: str) -> str:
    names = {
        "kernel": "W",
        "bias": "b",
        "moving_mean": "running_mean",
        "moving_variance": "running_std",
    }
    return f"{layer}_{names.get(variable, variable)}:0"


def keras_2_weight(layer: str, variable: str) -> str:
    return f"{layer}/{variable}:0"


def meaningless_weight(layer: str, variable: str) -> str:
    order = ("gamma", "beta", "moving_mean")  # without a telling name, the position counts
    return f"{layer}/param_{order.index(variable) if variable in order else 3}_{variable[0]}"


def write_legacy(
    path: Path,
    model: Any,
    rename: Callable[[str], str],
    weight_name: Callable[[str, str], str],
    *,
    root: str = "",
    head: bool = True,
) -> None:
    """Writes the layout of the published files: names in attributes, as fixed-length bytes."""
    with h5py.File(path, "w") as file:
        top = file.create_group(root) if root else file
        layers = [layer for layer in model.layers if head or layer.name != "predictions"]
        top.attrs["layer_names"] = [rename(layer.name).encode() for layer in layers]
        for layer in layers:
            group = top.create_group(rename(layer.name))
            names = [weight_name(rename(layer.name), weight.name) for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = np.asarray(weight.value)


def numbered_from(first: int, convolution: str, norm: str) -> Callable[[str], str]:
    """A renaming of Keras's generated names that counts them from another number."""

    def rename(name: str) -> str:
        for theirs, old in (("conv2d", convolution), ("batch_normalization", norm)):
            if name == theirs or name.startswith(f"{theirs}_"):
                number = int(name.removeprefix(theirs).lstrip("_") or 0) + first
                return f"{old}_{number}" if number else old
        return name

    return rename


@pytest.mark.parametrize(
    ("old", "weight_name"),
    [
        ((1, "convolution2d", "batchnormalization"), keras_1_weight),
        ((8, "conv2d", "batch_normalization"), keras_2_weight),  # 8 to 11: as text out of order
        ((0, "conv2d", "batch_normalization_v1"), keras_2_weight),
        ((40, "conv2d", "batch_normalization"), meaningless_weight),
    ],
)
def test_the_layout_of_the_published_files(certified, right, tmp_path, old, weight_name):
    path = tmp_path / "old.h5"
    write_legacy(path, certified.keras, numbered_from(*old), weight_name)
    assert_equal(read(path, model_function("xception", num_classes=CLASSES)), right)


def test_a_file_without_a_classifier_is_read_when_asked_for(certified, function, right, tmp_path):
    path = tmp_path / "notop.h5"
    rename = numbered_from(1, "conv2d", "batch_normalization")
    write_legacy(path, certified.keras, rename, keras_2_weight, head=False)
    with pytest.raises(
        InputError, match=r"missing: classifier/bias .*classifier/kernel.*head=False"
    ):
        read(path, function)
    body = {name: value for name, value in right.items() if not name.startswith("classifier/")}
    assert_equal(read(path, function, head=False), body)
    assert_equal(read(certified.files["keras"], function, head=False), body)


def test_files_that_number_layers_by_class_only(certified, function, right, tmp_path):
    """The first versions of Keras 3 stored no names of layers at all."""
    path = tmp_path / "nameless.weights.h5"
    path.write_bytes(certified.files["keras"].read_bytes())
    with h5py.File(path, "a") as file:
        file.visititems(lambda _, item: item.attrs.pop("name", None) and None)
    assert_equal(read(path, function), right)


@pytest.mark.slow
def test_ones_own_classifier_and_trained_optimizer_are_no_obstacle(rng, tmp_path):
    body = keras.applications.Xception(
        weights=None, include_top=False, pooling="avg", input_shape=(SIZE, SIZE, 3)
    )
    keras.layers.Conv2D(1, 1)  # shifts the numbers of generated names
    model = keras.Model(body.inputs, keras.layers.Dense(3)(body.output))
    redraw(model, rng)
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "own.keras")
    images = rng.uniform(-1, 1, (2, SIZE, SIZE, 3)).astype(np.float32)
    ours = random_model(rng, width=1, middle_modules=8, num_classes=3)
    load_weights(ours, tmp_path / "own.keras")
    assert_same_logits(np.asarray(jax.jit(ours)(images)), logits_of(model, images))


@pytest.mark.slow
def test_inception_v3_both_ways(rng, tmp_path):
    def build() -> Any:
        return keras.applications.InceptionV3(
            weights=None, input_shape=(75, 75, 3), classes=CLASSES, classifier_activation=None
        )

    theirs = build()
    ours = random_model(rng, "inception_v3", width=1, middle_modules=None, num_classes=CLASSES)
    redraw(theirs, rng, gain=2)
    theirs.save_weights(tmp_path / "i.weights.h5")
    theirs.save(tmp_path / "i.h5")
    # Images of different means: a deep network of random values hardly tells others apart.
    means = np.reshape([-1, 1], (2, 1, 1, 1))
    images = rng.uniform(means - 1, means + 1, (2, 75, 75, 3)).astype(np.float32)
    load_weights(ours, tmp_path / "i.weights.h5")
    assert_same_logits(np.asarray(jax.jit(ours)(images)), logits_of(theirs, images))
    assert_equal(
        read(tmp_path / "i.h5", model_function("inception_v3", num_classes=CLASSES)),
        values_of(ours),
    )
    save_keras_weights(ours, tmp_path / "ours.weights.h5")
    again = build()
    again.load_weights(tmp_path / "ours.weights.h5")
    for original, loaded in zip(theirs.weights, again.weights, strict=True):
        assert np.array_equal(original.value, loaded.value), original.path


@pytest.mark.parametrize("name", ["xception", "xception_tiny", "inception_tiny"])
def test_what_is_saved_is_read_bit_for_bit(rng, tmp_path, name):
    settings = {} if name == "xception" else {"width": 0.5, "middle_modules": None}
    model = random_model(rng, name, **settings)
    path = tmp_path / "small.weights.h5"
    save_keras_weights(model, path)
    other = random_model(rng, name, **settings)
    load_weights(other, path)
    assert_equal(values_of(other), values_of(model))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"order": "pointwise_first"}, "model.order"),
        ({"intermediate_activation": "elu"}, "model.intermediate_activation"),
        ({"intermediate_norm": True}, "intermediate_norm"),
        ({"segments": 1}, "model.segments"),
        ({"fully_connected": (4,)}, "fully_connected/0/kernel"),
    ],
)
def test_a_model_that_keras_has_not_is_not_saved(rng, tmp_path, settings, named):
    model = random_model(rng, **settings)
    with pytest.raises(InputError, match=named):
        save_keras_weights(model, tmp_path / "no.weights.h5")
    assert not list(tmp_path.iterdir())


def test_a_name_that_keras_would_not_read_is_refused(rng, tmp_path):
    with pytest.raises(InputError, match=r"must end in \.weights\.h5"):
        save_keras_weights(random_model(rng), tmp_path / "weights.h5")
