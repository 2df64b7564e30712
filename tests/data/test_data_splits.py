"""The splits of a source: which examples are held out of training, sampled from it or tested on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.contents import contents, example, sorted_pairs
from xception_jax.data import load
from xception_jax.errors import InputError


def test_validation_split_is_fixed_and_fair(prepared: str) -> None:
    """Both parts are compared by their positions; test_data_shipped.py reads their images."""
    source = load("fashion_mnist_mini", directory=prepared, validation_fraction=0.2)
    valid, train = source.splits["valid"], source.splits["train"]
    assert len(valid) == 2400
    assert valid.records is train.records
    everything = np.concatenate([valid.indices, train.indices])
    assert np.array_equal(np.sort(everything), np.arange(12_000))
    labels = valid.known_labels()
    assert labels is not None
    assert labels[:20].tolist() == [example(valid, i)[1] for i in range(20)]
    assert np.bincount(labels).tolist() == [240] * 10  # a fifth of every class
    again = load("fashion_mnist_mini", validation_fraction=0.2)
    assert np.array_equal(again.splits["valid"].indices, valid.indices)


@pytest.mark.parametrize("split_seed", [None, 3])
def test_train_examples_are_a_random_sample(prepared: str, split_seed: int | None) -> None:
    """Held-out examples are the first of their class, so that those after them are no sample."""
    settings: Any = {"directory": prepared, "split_seed": split_seed}
    every = load("fashion_mnist_mini", **settings).splits
    few, more = (
        load("fashion_mnist_mini", **settings, train_examples=count).splits for count in (100, 1000)
    )
    assert np.array_equal(few["train"].indices, more["train"].indices[:100])
    assert set(more["train"].indices) < set(every["train"].indices)
    assert np.array_equal(few["valid"].indices, every["valid"].indices)
    for split in (few["train"], more["train"]):
        labels = split.known_labels()
        assert labels is not None
        shares = np.bincount(labels, minlength=10) / len(labels)
        # Five standard deviations of a class's share in a random sample.
        np.testing.assert_allclose(shares, 0.1, atol=5 * np.sqrt(0.1 * 0.9 / len(labels)))


def test_more_train_examples_than_there_are_are_refused(prepared: str) -> None:
    with pytest.raises(InputError, match=r"data\.train_examples=10801.*value: 10800"):
        load("fashion_mnist_mini", directory=prepared, train_examples=10801)


def test_set_without_labelled_test_uses_its_validation_split(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """Like imagenet2012: all test labels are -1, so `validation` becomes the test split."""
    from xception_jax.data.storing import ArraySet, Description, store

    parts = {
        split: (rng.integers(0, 256, (n, 8, 8, 3), np.uint8), rng.integers(0, 3, n))
        for split, n in (("train", 40), ("validation", 10), ("test", 7))
    }
    parts["test"][1][:] = -1
    store(ArraySet(Description("few", "1.0.0", "", "", ("a", "b", "c")), parts), str(tmp_path))
    source = load("few", directory=str(tmp_path))
    assert {name: len(split) for name, split in source.splits.items()} == {
        "train": 36,
        "valid": 4,
        "test": 10,
    }
    assert sorted(contents(source, "test")) == sorted_pairs(*parts["validation"])
