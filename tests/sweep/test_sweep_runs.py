"""Sweeps of single runs from start to end, through the command line's own functions."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from xception_jax import lock
from xception_jax.checksums import digest
from xception_jax.commands import sweep as sweep_command
from xception_jax.runtime import run_directory
from xception_jax.sweep import local
from xception_jax.training import Interrupted, train_together
from xception_jax.training.compile import compile_train_steps


@pytest.fixture(scope="module")
def sweep(call, experiment, shrunk_words):
    """`sweep(directory, "--seeds", 2, …)`."""
    fixed = ("--packing", "off")
    return lambda home, *words: call(
        "sweep", experiment, "--workdir", home, *fixed, *words, *shrunk_words
    )


RESULT = {"split": "test", "loss": 1.0, "examples": 7, "top1": 0.5, "top5": 0.9}


@pytest.mark.parametrize(
    ("last", "code", "counts"), [("done", 0, "2 done"), ("diverged", 1, "1 done, 1 diverged")]
)
def test_a_batch_system_without_work_left_ends_as_other_launchers_do(
    last, code, counts, tmp_path, capsys
):
    for name, status in (("a", "done"), ("b", last)):
        (tmp_path / name).mkdir()
        record = {"status": status, "result": RESULT}
        (tmp_path / name / "run.json").write_text(json.dumps(record))
    execution: Any = SimpleNamespace(
        directory=tmp_path, location="s3://bucket/b c", submit=lambda *_: False
    )
    experiment: Any = SimpleNamespace(looks=())
    runs: Any = [SimpleNamespace(directory=name) for name in "ab"]
    array: Any = None
    assert sweep_command._submit(execution, experiment, runs, array) == code
    assert capsys.readouterr().out == f"{counts}; next: xception-jax report 's3://bucket/b c'\n"


class _Edited:
    """`edited(old, new)`: the path of the experiment's file with a change; `words` shrink it."""

    def __init__(self, experiment: Path, words: tuple[str, ...], directory: Path) -> None:
        self._experiment, self.words, self._directory = experiment, words, directory

    def __call__(self, old: str, new: str) -> Path:
        text = self._experiment.read_text()
        assert old in text
        base = self._experiment.parents[1] / "configs"
        path = self._directory / "edited.py"
        path.write_text(text.replace(old, new).replace("../configs", str(base)))
        return path


@pytest.fixture
def edited(experiment, shrunk_words, tmp_path) -> _Edited:
    return _Edited(experiment, shrunk_words, tmp_path)


@dataclass(frozen=True)
class Finished:
    """A sweep of three arms and two seeds, what its command said, and how often it compiled."""

    home: Path
    code: int
    out: str
    err: str
    compiled: int


@pytest.fixture(scope="module")
def finished(tmp_path_factory, sweep) -> Finished:
    home = tmp_path_factory.mktemp("sweep") / "done"
    compile_train_steps.cache_clear()
    code, out, err = sweep(home, "--seeds", 2)
    return Finished(home, code, out, err, compile_train_steps.cache_info().misses)


@pytest.fixture(scope="module")
def done(finished) -> Path:
    return finished.home


def records(home: Path) -> dict[str, dict]:
    rows = json.loads((home / "sweep.json").read_text())["runs"]
    return {
        f"{row['arm']}-s{row['seed']}": json.loads(
            (home / row["directory"] / "run.json").read_text()
        )
        for row in rows
    }


def times(home: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in (home / "runs").rglob("*") if p.is_file()}


def test_a_sweep_trains_every_run_and_compiles_once_an_arm(finished):
    done, out = finished.home, finished.out
    assert (finished.code, finished.err, finished.compiled) == (0, "", 3)
    ended = [line for line in out.splitlines() if "done, test top-1" in line]
    assert [line.split("]")[0] for line in ended] == [f"[{n}/6" for n in range(1, 7)]
    assert f"6 done; next: xception-jax report {done}" in out
    assert {record["status"] for record in records(done).values()} == {"done"}
    ledger = json.loads((done / "sweep.json").read_text())
    assert ledger["experiment"]["name"] == "nonlinearity"
    assert ledger["experiment"]["seeds"] == [0, 1]
    assert ledger["command"].startswith("xception-jax sweep ")
    assert [row["arm"] for row in ledger["runs"]] == ["none", "relu", "elu"] * 2
    names = [record["name"] for record in records(done).values()]
    assert names == [f"{row['arm']}-s{row['seed']}" for row in ledger["runs"]]
    assert {record["claims_sha256"] for record in records(done).values()} == {
        digest(ledger["experiment"]["claims"])
    }


def test_again_it_does_nothing(done, sweep):
    before = times(done)
    code, out, _ = sweep(done, "--seeds", 2)
    assert code == 0
    assert "6 done" in out
    assert times(done) == before


def test_only_what_is_missing_is_trained(done, sweep, tmp_path):
    home = tmp_path / "copy"
    shutil.copytree(done, home)
    (missing,) = home.glob("runs/relu-s1-*")
    expected = (missing / "metrics.jsonl").read_text()
    shutil.rmtree(missing)
    before = times(home)
    code, out, _ = sweep(home, "--seeds", 2)
    assert code == 0
    assert "[5/6] relu seed 1: done" in out
    assert "none seed" not in out
    assert (missing / "metrics.jsonl").read_text() == expected
    assert {path: time for path, time in times(home).items() if path in before} == before


def test_seeds_can_be_added_and_fewer_leave_the_others(done, sweep, tmp_path):
    home = tmp_path / "copy"
    shutil.copytree(done, home)
    assert sweep(home, "--seeds", 3)[0] == 0
    assert len(records(home)) == 9
    code, out, _ = sweep(home, "--seeds", 1)
    assert code == 0
    assert "3 done" in out
    assert len(records(home)) == 9
    assert json.loads((home / "sweep.json").read_text())["experiment"]["seeds"] == [0, 1, 2]


def test_status_shows_how_runs_stand(done, call, tmp_path):
    home = tmp_path / "copy"
    shutil.copytree(done, home)
    (none,) = home.glob("runs/none-s0-*")
    (relu,) = home.glob("runs/relu-s0-*")
    (elu,) = home.glob("runs/elu-s0-*")
    run_directory.update_run(none, status="running")
    (relu / "run.json").unlink()
    (elu / "run.json").write_text("{")
    code, out, _ = call("status", home)
    lines = {line[:11].strip(): line for line in out.splitlines()}
    assert code == 0
    assert "interrupted" in lines["none seed 0"]
    assert "planned" in lines["relu seed 0"]
    assert "unreadable" in lines["elu seed 0"]
    assert "done" in lines["none seed 1"]
    with lock.locked(none):
        assert "running" in call("status", home)[1]


@pytest.mark.usefixtures("unsearched_divergence")
def test_a_run_that_fails_or_diverges_does_not_stop_the_others(sweep, call, tmp_path, monkeypatch):
    train = train_together

    def train_or_fail(runs, slots, **arguments):
        (run,) = runs
        config = run.config
        if config.model.block.intermediate_activation == "relu":
            raise RuntimeError("out of [memory]")
        if config.model.block.intermediate_activation == "elu":
            diverging = {"learning_rate": 1e3, "weight_decay": 10.0}
            config = replace(config, optimizer=replace(config.optimizer, **diverging))
            for name in ("config.json", "run.json"):
                (run.directory / name).unlink()
        return train([replace(run, config=config)], slots, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr(local, "train_together", train_or_fail)
        code, out, err = sweep(tmp_path, "--seeds", 1)
    assert code == 1
    assert err == ""
    assert "1 done, 1 failed, 1 diverged" in out
    assert "relu seed 0: failed: RuntimeError: out of [memory]" in out
    found = records(tmp_path)
    assert found["none-s0"]["status"] == "done"
    assert found["relu-s0"]["reason"] == "RuntimeError: out of [memory]"
    assert found["elu-s0"]["status"] == "diverged"
    assert "not finite at step" in found["elu-s0"]["reason"]
    assert "out of [memory]" in call("status", tmp_path)[1]


def test_a_failed_run_is_tried_again(done, sweep, tmp_path):
    home = tmp_path / "copy"
    shutil.copytree(done, home)
    (failed,) = home.glob("runs/none-s0-*")
    run_directory.record_failure(failed, RuntimeError("no disk"))
    code, out, _ = sweep(home, "--seeds", 2)
    assert code == 0
    assert "[1/6] none seed 0: done" in out
    assert records(home)["none-s0"]["reason"] is None


def test_a_run_that_goes_on_keeps_the_claims_of_when_it_began(done, sweep, tmp_path):
    home = tmp_path / "copy"
    shutil.copytree(done, home)
    (failed,) = home.glob("runs/none-s0-*")
    before = run_directory.record_failure(failed, RuntimeError("no disk"))
    (home / "sweep.json").unlink()
    code, _, err = sweep(home, "--seeds", 2)
    assert (code, "made again from runs that had begun" in err) == (0, True)
    after = records(home)["none-s0"]
    assert after["status"] == "done"
    assert after["claims_sha256"] == before["claims_sha256"]
    assert after["claims_sha256"] != json.loads((home / "sweep.json").read_text())["claims_sha256"]


def test_an_interrupt_ends_the_sweep_with_75(sweep, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise Interrupted("stopped after step 3")

    monkeypatch.setattr(local, "train_together", interrupted)
    code, _, err = sweep(tmp_path, "--seeds", 1)
    assert code == 75
    assert err == "stopped after step 3; the same command goes on from there\n"


def test_two_sweeps_at_once_are_refused(done, sweep):
    with lock.locked(done):
        code, _, err = sweep(done, "--seeds", 2)
    assert code == 2
    assert "is in use by process" in err


def test_another_sweep_in_the_directory_is_refused(done, sweep):
    before = times(done)
    code, _, err = sweep(done, "--seeds", 2, "optimizer.nesterov=true")
    assert code == 2
    assert "its 'none' has other settings: optimizer.nesterov=false, not true" in err
    assert times(done) == before


@pytest.mark.slow
def test_an_experiment_runs_on_another_base_and_again_from_its_record(sweep, call, tmp_path):
    base, home = tmp_path / "base.py", tmp_path / "first"
    settings = {"optimizer.name": "rmsprop", "optimizer.learning_rate": 0.001}
    base.write_text(f"def get_config(): return {settings!r}")
    assert sweep(home, "--seeds", 1, "--base", base)[0] == 0
    ledger = json.loads((home / "sweep.json").read_text())
    assert ledger["experiment"]["base"].endswith("/base.py")
    assert ledger["base"]["optimizer"]["name"] == "rmsprop"
    record = shutil.move(home / "sweep.json", tmp_path / "sweep.json")
    base.unlink()
    words = ("--workdir", tmp_path / "again", "--packing", "off")
    assert call("sweep", record, *words)[0] == 0
    for first in (home / "runs").iterdir():
        again = tmp_path / "again" / "runs" / first.name
        assert (again / "metrics.jsonl").read_bytes() == (first / "metrics.jsonl").read_bytes()
    code, out, err = call("sweep", record, *words, "--base", base)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "sweep.json holds the base of its runs" in err


def test_another_base_is_another_sweep(done, sweep, tmp_path):
    base, before = tmp_path / "base.py", times(done)
    base.write_text("def get_config(): return {'optimizer.nesterov': True}")
    code, out, err = sweep(done, "--seeds", 2, "--base", base)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "another sweep: its base config is '../configs/fashion_mnist_mini.py', not" in err
    assert times(done) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('name="nonlinearity"', 'name="other"'), "its experiment is 'nonlinearity'"),
        (('"elu"', '"selu"'), "it has the arm 'elu'"),
    ],
)
def test_an_experiment_changed_after_the_runs_is_refused(done, call, edited, change, message):
    code, _, err = call("sweep", edited(*change), "--workdir", done, "--seeds", 2, *edited.words)
    assert code == 2
    assert message in err


def test_a_claim_changed_after_the_runs_is_recorded_beside_the_first(done, call, edited, tmp_path):
    home = tmp_path / "copy"
    shutil.copytree(done, home)
    changed = edited('activation, "better"', 'activation, "worse"')
    code, out, _ = call("sweep", changed, "--workdir", home, "--seeds", 2, *edited.words)
    assert code == 0
    assert "6 done" in out
    before, after = (json.loads((place / "sweep.json").read_text()) for place in (done, home))
    assert after["experiment"]["claims"] == before["experiment"]["claims"]
    assert after["claims_sha256"] == before["claims_sha256"]
    assert [claim["direction"] for claim in after["post_hoc_claims"]] == ["worse", "worse"]


def test_an_arm_can_be_added(done, edited, call, tmp_path):
    shutil.copytree(done, tmp_path / "copy")
    experiment = edited("arms={", 'arms={"slow": {"optimizer.learning_rate": 0.05}, ')
    code, out, _ = call(
        "sweep", experiment, "--workdir", tmp_path / "copy", "--seeds", 1, *edited.words
    )
    assert code == 0
    assert "4 done" in out
    assert len(records(tmp_path / "copy")) == 7


def test_a_sweep_and_a_run_do_not_share_a_directory(done, sweep, call, experiment, shrunk_words):
    (single,) = done.glob("runs/none-s0-*")
    code, _, err = sweep(single, "--seeds", 1)
    assert (code, "holds a single run" in err) == (2, True)
    config = experiment.parents[1] / "configs" / "fashion_mnist_mini.py"
    code, _, err = call("train", config, "--workdir", done, *shrunk_words)
    assert (code, "holds a sweep" in err) == (2, True)


def test_an_arm_that_cannot_run_is_found_before_any_work(call, edited, tmp_path):
    home = tmp_path / "w"
    code, _, err = call("sweep", edited('"elu"}', '"elv"}'), "--workdir", home, *edited.words)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "(arm 'elu')" in err
    assert "nearest valid value: 'elu'" in err
    assert not home.exists()
