"""Logs and records that somebody else may have written, where W&B's files are made of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from xception_jax import tracking
from xception_jax.errors import InputError
from xception_jax.records import METRICS_LOG
from xception_jax.tracking import mirror_run, read_metrics, summary_of

ROW = {"step": 1, "epoch": 0.5, "split": "train", "loss": 1.0}


@pytest.mark.parametrize(
    "changes",
    [
        {"step": "1"},
        {"step": 10**400},
        {"epoch": "0.5"},
        {"epoch": None},
        {"epoch": float("nan")},
        {"loss": [1.0]},
        {"loss": {"a": 1}},
        {"non_finite": 3},
        {"non_finite": {"epoch": "NaN"}},
        {"non_finite": {"loss": [1]}},
    ],
)
def test_a_row_that_is_none_is_named(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / METRICS_LOG
    path.write_text(json.dumps(ROW) + "\n")
    assert read_metrics(path) == [ROW]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in (ROW, ROW | {"step": 2} | changes)))
    with pytest.raises(InputError, match=rf"{METRICS_LOG}.*line 2 is damaged"):
        read_metrics(path)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What W&B is told of the runs that begin; none does."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(tracking, "start_run", lambda **words: calls.append(words))
    return calls


@pytest.mark.parametrize("wandb", [5, ["offline"], {"run_id": "x", "arm": 1}, {"project": ["a"]}])
def test_settings_of_wandb_may_be_anything(
    tmp_path: Path, started: list[dict[str, Any]], wandb: object
) -> None:
    record = {"id": "a" * 64, "name": ["x"], "arm": 5, "result": "fast"}
    mirror_run(tmp_path, record, {"wandb": wandb}, {}, warn=print)
    (words,) = started
    for name in ("run_id", "name", "arm", "project"):
        assert isinstance(words[name], str)
    assert words.get("mode", "offline") == "offline"


@pytest.mark.parametrize("record", [{}, {"id": None}, {"id": ""}])
def test_a_record_without_an_id_is_named(
    tmp_path: Path, started: list[dict[str, Any]], record: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=r"run\.json.*does not hold the id"):
        mirror_run(tmp_path, record, {}, {}, warn=print)
    assert started == []


@pytest.mark.parametrize("result", [None, "fast", [1], {}, {"top1": 0.5}])
def test_a_result_may_be_anything(result: object) -> None:
    assert summary_of({"status": "done", "result": result})["status"] == "done"
