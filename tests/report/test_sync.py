"""`sync`: W&B's offline files are made anew from a sweep's own, with its verdicts and figures."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.offline_runs import read_offline_run
from tests.programs import Call
from tests.synthetic_sweep import STEPS, SweepWriter, edit_run, saturating
from tests.synthetic_tuning import add_tuning
from xception_jax.lock import locked
from xception_jax.sweep import Claim
from xception_jax.tracking import read_metrics

FINALS = {"none": 0.90, "relu": 0.87}


@pytest.fixture
def judged_sweep(new_sweep: Callable[..., SweepWriter]) -> SweepWriter:
    claims = [Claim("none", "relu", "better").describe()]
    sweep = new_sweep(arms={arm: {} for arm in FINALS}, seeds=range(6), claims=claims)
    for arm, final in FINALS.items():
        for seed in sweep.seeds:
            top1 = saturating(final, noise=0.004, seed=seed)
            values = {"steps": STEPS, "top1": top1, "test_top1": final + 0.001 * seed}
            sweep.add_run(arm, seed, name=f"{arm} seed {seed}", experiment=sweep.name, **values)
    return sweep


@pytest.fixture
def no_figures(undrawn_figures: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are neither drawn nor given to W&B, which would open them."""
    monkeypatch.setattr("xception_jax.tracking.weights_and_biases._log_images", lambda *_: None)


def offline_directories(home: Path) -> list[Path]:
    return sorted(home.glob("wandb/offline-run-*"))


@pytest.mark.usefixtures("no_figures")
def test_every_run_and_the_report_become_one_offline_run_each(
    call: Call, judged_sweep: SweepWriter
) -> None:
    for _ in range(2):  # the second time nothing is left of the first
        code, said, errors = call("sync", judged_sweep.directory)
    assert (code, errors) == (0, "")
    assert f"wandb sync {judged_sweep.directory}/runs/*/wandb/offline-run-*" in said
    for arm, seed in (("none", 0), ("relu", 5)):
        home = judged_sweep.run_directory(arm, seed)
        offline = read_offline_run(home)
        record = json.loads((home / "run.json").read_text())
        assert [row["top1"] for row in offline.curve] == [
            row["top1"] for row in read_metrics(home / "metrics.jsonl")
        ]
        summary = offline.summary
        assert summary["test/top1"] == record["result"]["top1"]
        assert summary["claim 1/final_top1"] == record["result"]["top1"]
        assert summary["claim 1/verdict"] == "supported"
        assert (offline.run["run_group"], offline.run["job_type"]) == ("nonlinearity", arm)


def test_the_report_is_a_run_of_the_same_group(call: Call, judged_sweep: SweepWriter) -> None:
    assert call("sync", judged_sweep.directory)[0] == 0
    (files,) = offline_directories(judged_sweep.directory)
    offline = read_offline_run(judged_sweep.directory)
    verdicts = json.loads((judged_sweep.directory / "report/verdicts.json").read_text())
    (claim,) = verdicts["claims"]
    summary = offline.summary
    assert summary["claim 1/sentence"] == claim["sentence"]
    assert summary["claim 1/final_top1/p"] == claim["endpoints"][0]["p"]
    assert (offline.run["run_group"], offline.run["job_type"]) == ("nonlinearity", "report")
    drawn = {path.stem for path in judged_sweep.directory.glob("report/*.png")}
    images = {path.name.rpartition("_")[0].rpartition("_")[0] for path in files.rglob("*.png")}
    assert images == drawn


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("metrics.jsonl", "{}\n"),
        pytest.param("run.json", "{}", marks=pytest.mark.slow),
        ("run.json", "{"),
        pytest.param("config.json", "[]", marks=pytest.mark.slow),
    ],
)
def test_a_damaged_file_is_named_and_the_others_are_synced(
    file: str, content: str, call: Call, judged_sweep: SweepWriter
) -> None:
    damaged = judged_sweep.run_directory("relu", 1) / file
    damaged.write_text(content + damaged.read_text() * (file == "metrics.jsonl"))
    code, _, errors = call("sync", judged_sweep.directory)
    assert code == 1
    assert str(damaged) in errors
    assert len(errors.splitlines()) == 1
    assert offline_directories(judged_sweep.run_directory("relu", 2))


@pytest.mark.usefixtures("no_figures")
def test_a_run_that_is_training_is_named_and_left_as_it_is(
    call: Call, judged_sweep: SweepWriter
) -> None:
    """A worker of a batch system locks its run, and not the sweep."""
    home = judged_sweep.run_directory("relu", 1)
    assert call("sync", judged_sweep.directory)[0] == 0
    (files,) = offline_directories(home)
    (files / "live").write_text("what the worker writes")
    edit_run(home, lambda record: record.update(status="running", result=None))
    with locked(home):
        code, _, errors = call("sync", judged_sweep.directory)
    assert (code, len(errors.splitlines())) == (1, 1)
    assert f"left out: directory='{home}': is in use by a process" in errors
    assert offline_directories(home) == [files]
    assert (files / "live").exists()
    assert call("sync", judged_sweep.directory)[0] == 0  # once it has ended
    assert not (files / "live").exists()


@pytest.mark.usefixtures("no_figures")
def test_tuning_runs_are_synced_too(call: Call, new_sweep: Callable[..., SweepWriter]) -> None:
    sweep = new_sweep(arms={arm: {} for arm in FINALS}, seeds=range(2), claims=[])
    add_tuning(sweep, {arm: {(0.1,): [0.8], (0.2,): [0.7]} for arm in FINALS})
    for arm, final in FINALS.items():
        for seed in sweep.seeds:
            sweep.add_run(arm, seed, steps=STEPS, top1=saturating(final), test_top1=final)
    code, said, errors = call("sync", sweep.directory)
    assert (code, errors) == (0, "")
    assert f"{sweep.directory}/tuning/*/wandb/offline-run-*" in said
    homes = [*sweep.directory.glob("tuning/*/"), *sweep.directory.glob("runs/*/")]
    assert [len(offline_directories(home)) for home in homes] == [1] * 8


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
def test_the_report_of_a_sweep_that_repeats_another_takes_no_ones_place(
    call: Call, judged_sweep: SweepWriter, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(judged_sweep.directory, other)
    copy = tmp_path / "copy"
    shutil.copytree(judged_sweep.directory, copy)
    path = other / "sweep.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"created": "2027-01-01T00:00:00+00:00"}))
    ids = []
    for home in (judged_sweep.directory, copy, other):
        assert call("sync", home)[0] == 0
        ids.append(read_offline_run(home).run["run_id"])
    assert ids[0] == ids[1] != ids[2]


def test_nothing_is_made_where_nothing_has_begun(
    call: Call, new_sweep: Callable[..., SweepWriter]
) -> None:
    sweep = new_sweep(arms={"a": {}})
    code, said, errors = call("sync", sweep.directory)
    assert (code, said) == (2, "")
    assert "none of its runs has begun" in errors
    assert sorted(path.name for path in sweep.directory.iterdir()) == ["sweep.json"]
