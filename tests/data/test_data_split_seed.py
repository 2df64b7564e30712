"""`data.split_seed`: which examples are held out may vary with the seed, and nothing else does."""

from pathlib import Path

import numpy as np
import pytest

from tests.data.fabricate import write_folder
from xception_jax.data import open_pipeline
from xception_jax.data.splits import ArrayRecords, Records, Source, assign_splits
from xception_jax.errors import InputError


def assigned(
    parts: tuple[str, ...], seed: int | None, train_examples: int | None = None, count: int = 120
) -> Source:
    """A set of single pixels, each of its own value, of which a class is a third."""
    pixels = np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)
    records: dict[str, Records] = {
        name: ArrayRecords(name, pixels, np.arange(count) % 3) for name in parts
    }
    return assign_splits(
        "x",
        ("a", "b", "c"),
        1,
        records,
        validation_fraction=0.1,
        split_seed=seed,
        train_examples=train_examples,
    )


def examples(source: Source, split: str) -> set[int]:
    return set(source.splits[split].indices.tolist())


def test_each_seed_holds_out_other_examples_of_every_class() -> None:
    fixed = assigned(("train",), None)
    drawn = [assigned(("train",), seed) for seed in range(6)]
    assert fixed.drawn == ()
    for source in drawn:
        assert source.drawn == ("train", "valid")
        assert examples(source, "train").isdisjoint(examples(source, "valid"))
        assert examples(source, "test").isdisjoint(examples(source, "valid"))
        together = set.union(*(examples(source, split) for split in source.splits))
        assert together == set(range(120))
        for split in ("valid", "test"):
            assert len(source.splits[split]) == len(fixed.splits[split]) == 12
            labels = source.splits[split].known_labels()
            assert labels is not None
            assert np.bincount(labels).tolist() == [4, 4, 4]
    held_out = {frozenset(examples(source, "valid")) for source in [fixed, *drawn]}
    assert len(held_out) == 7  # that of seed 0 is not the fixed one
    again = assigned(("train",), 3)
    assert np.array_equal(again.splits["train"].indices, drawn[3].splits["train"].indices)


@pytest.mark.parametrize("train_examples", [None, 60])
@pytest.mark.parametrize("parts", [("train",), ("train", "test"), ("train", "validation")])
def test_no_seed_trains_on_the_test_examples_of_another(
    parts: tuple[str, ...], train_examples: int | None
) -> None:
    """One may be chosen with the other in view, and its test score would then be no test."""
    fixed = assigned(parts, None)
    for seed in range(8):
        source = assigned(parts, seed, train_examples)
        assert source.splits["test"].records.name(0) == fixed.splits["test"].records.name(0)
        assert np.array_equal(source.splits["test"].indices, fixed.splits["test"].indices)
        if parts == ("train",):
            seen = examples(source, "train") | examples(source, "valid")
            assert seen.isdisjoint(examples(fixed, "test"))


@pytest.mark.parametrize("count", range(1, 12))
def test_sets_of_few_examples_are_split_or_refused(count: int) -> None:
    """Of three classes in turn, seven are the fewest of which a class has one for every split."""
    if count < 7:
        with pytest.raises(InputError, match=rf"\b{count} training examples are too few to split"):
            assigned(("train",), 0, count=count)
        return
    source = assigned(("train",), 0, count=count)
    sizes = {name: len(split) for name, split in source.splits.items()}
    assert min(sizes.values()) > 0
    assert sum(sizes.values()) == count


def test_the_splits_that_a_set_has_stay() -> None:
    fixed, drawn = assigned(("train", "test"), None), assigned(("train", "test"), 5)
    assert drawn.drawn == ("train", "valid")
    assert np.array_equal(drawn.splits["test"].indices, fixed.splits["test"].indices)
    assert examples(drawn, "valid") != examples(fixed, "valid")


def test_a_seed_without_effect_is_refused() -> None:
    whole = ("train", "validation", "test")
    with pytest.raises(InputError, match=r"data\.split_seed.*has no effect.*'fixed'"):
        assigned(whole, 0)
    drawn = [assigned(whole, seed, train_examples=30) for seed in range(2)]
    assert examples(drawn[0], "train") != examples(drawn[1], "train")
    assert drawn[0].drawn == ("train",)


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("pipeline", ["in_memory", "streaming"])
def test_the_pool_is_the_same_for_every_seed_and_shows_a_change(
    tmp_path: Path, rng: np.random.Generator, pipeline: str, damaged: bool
) -> None:
    """Damaged images too: what stands in for one in training is another one for every seed."""
    write_folder(tmp_path, rng, {"train": 12}, (16, 16))
    if damaged:
        (tmp_path / "train" / "ant" / "001.png").write_bytes(b"no image")

    def opened(seed: int | None) -> dict:
        found = open_pipeline(
            name="folder", directory=str(tmp_path), image_size=16, batch_size=4, seed=seed or 0,
            split_seed=seed, pipeline=pipeline, threads=1, corrupt_images="skip",
        )  # fmt: skip
        return found.fingerprint().describe()

    fixed, *seeds = (opened(seed) for seed in (None, 0, 1))
    assert (fixed["drawn"], fixed["pool"]) == ((), None)
    assert seeds[0]["pool"] == seeds[1]["pool"] is not None
    assert seeds[0]["splits"]["valid"]["images"] != seeds[1]["splits"]["valid"]["images"]
    (tmp_path / "train" / "bee" / "003.png").rename(tmp_path / "train" / "cat" / "x.png")
    assert opened(2)["pool"] != seeds[0]["pool"]
