"""Runs in this process: what they leave, and how they repeat, resume, diverge and fail."""

import io
import json
import shutil
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.interrupting import stop_after
from tests.same_run import assert_same_run, final_state
from tests.shrunk import CONFIG, SHRUNK, SOONEST
from xception_jax import lock
from xception_jax.config import resolve, run_id
from xception_jax.errors import InputError
from xception_jax.tracking import read_metrics
from xception_jax.training import Interrupted, Progress
from xception_jax.training.run_writer import _npz


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory) -> Path:
    """An uninterrupted run."""
    home = tmp_path_factory.mktemp("whole") / "run"
    assert run(home)["status"] == "done"
    return home


@pytest.fixture
def interrupt(run, tmp_path):
    """`interrupt(n)`: lets the run take n steps, interrupts it and returns its directory."""

    def interrupt(count: int) -> Path:
        with pytest.raises(Interrupted):
            run(tmp_path, stop=stop_after(count))
        return tmp_path

    return interrupt


def record(home: Path) -> dict:
    return json.loads((home / "run.json").read_text())


def steps(home: Path, split: str) -> list[int]:
    return [r["step"] for r in read_metrics(home / "metrics.jsonl") if r["split"] == split]


def test_a_run_leaves_its_files(whole, shrunk):
    config = shrunk()
    there = json.loads((whole / "config.json").read_text())
    assert (whole / "config.json").read_text() == json.dumps(there, sort_keys=True, indent=2) + "\n"
    assert run_id(resolve(there)) == run_id(config) == record(whole)["id"]
    written = record(whole)
    assert written["status"] == "done"
    assert written["steps"] == 9
    assert written["epochs"] == 3
    assert written["seed"] == 0
    assert written["examples"]["train"] == 96
    assert written["parameters"] > 1000
    assert written["images_per_second"] > 0
    assert written["compile_seconds"] >= 0
    assert written["versions"]["jax"] == jax.__version__
    assert written["started"] <= written["ended"]
    for name in ("arm", "reason", "commit", "devices"):
        assert name in written
    assert steps(whole, "train") == [2, 4, 6, 8, 9]  # every second, and the last
    assert steps(whole, "valid") == [3, 6, 9]
    for row in read_metrics(whole / "metrics.jsonl"):
        assert row["epoch"] == row["step"] * 32 / 96
        assert set(row) - {"learning_rate"} == {"step", "epoch", "split", "loss", "top1", "top5"}
        assert 0 <= row["top1"] <= row["top5"] <= 1


def test_learning_rates_in_rows_are_those_of_their_steps(whole):
    """Warm-up of 0.5 epochs is 2 steps (1.5, to even); then a cosine of 7."""
    rows = [row for row in read_metrics(whole / "metrics.jsonl") if row["split"] == "train"]
    for row in rows:
        step = row["step"] - 1
        cosine = 0.05 * (1 + np.cos(np.pi * (step - 2) / 7))
        expected = 0.1 * step / 2 if step < 2 else cosine
        # In float32, 6e-8: near the end, the difference of two numbers of size 1.
        assert row["learning_rate"] == pytest.approx(expected, rel=1e-5)


def test_predictions_agree_with_the_result(whole):
    predictions, result = np.load(whole / "predictions.npz"), record(whole)["result"]
    assert predictions["split"] == result["split"] == "test"
    assert len(predictions["correct"]) == result["examples"]
    assert np.array_equal(predictions["index"], np.arange(result["examples"]))
    right = predictions["prediction"] == predictions["label"]
    assert np.array_equal(right, predictions["correct"])
    assert right.mean() == pytest.approx(result["top1"])
    assert predictions["loss"].mean(dtype=np.float64) == pytest.approx(result["loss"])


def test_the_same_seed_repeats_bit_for_bit(whole, run, tmp_path):
    run(tmp_path)
    assert_same_run(whole, tmp_path)
    assert (whole / "metrics.jsonl").read_bytes() == (tmp_path / "metrics.jsonl").read_bytes()


def test_another_seed_is_another_curve(whole, run, tmp_path):
    run(tmp_path, "seed=1")
    curves = [
        [row["loss"] for row in read_metrics(home / "metrics.jsonl")] for home in (whole, tmp_path)
    ]
    assert all(one != other for one, other in zip(*curves, strict=True))


@pytest.mark.parametrize(
    "taken", [(0,), *(pytest.param((n,), marks=pytest.mark.slow) for n in (1, 4, 8)), (3, 0, 2)]
)
def test_an_interrupted_run_ends_as_if_it_were_not(taken, whole, interrupt, run):
    for count in taken:
        home = interrupt(count)
        assert record(home)["status"] == "running"
        assert max(steps(home, "train"), default=0) <= sum(taken)
    assert run(home)["status"] == "done"
    assert_same_run(whole, home)
    assert record(home)["resumed_from"] == list(np.cumsum(taken))


def test_a_run_that_is_done_is_left_alone(whole, run):
    before = {p: p.stat().st_mtime_ns for p in whole.rglob("*") if p.is_file()}
    assert run(whole)["status"] == "done"
    assert {p: p.stat().st_mtime_ns for p in whole.rglob("*") if p.is_file()} == before


def test_without_its_checkpoints_a_run_starts_over(whole, run, tmp_path, interrupt):
    interrupt(7)
    shutil.rmtree(tmp_path / "checkpoints")
    run(tmp_path)
    assert_same_run(whole, tmp_path)


def test_without_its_rows_a_run_does_not_go_on(run, tmp_path, interrupt):
    interrupt(7)
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(InputError, match="delete checkpoints/"):
        run(tmp_path)


def damage(checkpoint: Path) -> None:
    for file in checkpoint.rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:7])


def test_a_damaged_checkpoint_gives_way_to_the_one_before(whole, run, tmp_path, interrupt):
    interrupt(7)
    saved = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    damage(tmp_path / "checkpoints" / str(saved[-1]))
    said: list[str] = []
    run(tmp_path, warn=said.append)
    assert len(said) == 1
    assert f"checkpoints/{saved[-1]} cannot be read" in said[0]
    assert record(tmp_path)["resumed_from"] == [saved[-2]]
    assert_same_run(whole, tmp_path)


def test_with_no_checkpoint_readable_nothing_is_deleted(run, tmp_path, interrupt):
    interrupt(7)
    for checkpoint in (tmp_path / "checkpoints").iterdir():
        damage(checkpoint)
    before = sorted((tmp_path / "checkpoints").rglob("*"))
    with pytest.raises(InputError, match="no checkpoint can be read"):
        run(tmp_path)
    assert sorted((tmp_path / "checkpoints").rglob("*")) == before


def test_last_and_best_checkpoints_are_kept(whole):
    rows = [row for row in read_metrics(whole / "metrics.jsonl") if row["split"] == "valid"]
    kept = {int(path.name) for path in (whole / "checkpoints").iterdir()}
    # Every second step and the last: 2, 4, 6, 8, 9; those with a validation are 6 and 9.
    top1 = {row["step"]: row["top1"] for row in rows if row["step"] in (6, 9)}
    assert {8, 9} <= kept <= {6, 8, 9}
    # Of two that are equally good, either may be kept.
    assert kept & {step for step, value in top1.items() if value == max(top1.values())}


def test_divergence_is_an_outcome_and_names_its_step(run, tmp_path):
    words = ("optimizer.learning_rate=1e3", "optimizer.weight_decay=10")
    written = run(tmp_path, *words)
    assert written["status"] == "diverged"
    step = int(written["reason"].split("step ")[1].split(",")[0])
    assert written["result"] is None
    trained = [row for row in read_metrics(tmp_path / "metrics.jsonl") if row["split"] == "train"]
    assert trained
    assert all(row["step"] < step and np.isfinite(row["loss"]) for row in trained)
    for path, value in final_state(tmp_path).items():
        assert np.isfinite(value).all(), path
    assert run(tmp_path, *words) == written


@pytest.mark.parametrize(
    ("reason", "said"), [({}, ""), ({"reason": None}, ""), ({"reason": [1]}, ": [1]")]
)
def test_a_run_that_diverged_says_so_where_its_record_holds_no_reason(call, tmp_path, reason, said):
    """The record may be somebody else's."""
    (tmp_path / "run.json").write_text(json.dumps({"status": "diverged"} | reason))
    code, _, err = call("train", CONFIG, "--workdir", tmp_path, *SHRUNK)
    assert (code, err) == (1, f"the run diverged{said}; see {tmp_path}/run.json\n")


def test_a_failure_is_recorded_and_tried_again(whole, run, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("the disk\nis on fire")

    with monkeypatch.context() as patch:
        patch.setattr("xception_jax.training.run_writer._npz", fail)
        with pytest.raises(RuntimeError):
            run(tmp_path)
    assert record(tmp_path)["status"] == "failed"
    assert record(tmp_path)["reason"] == "RuntimeError: the disk is on fire"
    assert "Traceback" in (tmp_path / "failure.txt").read_text()
    run(tmp_path)
    assert record(tmp_path)["reason"] is None
    assert not (tmp_path / "failure.txt").exists()
    assert_same_run(whole, tmp_path)


def test_a_directory_of_another_run_is_refused(whole, run):
    with pytest.raises(InputError, match=r"seed is 0 there and 1 here"):
        run(whole, "seed=1")
    run(whole, "wandb.project=another")  # does not change the result: the same run


def test_two_processes_cannot_train_one_run(run, tmp_path):
    with lock.locked(tmp_path), pytest.raises(InputError, match="in use by process"):
        run(tmp_path)
    assert not lock.is_locked(tmp_path)


def test_streaming_gives_the_curve_of_in_memory(whole, run, tmp_path):
    """The same images in the same order; also `index` beside `image` in evaluation.

    Two programs for one computation: rounding differs, and batch normalization amplifies it.
    """
    run(tmp_path, "data.pipeline=streaming")
    rows = [read_metrics(home / "metrics.jsonl") for home in (whole, tmp_path)]
    for one, other in zip(*rows, strict=True):
        assert (one["step"], one["split"]) == (other["step"], other["split"])
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder of 60 training and 9 validation images of three classes, none of them broken."""
    from PIL import Image

    rng, root = np.random.default_rng(0), tmp_path / "images"
    for split, count in (("train", 60), ("valid", 9)):
        for number in range(count):
            of_class = root / split / f"class{number % 3}"
            of_class.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(256, size=(8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(of_class / f"{number}.png")
    return root


def words_for(folder: Path, pipeline: str) -> list[str]:
    return [
        "data.name=folder",
        f"data.directory={folder}",
        "data.train_examples=null",
        "train.epochs=2",
        f"data.pipeline={pipeline}",
        *SOONEST,
    ]


@pytest.mark.parametrize(
    "pipeline", [pytest.param("in_memory", marks=pytest.mark.slow), "streaming"]
)
def test_corrupt_images_are_skipped_counted_and_named(pipeline, run, folder, tmp_path):
    for broken in ("train/class0/3.png", "valid/class1/4.png"):
        (folder / broken).write_bytes(b"no image")
    words = words_for(folder, pipeline)
    with pytest.raises(InputError, match="corrupt_images"):
        run(tmp_path / "stop", *words)
    written = run(tmp_path / "skip", *words, "data.corrupt_images=skip")
    assert written["status"] == "done"
    assert [Path(name).name for name in written["skipped_images"]] == ["3.png", "4.png"]
    assert written["result"]["examples"] == 8
    assert len(np.load(tmp_path / "skip" / "predictions.npz")["correct"]) == 8


@pytest.mark.parametrize("pipeline", ["in_memory", "streaming"])
def test_a_split_without_a_readable_image_is_no_result(pipeline, run, folder, tmp_path):
    """Its metrics would be means of nothing, and the run would be done with them."""
    for path in (folder / "valid").rglob("*.png"):
        path.write_bytes(b"no image")
    words = words_for(folder, pipeline)
    with pytest.raises(InputError, match=r"data\.name='folder'.*test split has no image"):
        run(tmp_path / "run", *words, "data.corrupt_images=skip")
    if pipeline == "in_memory":  # where that is known before anything begins
        assert not (tmp_path / "run").exists()
    else:
        assert record(tmp_path / "run")["status"] == "failed"


def test_progress_is_told_only_of_finished_steps(run, tmp_path):
    told: list[Progress] = []
    run(tmp_path, listener=told.append)
    assert told[0].phase == "compile"
    assert [p.step for p in told if p.phase == "train"] == list(range(1, 10))
    assert told[1].images_per_second is None
    assert (told[-1].images_per_second or 0) > 0


@pytest.mark.parametrize("seconds", [0.0, 5e9])
def test_predictions_have_no_date(seconds, monkeypatch):
    """The clock of a machine without a battery may show a year that a zip cannot hold."""
    arrays = {"correct": np.arange(5) % 2 == 0, "split": np.array("test")}
    content = _npz(arrays)
    monkeypatch.setattr(time, "time", lambda: seconds)
    assert _npz(arrays) == content
    with np.load(io.BytesIO(content), allow_pickle=False) as read:
        assert read["split"] == "test"
        assert np.array_equal(read["correct"], arrays["correct"])
