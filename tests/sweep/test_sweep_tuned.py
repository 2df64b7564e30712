"""The real experiment, shrunk and tuned: from the command line, killed, resumed, by launchers."""

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.processes import started, wait_until
from tests.shrunk import EXPERIMENT, SHRUNK
from tests.sweep.tuned_sweeps import assert_same, chosen, read, records
from xception_jax.sweep import local
from xception_jax.training.compile import compile_train_steps
from xception_jax.training.divergence import Origin
from xception_jax.training.evaluate import Evaluator

# At the first rate weights hardly move, and the last diverges.
TUNE = 'Tune("optimizer.learning_rate", (1e-6, 0.05, 1000.0), seeds=1)'
LEARNING = ("train.average_decay=0", "train.epochs=8")


def write_experiment(directory: Path, tune: str = TUNE) -> Path:
    """The experiment's file, with tuning."""
    text = EXPERIMENT.read_text()
    path, base = directory / "tuned.py", EXPERIMENT.parents[1] / "configs"
    text = text.replace("import Claim, Experiment", "import Claim, Experiment, Tune")
    text = text.replace("../configs", str(base)).replace("seeds=8,", f"seeds=8, tune={tune},")
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """`words(directory, "--seeds", 1, …)`: of a tuned sweep of three arms and one seed."""
    path = write_experiment(tmp_path_factory.mktemp("experiment"))
    fixed = ("--seeds", "1", *SHRUNK, *LEARNING)
    return lambda home, *more: ("sweep", str(path), "--workdir", str(home), *more, *fixed)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, call, words):
    """A sweep, what its command said, how often it compiled, and what was evaluated when."""
    home = tmp_path_factory.mktemp("sweep") / "done"
    evaluated: list[tuple[str, bool]] = []
    evaluate = Evaluator.__call__

    def noted(self, state, split):
        evaluated.append((split, read(home)["complete"]))
        return evaluate(self, state, split)

    compile_train_steps.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Evaluator, "__call__", noted)
        # It would compile a program for each arm to say where a run diverged.
        patch.setattr("xception_jax.training.loop.find_origin", lambda *_: Origin(None, "?"))
        said = call(*words(home))
    return home, said, compile_train_steps.cache_info().misses, evaluated


@pytest.fixture(scope="module")
def done(finished) -> Path:
    return finished[0]


def rate(home: Path) -> float:
    return json.loads((home / "config.json").read_text())["optimizer"]["learning_rate"]


@pytest.mark.slow
def test_every_arm_gets_its_best_rate_and_trains_with_it(finished):
    done, (code, out, err), _, _ = finished
    assert (code, err) == (0, "")
    assert "3 arms x 3 values x 1 seeds = 9 runs, judged on validation" in out
    scores: dict[str, dict[float, float]] = {"none": {}, "relu": {}, "elu": {}}
    for path in done.glob("tuning/*/run.json"):
        run = json.loads(path.read_text())
        score = run["result"]["top1"] if run["status"] == "done" else 0.1
        scores[run["arm"]][rate(path.parent)] = score
    assert chosen(done) == {
        arm: min(of_arm, key=lambda r: (-of_arm[r], r)) for arm, of_arm in scores.items()
    }
    assert len(records(done, "runs")) == 3
    for path in done.glob("runs/*/run.json"):
        assert rate(path.parent) == chosen(done)[json.loads(path.read_text())["arm"]]
    record = read(done)
    tried = Counter(row["values"][0] for row in record["runs"])
    assert {1e-6, 0.05, 1e3} <= set(tried)
    assert set(tried.values()) == {3}  # every value in every arm
    diverged = [row for row in record["runs"] if row["status"] == "diverged"]
    assert diverged
    assert {row["score"] for row in diverged} == {0.1}
    at = {entry["at"] for entry in record["arms"].values()}
    assert max(at) <= min(run["started"] for run in records(done, "runs"))
    assert all(entry["known"]["begun"] == 0 for entry in record["arms"].values())


@pytest.mark.slow
def test_tuning_never_sees_the_test_split(finished):
    done, (_, out, _), _, evaluated = finished
    assert {split for split, is_tuned in evaluated if not is_tuned} == {"valid"}
    assert {split for split, is_tuned in evaluated if is_tuned} == {"valid", "test"}
    results = [run["result"] for run in records(done, "tuning") if run["status"] == "done"]
    assert {result["split"] for result in results} == {"valid"}
    assert not any("(tuning" in line and "test" in line for line in out.splitlines())
    assert {run["result"]["split"] for run in records(done, "runs")} == {"test"}
    assert {run["experiment"] for run in records(done, "tuning")} == {"nonlinearity-tuning"}


@pytest.mark.slow
def test_all_values_seeds_and_arms_train_in_packs(finished):
    done, _, compiled, _ = finished
    packs = json.loads((done / "sweep.json").read_text())["packs"]
    sizes = [len(pack["runs"]) for pack in packs]
    assert sizes == [9, *[3] * (len(packs) - 1)]  # at the edge, three arms try one value more
    assert compiled == 2  # one program for nine runs, one for three, whatever their rates


@pytest.mark.slow
def test_again_nothing_is_trained_or_written(done, call, words):
    def times():
        paths = [done / "tuning.json", *done.glob("tuning/*/*"), *done.glob("runs/*/*")]
        return {path: path.stat().st_mtime_ns for path in paths if path.is_file()}

    before = times()
    code, out, err = call(*words(done))
    assert (code, err) == (0, "")
    assert "3 done" in out
    assert "tuning" not in out.replace(str(done), "")
    assert times() == before


@pytest.mark.slow
def test_status_report_and_audit_know_of_it(done, call):
    out = call("status", done)[1]
    rows = read(done)["runs"]
    assert sum(line.startswith("tuning ") for line in out.splitlines()) == len(rows)
    assert "tuning none learning_rate=0.05 seed 2000000000" in out
    code, out, err = call("report", done)
    assert code == 0
    assert "not tested" in out  # one seed gives no verdict
    assert (done / "report" / "tuning.svg").exists()
    assert call("audit", done)[0] == 0
    code, out, err = call("sweep", done / "sweep.json", "--workdir", done)
    assert (code, err) == (0, "")


@pytest.mark.slow
def test_killed_while_it_is_tuned_it_goes_on_to_the_same_bits(done, call, words, tmp_path):
    with started(*words(tmp_path)) as process:  # it is killed at the end of this
        wait_until(lambda: list(tmp_path.glob("tuning/*/checkpoints/6")), process)
    assert not read(tmp_path)["complete"]
    assert not list(tmp_path.glob("runs/*"))
    for command in ("status", "report"):  # of a sweep without any run of the verdict
        assert call(command, tmp_path)[0] == 0
    code, _, err = call(*words(tmp_path))
    assert (code, err) == (0, "")
    assert any(run["resumed_from"] for run in records(tmp_path, "tuning"))
    assert_same(done, tmp_path)
    declared = json.loads((tmp_path / "sweep.json").read_text())["declarations"]
    assert len(declared) == 1


@pytest.mark.slow
def test_a_batch_system_tunes_first_and_the_same_command_goes_on(
    done, call, words, tmp_path, monkeypatch
):
    submitted: list[int] = []

    class Queue:
        """Trains at once what it is given."""

        def __init__(self, directory, **_):
            self.directory = directory

        def status(self):
            return set()

        def submit(self, units):
            for unit in units:
                submitted.append(unit.number)
                local.run_unit(
                    self.directory,
                    unit.number,
                    listener=lambda _: None,
                    stop=lambda: False,
                    warn=print,
                )
            return "submitted"

    monkeypatch.setattr("xception_jax.launchers.slurm.SlurmArray", Queue)
    command = words(tmp_path, "--launcher", "slurm", "--packing", "9")
    code, out, err = call(*command)
    assert (code, err) == (0, "")
    assert "once the units of tuning have ended, the same command goes on" in out
    assert json.loads((tmp_path / "sweep.json").read_text())["runs"] == []
    while "the same command goes on" in out:  # once more for each value beyond the edge
        code, out, err = call(*command)
        assert (code, err) == (0, "")
    assert "tuning: none: learning_rate=" in out
    packs = json.loads((tmp_path / "sweep.json").read_text())["packs"]
    assert submitted == list(range(len(packs)))
    assert_same(done, tmp_path)


@pytest.mark.slow
def test_worker_processes_tune_first(done, call, words, tmp_path):
    more = ("--launcher", "local", "--workers", "1", "--packing", "9")
    code, _, err = call(*words(tmp_path, *more))
    assert (code, err) == (0, "")
    assert chosen(tmp_path) == chosen(done)
    assert len(records(tmp_path, "runs")) == 3


@pytest.mark.parametrize(
    ("tune", "more", "message"),
    [
        ('Tune("optimizer.learning_rat", (0.1, 0.2))', (), "'optimizer.learning_rate'"),
        ('Tune("model.intermediate_activation", (1, 2))', (), "model.intermediate_activation=1"),
        (TUNE, ("optimizer.learning_rate=0.1",), "is what the experiment tunes for each arm"),
    ],
)
def test_bad_input_is_one_line_before_any_work(call, tmp_path, tune, more, message):
    path, home = write_experiment(tmp_path, tune), tmp_path / "w"
    code, out, err = call("sweep", path, "--workdir", home, *SHRUNK, *more)
    assert (code, len(err.splitlines())) == (2, 1), (out, err)
    assert message in err
    assert not list(home.glob("*"))


@pytest.mark.slow
def test_another_grid_in_the_same_directory_is_refused(done, call, tmp_path):
    path = write_experiment(tmp_path, TUNE.replace("0.05", "0.06"))
    words = ("--workdir", done, "--seeds", "1", *SHRUNK, *LEARNING)
    code, _, err = call("sweep", path, *words)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "what it tunes, or the values that it tries, are others" in err
