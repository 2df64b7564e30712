"""Tests of damaged prepared data sets: they read bit for bit the same, or fail with one line."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.damage import delete, empty, replace, scatter, truncate
from xception_jax.data import opening
from xception_jax.data.trusted_features import require_trusted_features
from xception_jax.errors import InputError

NAME = "fashion_mnist_mini"


def images_of(directory: Path, pipeline: str) -> np.ndarray:
    """Reads the test split from the files."""
    opening._load.cache_clear()
    opening._load_decoded.cache_clear()
    opened = opening.open_pipeline(
        name=NAME,
        directory=str(directory),
        image_size=28,
        pipeline=pipeline,
        batch_size=50,
        seed=0,
        train_examples=50,
    )
    try:
        if pipeline == "in_memory":
            return np.asarray(opened.device_data["test"]["image"])
        return np.concatenate([batch["image"] for batch in opened.eval_batches("test", 50)])
    finally:
        opened.close()


@pytest.fixture(scope="module")
def expected(prepared: str) -> np.ndarray:
    return images_of(Path(prepared), "in_memory")


@pytest.fixture
def directory(prepared: str, tmp_path: Path) -> Path:
    """Copy of the prepared data set, to be damaged."""
    return Path(shutil.copytree(prepared, tmp_path / "prepared"))


@pytest.mark.promise("A damaged data set is read as it was, or named in one line")
@pytest.mark.parametrize("damage", [truncate, empty, scatter, delete, replace])
@pytest.mark.parametrize(
    ("pattern", "pipeline"),
    [
        ("*test*array_record*", "in_memory"),
        ("*test*array_record*", "streaming"),
        # Both pipelines open a set by its descriptions in the same way.
        ("dataset_info.json", "in_memory"),
        ("features.json", "in_memory"),
    ],
)
def test_a_damaged_set_is_named(
    pattern: str,
    damage: Callable[[Path], None],
    pipeline: str,
    directory: Path,
    expected: np.ndarray,
) -> None:
    """Each file of a prepared set is cut, emptied, deleted, replaced, or has bits flipped."""
    (path,) = directory.rglob(pattern)
    damage(path)
    try:
        images = images_of(directory, pipeline)
    except InputError as error:
        message = str(error)
        assert "\n" not in message
        assert NAME in message or str(directory) in message or "test[" in message
    else:  # the damaged part, such as a description, is not read
        np.testing.assert_array_equal(images, expected)


@pytest.mark.parametrize(
    "planted",
    [
        {"pythonClassName": "antigravity.Feature"},
        {"python_class_name": "antigravity.Feature"},
        {"type": "antigravity.Feature", "content": "{}"},
        {"jsonFeature": {"json": json.dumps({"feature": {"type": "antigravity.Feature"}})}},
        {"pythonClassName": "tensorflow_datasets.core.features_of_mine.Feature"},
    ],
)
def test_no_class_but_those_of_tfds_is_imported_for_a_prepared_set(planted, directory):
    (path,) = directory.rglob("features.json")
    content = json.loads(path.read_text())
    content["featuresDict"]["features"]["image"] |= planted
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"features\.json names .* no feature of TFDS"):
        require_trusted_features(NAME, path.parent)
    with pytest.raises(InputError, match="no feature of TFDS"):
        images_of(directory, "in_memory")
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_without_shards_is_named(split: str, directory: Path) -> None:
    (path,) = directory.rglob("dataset_info.json")
    content = json.loads(path.read_text())
    (described,) = (part for part in content["splits"] if part["name"] == split)
    described["shardLengths"] = []
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"the prepared set in {path.parent} is damaged; move"):
        images_of(directory, "in_memory")


@pytest.mark.parametrize("name", ["dataset_info.json", "label.labels.txt", "features.json"])
def test_a_pipe_in_a_prepared_set_is_named(name: str, directory: Path) -> None:
    """TFDS would open it, and wait for its other end."""
    (path,) = directory.rglob(name)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match="is not a regular file"):
        images_of(directory, "in_memory")
