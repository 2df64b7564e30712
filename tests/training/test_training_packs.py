"""Packs: each run is what it is alone, whatever becomes of the others, interrupted or not."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.interrupting import stop_after
from tests.same_run import assert_same_run
from xception_jax.tracking import read_metrics
from xception_jax.training import Interrupted, RunNames, RunSpec, train_together

MEMBERS = (
    ("model.intermediate_activation=none",),
    ("model.intermediate_activation=relu", "optimizer.learning_rate=0.05", "model.dropout=0.4"),
    ("model.intermediate_activation=elu", "seed=1", "optimizer.weight_decay=1e-3"),
)


@pytest.fixture(scope="module")
def pack(shrunk):
    """`pack(directory, change={1: "…"}, alone=0, …)`: trains `MEMBERS` together, or one alone."""

    def pack(home: Path, *, change=(), alone=None, **arguments):
        runs = []
        for number, words in enumerate(MEMBERS):
            config = shrunk(*words, *dict(change).get(number, ()))
            runs.append(RunSpec(config, home / str(number), RunNames(str(number))))
        if alone is not None:
            return train_together([runs[alone]], None, **arguments)
        return train_together(runs, 3, **arguments)

    return pack


@pytest.fixture(scope="module")
def whole(pack, tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("pack")
    assert [record["status"] for record in pack(home)] == ["done"] * 3
    return home


def interrupt(pack, home: Path, count: int, **arguments) -> None:
    with pytest.raises(Interrupted):
        pack(home, stop=stop_after(count), **arguments)


def record(home: Path) -> dict:
    return json.loads((home / "run.json").read_text())


def losses(home: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(home / "metrics.jsonl")]


def times(home: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in home.rglob("*") if p.is_file()}


def test_each_run_of_a_pack_leaves_its_files(whole, run, tmp_path):
    for number in range(3):
        home = whole / str(number)
        written = record(home)
        assert written["pack"] == {"size": 3, "runs": ["0", "1", "2"]}
        assert written["images_per_second"] > 0
        rows = read_metrics(home / "metrics.jsonl")
        assert [row["step"] for row in rows if row["split"] == "train"] == [2, 4, 6, 8, 9]
        assert len(np.load(home / "predictions.npz")["correct"]) == 180
    assert len({tuple(losses(whole / str(number))) for number in range(3)}) == 3
    alone = run(tmp_path, *MEMBERS[1])
    assert alone["pack"] is None
    # 9 steps; rounding in another order, amplified by batch normalization of small images.
    np.testing.assert_allclose(losses(whole / "1"), losses(tmp_path), rtol=2e-3)
    pairings = [json.loads((home / "pairing.json").read_text()) for home in (whole / "1", tmp_path)]
    assert pairings[0] == pairings[1]


@pytest.mark.parametrize("taken", [pytest.param((1,), marks=pytest.mark.slow), (5, 3)])
def test_an_interrupted_pack_ends_as_if_it_were_not(taken, whole, pack, tmp_path):
    for count in taken:
        interrupt(pack, tmp_path, count)
    pack(tmp_path)
    for number in map(str, range(3)):
        assert_same_run(whole / number, tmp_path / number)
        assert record(tmp_path / number)["resumed_from"] == list(np.cumsum(taken))


def test_a_pack_goes_on_from_the_newest_step_that_all_have(whole, pack, tmp_path):
    """As after a kill in the middle of saving."""
    interrupt(pack, tmp_path, 7)
    newest = max(int(path.name) for path in (tmp_path / "1" / "checkpoints").iterdir())
    shutil.rmtree(tmp_path / "1" / "checkpoints" / str(newest))
    pack(tmp_path)
    for number in map(str, range(3)):
        assert_same_run(whole / number, tmp_path / number)
        assert record(tmp_path / number)["resumed_from"][0] < newest


@pytest.mark.slow
def test_a_run_of_a_pack_goes_on_alone_and_the_other_way_round(whole, pack, tmp_path):
    interrupt(pack, tmp_path / "apart", 5)
    assert pack(tmp_path / "apart", alone=1)[0]["status"] == "done"
    for number in range(3):
        interrupt(pack, tmp_path / "joined", 5, alone=number)
    assert {done["status"] for done in pack(tmp_path / "joined")} == {"done"}
    for kind in ("apart", "joined"):
        home = tmp_path / kind / "1"
        assert record(home)["resumed_from"] == [5]
        # Two programs round differently, and batch normalization amplifies it from step to step.
        np.testing.assert_allclose(losses(home), losses(whole / "1"), rtol=2e-3)


@pytest.mark.usefixtures("unsearched_divergence")
def test_a_member_that_diverges_leaves_the_others_alone(whole, pack, tmp_path):
    """Also when the pack goes on after it, and nothing of it is written again."""
    change = {1: ("optimizer.learning_rate=1e3", "optimizer.weight_decay=10")}
    interrupt(pack, tmp_path, 7, change=change)
    written = record(tmp_path / "1")
    assert written["status"] == "diverged"
    assert "not finite at step" in written["reason"]
    assert int(written["reason"].split("step ")[1].split(",")[0]) <= 7
    trained = [r for r in read_metrics(tmp_path / "1" / "metrics.jsonl") if r["split"] == "train"]
    assert trained and all(np.isfinite(row["loss"]) for row in trained)
    before = times(tmp_path / "1")
    ended = pack(tmp_path, change=change)
    assert [run["status"] for run in ended] == ["done", "diverged", "done"]
    assert times(tmp_path / "1") == before
    for number in ("0", "2"):
        assert_same_run(whole / number, tmp_path / number)
