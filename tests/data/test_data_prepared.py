"""Prepared sets as others make them: other features, other splits, missing labels."""

from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.data.contents import example
from tests.data.strange_sets import IMAGE, SIDE, TWO_OF_EACH, picture, store, two_of_each
from xception_jax.data import load, open_pipeline, prepare
from xception_jax.errors import InputError


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A set with two images and two labels, of which it declares the first ones."""
    splits = {"train": two_of_each(24), "test": two_of_each(6)}
    root = tmp_path_factory.mktemp("two")
    return store(root, splits, TWO_OF_EACH, ("front", "species"))


def pairs(directory: str, **options: Any) -> set[tuple[int, Any]]:
    source = load("strange", directory=directory, **options)
    part = source.splits["test"]
    examples = [example(part, index) for index in range(len(part))]
    return {(int(np.asarray(image)[0, 0, 0]), label) for image, label in examples}


def test_image_and_label_are_those_declared_or_chosen(two):
    assert pairs(two) == {(0, 0), (10, 1), (20, 2)}
    assert pairs(two, image_key="back", label_key="sex") == {(100, 0), (110, 1)}
    assert load("strange", directory=two, label_key="sex").class_names == ("f", "m")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("label_key", "sx", r"data\.label_key='sx': must be one of sex, species.*value: 'sex'"),
        ("label_key", "front", r"data\.label_key='front': must be one of sex, species"),
        ("image_key", "fron", r"data\.image_key='fron': must be one of back, front.*'front'"),
        (
            "train_split",
            "tran",
            r"data\.train_split='tran': has no split named tran; it has train, ",
        ),
    ],
)
def test_a_wrong_choice_lists_what_there_is(two, key, value, said):
    with pytest.raises(InputError, match=said):
        load("strange", directory=two, **{key: value})


@pytest.mark.parametrize("name", ["folder", "digits", "fashion_mnist_mosaic"])
def test_choices_are_for_prepared_sets(name, tmp_path):
    with pytest.raises(InputError, match=r"data\.label_key='x': is only for prepared sets"):
        load(name, directory=str(tmp_path), label_key="x")


@pytest.mark.parametrize(
    ("declared", "recorded"),
    [(None, None), ("CC BY 4.0", "CC BY 4.0"), (" A \n text " + 200 * "x", "A text " + 113 * "x")],
)
def test_the_licence_is_the_one_that_the_set_declares(tmp_path, declared, recorded):
    splits = {"train": two_of_each(24), "test": two_of_each(6)}
    root = store(tmp_path, splits, TWO_OF_EACH, ("front", "species"), declared)
    assert load("strange", directory=root).licence == recorded


def test_several_labels_and_none_declared_are_to_be_chosen_from(tmp_path):
    directory = store(tmp_path, {"train": two_of_each(24), "test": two_of_each(6)}, TWO_OF_EACH)
    with pytest.raises(InputError, match=r"data\.image_key=?.*: must be one of back, front"):
        load("strange", directory=directory)
    with pytest.raises(InputError, match=r"data\.label_key.*: must be one of sex, species"):
        load("strange", directory=directory, image_key="back")
    assert pairs(directory, image_key="back", label_key="sex") == {(100, 0), (110, 1)}


def test_the_only_label_needs_no_choice(tmp_path):
    features = {"picture": IMAGE, "kind": TWO_OF_EACH["sex"]}
    splits = {
        split: [{"picture": picture(index % 2), "kind": index % 2} for index in range(20)]
        for split in ("train", "test")
    }
    directory = store(tmp_path, splits, features)
    assert pairs(directory) == {(0, 0), (1, 1)}


def test_a_set_without_classes_is_refused_with_its_features(tmp_path):
    features = {"image": IMAGE, "age": tfds.features.Scalar(np.int64)}
    examples = [{"image": picture(0), "age": 3}]
    directory = store(tmp_path, {"train": examples}, features, ("image", "age"))
    with pytest.raises(InputError, match=r"none of its features \(age, image\).*ClassLabel"):
        load("strange", directory=directory)


def test_a_set_without_train_says_which_splits_it_has(tmp_path):
    splits = {"dev": two_of_each(24), "final": two_of_each(30)}
    directory = store(tmp_path, splits, TWO_OF_EACH, ("front", "species"))
    with pytest.raises(
        InputError, match=r"no split named train; it has dev, final, and data\.train"
    ):
        load("strange", directory=directory)
    source = load("strange", directory=directory, train_split="final")
    sizes = {name: len(split) for name, split in source.splits.items()}
    assert sizes == {"train": 27, "valid": 3, "test": 24}  # `dev` is the only other labelled one


def test_of_two_labelled_validation_splits_none_is_passed_over(tmp_path):
    splits = {"train": two_of_each(24), "validation": two_of_each(9), "dev": two_of_each(6)}
    directory = store(tmp_path, splits, TWO_OF_EACH, ("front", "species"))
    said = r"^data\.name='strange': has several validation splits: validation, dev$"
    with pytest.raises(InputError, match=said):
        load("strange", directory=directory)
    source = load("strange", directory=directory, train_split="dev")  # one is left
    assert len(source.splits["test"]) == 9


@pytest.mark.parametrize("pipeline", ["in_memory", "streaming"])
def test_examples_without_a_label_are_left_out_and_counted(tmp_path, pipeline):
    def examples(labels: list[int]) -> list[dict[str, Any]]:
        return [{"image": picture(50 * (label + 1)), "label": label} for label in labels]

    features = {"image": IMAGE, "label": TWO_OF_EACH["species"]}
    splits = {
        "train": examples([0, 1, 2, -1, 0, 1, 2, -1] * 5),
        "validation": examples([-1, 0, 1, 2]),
        "test": examples([-1] * 7),
    }
    directory = store(tmp_path, splits, features, ("image", "label"))
    opened = open_pipeline(
        name="strange",
        directory=directory,
        image_size=SIDE,
        pipeline=pipeline,
        batch_size=3,
        seed=0,
    )
    try:
        assert opened.info.examples == {"train": 27, "valid": 3, "test": 3}
        assert opened.fingerprint().describe()["class_names"] == ("ant", "bee", "cat")
        assert opened.fingerprint().notes[:2] == (
            "10 of 40 examples of the train split have no label: left out",
            "1 of 4 examples of the validation split have no label: left out",
        )
    finally:
        opened.close()
    source = load("strange", directory=directory)
    for part in source.splits.values():
        for image, label in (example(part, index) for index in range(len(part))):
            assert np.asarray(image)[0, 0, 0] == 50 * (label + 1)
    names = {source.splits["test"].name(index) for index in range(3)}
    assert len(names) == 3
    with pytest.raises(InputError, match="its split test has no example with a label"):
        load("strange", directory=directory, train_split="test")


@pytest.mark.parametrize(
    "error",
    [
        tfds.core.download.download_manager.NonMatchingChecksumError("Artifact\nhas another hash"),
        KeyError("label"),
    ],
)
def test_whatever_a_builder_raises_is_one_line(tmp_path, monkeypatch, error):
    def failing(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    monkeypatch.setattr(tfds, "builder", failing)
    with pytest.raises(
        InputError, match=f"TFDS cannot prepare it: {type(error).__name__}"
    ) as caught:
        prepare("stl10", str(tmp_path))
    assert "\n" not in str(caught.value)
