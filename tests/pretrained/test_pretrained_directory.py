"""Directories of converted weights: content, damage, and training that starts from one."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.weight_files import SMALL, assert_equal, random_model, values_of
from xception_jax.errors import NO_SPACE, InputError
from xception_jax.models import model_function
from xception_jax.pretrained import WeightsMismatch, save_keras_weights
from xception_jax.pretrained.directory import Weights, read_weights, write_weights
from xception_jax.pretrained.importing import import_file, initial_from
from xception_jax.pretrained.preprocessing import expected_by

OVERRIDES = [f"model.{name}={SMALL[name]}" for name in ("width", "middle_modules")]


@pytest.fixture(scope="module")
def model(module_seed):
    return random_model(np.random.default_rng(module_seed))


@pytest.fixture(scope="module")
def file(model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("file") / "small.weights.h5"
    save_keras_weights(model, path)
    return path


@pytest.fixture(scope="module")
def weights(file) -> Weights:
    return import_file(file, overrides=OVERRIDES, size=71, class_names=tuple("abcdefg"))


@pytest.fixture(scope="module")
def kept(weights, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("kept") / "weights"
    write_weights(directory, weights)
    return directory


@pytest.fixture
def copy(kept, tmp_path) -> Path:
    return Path(shutil.copytree(kept, tmp_path / "copy"))


def test_a_directory_returns_what_was_put_in(weights, kept, model):
    read = read_weights(kept)
    assert_equal(read.parameters | read.batch_stats, values_of(model))
    assert read.describe() == weights.describe()
    assert (read.num_classes, read.preprocessing.size) == (SMALL["num_classes"], 71)
    assert list(kept.parent.iterdir()) == [kept], "nothing temporary is left"
    assert read.function() == model_function("xception", **SMALL, dropout=0.0)


def test_the_description_says_where_the_weights_come_from(kept, file):
    description = json.loads((kept / "weights.json").read_text())
    assert description["source"] == {
        "file": file.name,
        "kind": "keras",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }


def test_a_directory_is_never_overwritten(weights, kept):
    with pytest.raises(InputError, match="exists"):
        write_weights(kept, weights)


def test_a_leftover_of_a_killed_process_of_the_same_number_is_no_obstacle(weights, tmp_path):
    stale = tmp_path / f".weights.{os.getpid()}.partial" / "arrays" / "stale"
    stale.mkdir(parents=True)
    write_weights(tmp_path / "weights", weights)
    assert list(tmp_path.iterdir()) == [tmp_path / "weights"]
    read_weights(tmp_path / "weights")


def failing_to_write(message):
    """A function in place of a save, which fails as TensorStore does: with a ValueError."""

    def save(*_):
        raise ValueError(f'RESOURCE_EXHAUSTED: Failed writing: "d/1": {message} [os_error_code=…]')

    return save


@pytest.mark.parametrize("code", NO_SPACE)
def test_a_full_disk_is_no_fault_of_the_destination(weights, tmp_path, monkeypatch, code):
    save = "xception_jax.pretrained.arrays.ocp.StandardCheckpointer.save"
    monkeypatch.setattr(save, failing_to_write(os.strerror(code)))
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        write_weights(tmp_path / "weights", weights)
    assert caught.value.errno == code
    monkeypatch.setattr(save, failing_to_write("Bad file descriptor"))
    with pytest.raises(InputError, match=r"destination=.*cannot be written.*Bad file") as refused:
        write_weights(tmp_path / "weights", weights)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "xceptoin"),
        ("settings", {"width": 1e9}),
        ("settings", {"no_such": 1}),
        ("num_classes", 10**12),
        ("num_classes", True),
        ("class_names", ["one"]),
        ("class_names", 3),
        ("preprocessing", {"size": 299}),
        ("preprocessing", expected_by("keras").to_dict() | {"mean": [0.5], "std": [0.5]}),
        ("source", None),
        ("probabilities", "softplus"),
        ("probabilities", ["softmax"]),
        ("format", 2),
    ],
)
def test_a_description_that_is_not_valid_is_refused(copy, field, value):
    path = copy / "weights.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(InputError, match=r"weights\.json.*is not valid") as caught:
        read_weights(copy)
    assert "\n" not in str(caught.value)


def test_a_directory_of_another_model_is_refused(copy):
    path = copy / "weights.json"
    description = json.loads(path.read_text())
    description["settings"]["middle_modules"] = 2
    path.write_text(json.dumps(description))
    with pytest.raises(InputError, match=r"arrays.*middle/1"):
        read_weights(copy)


def test_every_damaged_file_of_the_arrays_is_named(copy):
    """Each file is damaged in turn: a flipped bit, a lost byte, missing; at last one is added."""
    files = [path for path in sorted((copy / "arrays").rglob("*")) if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        for damaged in (flipped(content), content[:-1], None):
            if damaged == content:
                continue  # the file is empty
            path.unlink() if damaged is None else path.write_bytes(damaged)
            assert str(path) in refusal(copy)
            path.write_bytes(content)
    read_weights(copy)
    (copy / "arrays" / "more").touch()
    assert "is not one that weights.json lists" in refusal(copy)
    shutil.rmtree(copy / "arrays")
    assert "is missing" in refusal(copy)


def refusal(directory: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_weights(directory)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return (
        content[:middle] + bytes([content[middle] ^ 1] if content else []) + content[middle + 1 :]
    )


# -- a start for training --------------------------------------------------------------------------


@pytest.mark.parametrize("origin", ["file", "kept"])
def test_the_same_model_starts_with_everything(origin, model, request):
    function = model_function("xception", **SMALL)
    parameters, batch_stats, left_out, _ = initial_from(request.getfixturevalue(origin), function)
    assert left_out == ()
    assert_equal(parameters | batch_stats, values_of(model))


@pytest.mark.parametrize("origin", ["file", "kept"])
@pytest.mark.parametrize("settings", [{"num_classes": 3}, {"fully_connected": (5,)}])
def test_another_head_is_left_out_whole_and_drawn_by_the_key(origin, settings, model, request):
    function = model_function("xception", **(SMALL | settings))
    parameters, batch_stats, left_out, _ = initial_from(request.getfixturevalue(origin), function)
    head = {leaf.path for leaf in function.parameters} - parameters.keys()
    assert set(left_out) == head
    assert {"classifier/kernel", "classifier/bias"} <= head
    values = values_of(model)
    body = {path: v for path, v in values.items() if not path.startswith("classifier/")}
    assert_equal(parameters | batch_stats, body)
    drawn, _ = jax.eval_shape(function.init, jax.random.key(0))
    shapes = {path: value.shape for path, value in (drawn | parameters).items()}
    assert shapes == {leaf.path: leaf.shape for leaf in function.parameters}


@pytest.mark.parametrize("origin", ["file", "kept"])
def test_a_body_that_does_not_fit_is_refused(origin, request):
    function = model_function("xception", **(SMALL | {"middle_modules": 2}))
    with pytest.raises(WeightsMismatch, match="missing") as caught:
        initial_from(request.getfixturevalue(origin), function)
    assert any("middle/1" in name for name in caught.value.missing)


def test_weights_without_a_classifier_start_training_and_nothing_else(file, tmp_path):
    body = import_file(file, overrides=OVERRIDES, head=False)
    write_weights(tmp_path / "body", body)
    read = read_weights(tmp_path / "body")
    assert read.num_classes is None
    with pytest.raises(InputError, match="no classifier"):
        read.function()
    function = model_function("xception", **SMALL)
    _, _, left_out, _ = initial_from(tmp_path / "body", function)
    assert set(left_out) == {"classifier/kernel", "classifier/bias"}


def changed(copy: Path, **fields) -> Path:
    """The copy with other fields in its description; `settings` and `preprocessing` in part."""
    path = copy / "weights.json"
    description = json.loads(path.read_text())
    for name, value in fields.items():
        whole = description[name]
        description[name] = whole | value if isinstance(whole, dict) else value
    path.write_text(json.dumps(description))
    return copy


@pytest.mark.parametrize(
    ("name", "value", "own"),
    [
        ("norm_epsilon", 1e-5, 1e-3),
        ("padding", "torch", "same"),
    ],
)
def test_weights_of_a_model_that_computes_something_else_are_refused(copy, name, value, own):
    """No array has another shape, so nothing but the description says so."""
    changed(copy, settings={name: value})
    reason = rf"model\.{name}={own!r}: .*a model with {name}={value!r}, .*{name}={own!r}; nearest"
    with pytest.raises(InputError, match=reason) as caught:
        initial_from(copy, model_function("xception", **SMALL))
    assert (caught.value.nearest, "\n" in str(caught.value)) == (value, False)
    initial_from(copy, model_function("xception", **SMALL, **{name: value}))


def test_weights_may_start_another_arm_which_is_said(copy):
    """Arms of an experiment start from the same weights, whichever of them these are of."""
    several = {"activation_choices": ("none", "relu")}
    assert initial_from(copy, model_function("xception", **SMALL))[3] == ""
    *_, of_pack = initial_from(copy, model_function("xception", **SMALL, **several))
    assert of_pack == "intermediate_activation='none'"
    changed(copy, settings={"intermediate_activation": "relu"})
    *_, other = initial_from(copy, model_function("xception", **SMALL))
    assert other == "intermediate_activation='relu'"


def test_settings_that_change_no_function_may_differ(copy):
    changed(copy, settings={"norm_momentum": 0.9, "dropout": 0.1, "dtype": "bfloat16"})
    assert initial_from(copy, model_function("xception", **SMALL))[2] == ()


def test_weights_that_expect_another_range_are_refused(copy):
    changed(copy, preprocessing={"mean": [0.0] * 3, "std": [1.0] * 3, "filter": "bicubic"})
    reason = r"mean \(0\.0, 0\.0, 0\.0\).*deviation \(1\.0, 1\.0, 1\.0\), .*-1 to 1"
    with pytest.raises(InputError, match=reason) as caught:
        initial_from(copy, model_function("xception", **SMALL))
    assert "\n" not in str(caught.value)


def test_each_class_keeps_its_logit(kept, model, rng):
    function, names = model_function("xception", **SMALL), "abcdefg"
    order = rng.permutation(len(names))
    classes = tuple(names[number] for number in order)
    parameters, _, left_out, _ = initial_from(kept, function, classes)
    assert left_out == ()
    values = values_of(model)
    for number, name in enumerate(classes):
        expected = values["classifier/kernel"][:, names.index(name)]
        assert (parameters["classifier/kernel"][:, number] == expected).all()
        expected = values["classifier/bias"][names.index(name)]
        assert parameters["classifier/bias"][number] == expected


def test_a_head_of_other_classes_is_left_out(kept):
    function = model_function("xception", **SMALL)
    _, _, left_out, _ = initial_from(kept, function, tuple("abcdefh"))
    assert set(left_out) == {"classifier/kernel", "classifier/bias"}


def test_what_is_neither_a_directory_nor_a_file_is_said(tmp_path):
    function = model_function("xception", **SMALL)
    with pytest.raises(InputError, match="no such file"):
        initial_from(tmp_path / "none", function)
    with pytest.raises(InputError, match=r"holds no weights\.json"):
        initial_from(tmp_path, function)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data.name=cifar10", "must be about model"),
        ("model.name=alexnet", "must be about model"),
        ("width=1", "must be about model"),
        ("model.widht=1", "nearest valid value: 'model.width'"),
    ],
)
def test_words_that_are_no_setting_of_the_model_are_refused(file, word, message):
    with pytest.raises(InputError, match=message):
        import_file(file, overrides=[*OVERRIDES, word])
