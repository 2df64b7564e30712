"""Tests of both pipelines: one interface, one order, every example counted once."""

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import grain
import numpy as np
import pytest
from PIL import Image

from tests.data.contents import example
from tests.data.fabricate import write_folder
from xception_jax.data import Batch, Pipeline, open_pipeline
from xception_jax.errors import InputError

BOTH = pytest.mark.parametrize("pipeline", ["in_memory", "streaming"])


def digits(**changes: Any) -> Pipeline:
    settings: dict[str, Any] = {
        "name": "digits",
        "image_size": 8,
        "batch_size": 16,
        "seed": 0,
        "threads": 2,
    }
    return open_pipeline(**settings | changes)


def images_of(pipe: Pipeline, batches: Iterator[Batch], steps: int) -> Batch:
    """Returns the images and labels of the first `steps` batches of either pipeline."""
    collected = []
    for batch in islice(batches, steps):
        if pipe.device_data:
            train, rows = pipe.device_data["train"], batch["index"]
            collected.append({key: train[key][rows] for key in ("image", "label")})
        else:
            collected.append(batch)
    return {key: np.concatenate([b[key] for b in collected]) for key in ("image", "label")}


def assert_equal(left: Batch, right: Batch) -> None:
    np.testing.assert_array_equal(left["image"], right["image"])
    np.testing.assert_array_equal(left["label"], right["label"])


def test_both_pipelines_agree_on_the_order() -> None:
    seed, steps = int(np.random.default_rng().integers(2**31)), 100
    memory = digits(seed=seed, pipeline="in_memory", train_examples=500)
    expected = images_of(memory, memory.train_batches(0), steps)
    assert not np.array_equal(expected["image"][:500], expected["image"][500:1000])
    for threads in (1, 5):
        stream = digits(seed=seed, pipeline="streaming", train_examples=500, threads=threads)
        assert_equal(images_of(stream, stream.train_batches(0), steps), expected)
        later = images_of(stream, stream.train_batches(37), 5)
        assert_equal(later, {key: value[37 * 16 : 42 * 16] for key, value in expected.items()})
        stream.close()


@BOTH
def test_hosts_share_the_batch(pipeline: str) -> None:
    alone = digits(pipeline=pipeline)
    expected = images_of(alone, alone.train_batches(90), 1)
    for hosts in (2, 4):
        parts = []
        for host in range(hosts):
            pipe = digits(pipeline=pipeline, host=host, hosts=hosts)
            parts.append(images_of(pipe, pipe.train_batches(90), 1))
        assert_equal({key: np.concatenate([p[key] for p in parts]) for key in parts[0]}, expected)


@BOTH
@pytest.mark.parametrize(("batch_size", "hosts"), [(7, 1), (64, 4), (5000, 2)])
def test_evaluation_counts_each_example_once(pipeline: str, batch_size: int, hosts: int) -> None:
    device_data = digits(pipeline="in_memory").device_data["valid"]
    seen = []
    for host in range(hosts):
        pipe = digits(pipeline=pipeline, host=host, hosts=hosts, batch_size=16)
        for batch in pipe.eval_batches("valid", batch_size):
            assert len(batch["index"]) == len(batch["mask"]) == batch_size // hosts
            seen += batch["index"][batch["mask"]].tolist()
            if pipeline == "streaming":
                mask = batch["mask"]
                indices = batch["index"][mask]
                for key in ("image", "label"):
                    np.testing.assert_array_equal(batch[key][mask], device_data[key][indices])
    assert sorted(seen) == list(range(len(device_data["label"])))


def test_types_and_shapes(prepared: str) -> None:
    pipe = open_pipeline(
        name="fashion_mnist_mini",
        directory=prepared,
        image_size=14,
        batch_size=8,
        seed=0,
        train_examples=500,
    )
    assert pipe.info.image_shape == (14, 14, 1)
    assert pipe.info.num_classes == 10
    assert set(pipe.device_data) == {"train", "valid", "test"} == set(pipe.info.examples)
    for split, count in pipe.info.examples.items():
        part = pipe.device_data[split]
        assert part["image"].shape == (count, 14, 14, 1)
        assert part["image"].dtype == np.uint8
        assert part["label"].dtype == np.int32
    assert next(pipe.train_batches(3))["index"].dtype == np.int32


def test_prepared_set_streams_as_it_loads(prepared: str) -> None:
    settings: dict[str, Any] = {
        "name": "fashion_mnist_mini",
        "directory": prepared,
        "image_size": 28,
        "train_examples": 1000,
    }
    memory = open_pipeline(**settings, batch_size=64, seed=3)
    stream = open_pipeline(**settings, batch_size=64, seed=3, pipeline="streaming", threads=4)
    # From the first epoch, of 15 batches, into the second.
    expected = images_of(memory, memory.train_batches(11), 8)
    assert_equal(images_of(stream, stream.train_batches(11), 8), expected)
    stream.close()


def test_random_crops_repeat_and_differ_between_epochs(tmp_path: Path) -> None:
    write_folder(tmp_path, np.random.default_rng(), {"train": 4, "test": 2}, size=(40, 60))
    settings: dict[str, Any] = {
        "name": "folder",
        "directory": str(tmp_path),
        "image_size": 16,
        "batch_size": 4,
    }
    settings |= {"augmentation": "random_resized_crop", "seed": 7}
    pipe = open_pipeline(**settings, threads=1)
    assert pipe.device_data == {}
    first = images_of(pipe, pipe.train_batches(0), 12)
    again = open_pipeline(**settings, threads=4)
    assert_equal(images_of(again, again.train_batches(0), 12), first)
    assert_equal(
        images_of(again, again.train_batches(5), 7),
        {key: value[20:] for key, value in first.items()},
    )
    assert len({image.tobytes() for image in first["image"]}) == 48
    halves = []
    for host in range(2):
        part = open_pipeline(**settings, host=host, hosts=2)
        halves.append(images_of(part, part.train_batches(3), 1))
    joined = {key: np.concatenate([h[key] for h in halves]) for key in first}
    assert_equal(joined, {key: value[12:16] for key, value in first.items()})


def test_evaluation_after_random_crops_is_the_centre(tmp_path: Path) -> None:
    write_folder(tmp_path, np.random.default_rng(), {"train": 4, "test": 2}, size=(32, 48))
    pipe = open_pipeline(
        name="folder",
        directory=str(tmp_path),
        image_size=28,
        batch_size=4,
        seed=0,
        augmentation="random_resized_crop",
    )
    (batch,) = pipe.eval_batches("test", 6)
    files = sorted((tmp_path / "test").glob("*/*.png"))
    # 0.875 of 32 is 28: the centre is returned without resizing.
    expected = [np.asarray(Image.open(path))[2:30, 10:38] for path in files]
    np.testing.assert_array_equal(batch["image"], expected)


def break_images(root: Path, split: str) -> list[str]:
    broken = sorted((root / split).glob("*/*.png"))[::5]
    for path in broken:
        path.write_bytes(path.read_bytes()[:100])
    return sorted(map(str, broken))


@BOTH
def test_corrupt_image_stops_the_run_and_is_named(tmp_path: Path, pipeline: str) -> None:
    write_folder(tmp_path, np.random.default_rng(), {"train": 5, "test": 2})
    broken = break_images(tmp_path, "test")
    settings: dict[str, Any] = {
        "name": "folder",
        "directory": str(tmp_path),
        "image_size": 8,
        "batch_size": 4,
    }
    with pytest.raises(InputError, match="cannot be decoded") as caught:
        pipe = open_pipeline(**settings, seed=0, pipeline=pipeline)
        list(pipe.eval_batches("test", 6))
    assert any(name in str(caught.value) for name in broken)
    assert caught.value.field == "data.corrupt_images"


def test_corrupt_images_are_skipped_counted_and_replaced_alike(tmp_path: Path) -> None:
    write_folder(tmp_path, np.random.default_rng(), {"train": 10, "test": 5})
    broken = break_images(tmp_path, "train") + break_images(tmp_path, "test")
    results = []
    for pipeline in ("in_memory", "streaming"):
        pipe = open_pipeline(
            name="folder",
            directory=str(tmp_path),
            image_size=8,
            batch_size=5,
            seed=1,
            pipeline=pipeline,
            corrupt_images="skip",
        )
        train = images_of(pipe, pipe.train_batches(0), 12)
        masks = {}
        for split in ("valid", "test"):
            rows = list(pipe.eval_batches(split, 4))
            masks[split] = [int(i) for b in rows for i in b["index"][b["mask"]]]
            assert len(masks[split]) == len(set(masks[split]))
        assert len(masks["test"]) == 15 - 3
        assert pipe.corrupt_images == tuple(sorted(broken))
        results.append((train, masks))
    assert_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    assert (results[0][0]["image"].reshape(60, -1).max(axis=1) > 0).all()


def test_wrong_label_is_named(tmp_path: Path) -> None:
    from xception_jax.data.splits import ArrayRecords, assign_splits

    records = ArrayRecords("train", np.zeros((30, 4, 4, 1), np.uint8), np.full(30, 3))
    source = assign_splits(
        "x", ("a", "b"), 1, {"train": records}, validation_fraction=0.1, train_examples=None
    )
    with pytest.raises(InputError, match=r"train\[\d+\], whose label is not one of 0…1: 3"):
        example(source.splits["train"], 0)


@pytest.mark.parametrize(("asked", "started"), [(8, 6), (2, 2)])
def test_a_quota_bounds_the_threads_that_decode(
    asked: int, started: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two for each core that there is, however many the setting allows."""
    monkeypatch.setattr("xception_jax.data.streaming.usable_cores", lambda: 3)
    options, made = grain.ReadOptions, []

    def noted(**given: int) -> Any:
        made.append(given)
        return options(**given)

    monkeypatch.setattr(grain, "ReadOptions", noted)
    with closing(digits(pipeline="streaming", threads=asked)) as pipeline:
        next(pipeline.train_batches(0))
    assert made == [{"num_threads": started, "prefetch_buffer_size": started}]


@pytest.mark.parametrize("whole", [False, True])
def test_what_is_no_longer_read_is_not_kept(whole: bool) -> None:
    """A run reads its validation split hundreds of times, and its threads would all live on."""
    with closing(digits(pipeline="streaming")) as pipeline:
        batches = pipeline.eval_batches("valid", 64)
        for _ in batches:
            if not whole:
                batches.close()  # type: ignore[attr-defined] # typed as any iterator
                break
        assert not pipeline._open  # type: ignore[attr-defined] # only of streaming pipelines


def test_auto_streams_what_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 1797 * 8 * 8
    monkeypatch.setattr("xception_jax.data.opening.IN_MEMORY_BYTES", size)
    assert digits().device_data
    monkeypatch.setattr("xception_jax.data.opening.IN_MEMORY_BYTES", size - 1)
    assert not digits().device_data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pipeline": "in_memry"}, r"data\.pipeline='in_memry'.*'in_memory'"),
        ({"augmentation": "flip"}, r"data\.augmentation='flip'"),
        ({"corrupt_images": "stopp"}, r"data\.corrupt_images='stopp'.*'stop'"),
        (
            {"pipeline": "in_memory", "augmentation": "random_resized_crop"},
            r"data\.augmentation='random_resized_crop'.*streaming",
        ),
        ({"augmentation": "shift_flip", "padding": 8}, r"data\.padding=8.*value: 7"),
        ({"hosts": 3}, r"train\.batch_size=16.*value: 15"),
    ],
)
def test_bad_settings_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        digits(**change)


def test_config_fields_are_the_arguments() -> None:
    """A call `open_pipeline(**config.data, …)` must work."""
    import inspect

    from xception_jax.config.schema import SETTINGS

    fields = {name.removeprefix("data.") for name in SETTINGS if name.startswith("data.")}
    arguments = set(inspect.signature(open_pipeline).parameters)
    assert arguments - fields == {"batch_size", "seed", "host", "hosts", "parts"}
    assert fields <= arguments


@BOTH
def test_unknown_split_is_named(pipeline: str) -> None:
    with pytest.raises(InputError, match=r"split='validation'.*'valid'"):
        next(iter(digits(pipeline=pipeline).eval_batches("validation", 4)))
