"""Sweeps that train runs together: which, how many, recorded, killed and gone on with."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.interrupting import stop_after
from tests.processes import started, wait_until
from tests.programs import command_line
from tests.same_run import assert_same_run
from xception_jax import lock
from xception_jax.commands.engines import Engine
from xception_jax.commands.execution import Execution
from xception_jax.commands.sweep_options import parse_packing
from xception_jax.errors import InputError
from xception_jax.runtime import run_directory
from xception_jax.sweep import Experiment, local, plan_runs
from xception_jax.sweep.ledger import write_ledger
from xception_jax.sweep.packing import even_size, plan_packs
from xception_jax.tracking import read_metrics
from xception_jax.training import train_together
from xception_jax.training.compile import compile_train_steps

# Nine steps of another program: normalization of small images amplifies its roundings.
REGROUPED = 2e-3


def losses(home: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(home / "metrics.jsonl")]


@pytest.fixture(scope="module")
def words(experiment, shrunk_words):
    """`words(directory, "--seeds", 2, …)`: of a sweep of 9 steps a run."""
    return lambda home, *more: (
        "sweep", str(experiment), "--workdir", str(home), *map(str, more), *shrunk_words
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory, call, words) -> tuple[Path, tuple[int, str, str], int]:
    """A sweep of three arms and one seed, what its command said, and how often it compiled."""
    home = tmp_path_factory.mktemp("sweep") / "done"
    compile_train_steps.cache_clear()
    said = call(*words(home, "--seeds", 1))
    return home, said, compile_train_steps.cache_info().misses


@pytest.fixture(scope="module")
def done(finished) -> Path:
    return finished[0]


def run_dirs(sweep: Path) -> dict[str, Path]:
    rows = json.loads((sweep / "sweep.json").read_text())["runs"]
    return {row["arm"]: sweep / row["directory"] for row in rows}


def record(home: Path) -> dict:
    return json.loads((home / "run.json").read_text())


def test_a_pack_of_all_arms_compiles_once(finished):
    done, (code, out, err), compiled = finished
    assert (code, err, compiled) == (0, "", 1)
    assert "packing: 3 of 3 runs at a time (not timed)" in out  # so few steps are not worth it
    assert "[runs 1-3 of 3] none, relu, elu, seed 0: compiling" in out
    assert [line.split("]")[0] for line in out.splitlines() if "done, test" in line] == [
        "[1/3", "[2/3", "[3/3",
    ]  # fmt: skip
    (row,) = json.loads((done / "sweep.json").read_text())["packs"]
    assert row["size"] == 3
    assert row["runs"] == [str(home.relative_to(done)) for home in run_dirs(done).values()]
    for home in run_dirs(done).values():
        assert record(home)["pack"] == {"size": 3, "runs": ["none-s0", "relu-s0", "elu-s0"]}


@pytest.mark.slow
def test_a_killed_pack_is_formed_again_and_ends_as_if_it_were_not(done, words, call, tmp_path):
    with started(*words(tmp_path, "--seeds", 1)) as process:  # it is killed at the end of this
        # One run of the pack has saved step 4; the others may be at it.
        wait_until(lambda: list(tmp_path.glob("runs/*/checkpoints/4")), process)
    code, out, err = call(*words(tmp_path, "--seeds", 1))
    assert (code, err) == (0, "")
    assert "packing:" not in out  # it is the same pack, and needs no choice
    assert all(record(home)["resumed_from"] for home in run_dirs(tmp_path).values())
    for arm, home in run_dirs(done).items():
        assert_same_run(home, run_dirs(tmp_path)[arm])


@pytest.mark.slow
def test_packs_spread_over_cores_give_the_same_curves(done, words, tmp_path):
    """Of two slots; in `done`, three runs are on one device."""
    flags = os.environ["XLA_FLAGS"].replace("--xla_force_host_platform_device_count=1", "")
    program = command_line(*words(tmp_path, "--seeds", 1, "--packing", 2))
    subprocess.run(program, env=os.environ | {"XLA_FLAGS": flags}, check=True, capture_output=True)
    for arm, home in run_dirs(tmp_path).items():
        assert record(home)["pack"]["size"] == 2
        assert len(record(home)["devices"]) == min(2, len(os.sched_getaffinity(0)))
        np.testing.assert_allclose(losses(home), losses(run_dirs(done)[arm]), rtol=REGROUPED)


@pytest.fixture
def interrupted(words, call, tmp_path, monkeypatch) -> Path:
    """A pack that was stopped after step 5."""
    train = train_together

    def stopped(runs, slots, **arguments):
        return train(runs, slots, **arguments | {"stop": stop_after(5)})

    with monkeypatch.context() as patch:
        patch.setattr(local, "train_together", stopped)
        assert call(*words(tmp_path, "--seeds", 1))[0] == 75
    return tmp_path


@pytest.mark.slow
def test_packing_off_takes_the_runs_of_a_pack_over(done, interrupted, words, call):
    code, _, err = call(*words(interrupted, "--seeds", 1, "--packing", "off"))
    assert code == 0
    said = "none-s0, relu-s0, elu-s0 trained together and each go on alone: packing is off\n"
    assert err == said
    for arm, home in run_dirs(interrupted).items():
        assert record(home)["pack"] is None
        assert record(home)["resumed_from"] == [5]
        np.testing.assert_allclose(losses(home), losses(run_dirs(done)[arm]), rtol=REGROUPED)


def numbers(directory, planned, most, recorded=(), warn=None, **queued):
    sizes = None if most is None else lambda runs: (even_size(len(runs), most), "given")
    packs = plan_packs(
        directory, planned, range(len(planned)), recorded=recorded, sizes=sizes, warn=warn, **queued
    )
    return [(pack.indices, pack.slots) for pack in packs]


def test_runs_of_one_program_form_even_packs(planned, tmp_path):
    """Runs 3 and 7 are of the wide arm."""
    assert numbers(tmp_path, planned, None) == [((n,), None) for n in range(8)]
    assert numbers(tmp_path, planned, 1) == [((n,), None) for n in range(8)]
    assert numbers(tmp_path, planned, 16) == [((0, 1, 2, 4, 5, 6), 6), ((3, 7), 2)]
    assert numbers(tmp_path, planned, 5) == [((0, 1, 2), 3), ((3, 7), 2), ((4, 5, 6), 3)]


@pytest.mark.parametrize(
    ("runs", "most", "size"), [(15, 8, 8), (15, 5, 5), (16, 5, 4), (7, 3, 3), (2, 9, 2), (5, 1, 1)]
)
def test_packs_are_even(runs, most, size):
    assert even_size(runs, most) == size


def begin(directory, run, pack=True):
    home = directory / run.directory
    (home / "checkpoints" / "2").mkdir(parents=True)
    run_directory.update_run(home, status="running", pack={"size": 3} if pack else None)


def test_what_has_begun_is_formed_again_or_says_why_not(planned, tmp_path):
    row = {"size": 3, "runs": [planned[n].directory for n in (0, 1, 2)]}
    for number in (0, 1, 2):
        begin(tmp_path, planned[number])
    rest = [((3, 7), 2), ((4, 5, 6), 3)]
    assert numbers(tmp_path, planned, 16, [row]) == [((0, 1, 2), 3), *rest]
    alone = [((0,), None), ((1,), None), ((2,), None)]
    said: list[str] = []
    for damage in (lambda home: (home / "run.json").unlink(), shutil.rmtree):
        damage(tmp_path / planned[1].directory)
        assert numbers(tmp_path, planned, 16, [row], said.append) == [*alone, *rest]
        (tmp_path / planned[1].directory).mkdir(exist_ok=True)
        run_directory.update_run(tmp_path / planned[1].directory, status="planned")  # as `sweep`
        assert numbers(tmp_path, planned, 16, [row], said.append) == [*alone, *rest]
    assert said == 4 * [
        "none-s0, relu-s0, elu-s0 trained together and each go on alone: files of relu-s0 are gone"
    ]


def test_what_a_batch_system_has_stays_as_it_was_submitted(planned, tmp_path):
    rows = [{"size": 3, "runs": [planned[n].directory for n in ns]} for ns in ((0, 1, 2), (4, 5))]
    rows += [{"size": None, "runs": [planned[6].directory]}]
    for number in (0, 1, 2):
        begin(tmp_path, planned[number])
    queued, rest = [((0, 1, 2), 3), ((4, 5), 3), ((6,), None)], ((3, 7), 2)
    with lock.locked(tmp_path / planned[0].directory):  # by the worker
        for most in (16, 2, None):
            found = numbers(tmp_path, planned, most, rows, queued=(0, 1, 2))
            assert [pack for pack in found if pack in queued] == queued
            assert {n for ns, _ in found for n in ns} == set(range(8))
            assert len([n for ns, _ in found for n in ns]) == 8
    # Not all of the second pack are asked for now: it trains all the same.
    fewer = numbers(tmp_path, planned[:5], 16, rows, queued=(1,))
    assert fewer == [((0, 1, 2), 3), ((3,), None)]
    assert numbers(tmp_path, planned, 16, rows) == [((0, 1, 2), 3), rest, ((4, 5, 6), 3)]


def test_the_same_command_submits_nothing_that_a_batch_system_has(planned, tmp_path):
    """Ten runs, four at a time: the rest would make packs of three once the first have begun."""
    arms: dict[str, dict[str, Any]] = {"none": {}}
    experiment, base = Experiment("x", "", "b.py", arms=arms, seeds=10), planned[0].config
    runs = plan_runs(experiment, base)
    queue: dict[int, str] = {}
    submitted: list[list[int]] = []

    class Array:
        def status(self):
            return queue

        def submit(self, units):
            submitted.append([len(unit.run_dirs) for unit in units])
            queue.update({unit.number: "PENDING" for unit in units})
            return "submitted"

    def sizes(waiting):
        return even_size(len(waiting), 4), "given"

    write_ledger(tmp_path, experiment, base, runs, "sweep")
    engine = Engine("slurm", None, None, None, None)
    execution = Execution(tmp_path, str(tmp_path), engine, sizes, lambda: False)
    array: Any = Array()
    assert execution.submit(array, runs)
    for run in runs[:4]:
        begin(tmp_path, run)
    assert execution.submit(array, runs)
    assert submitted == [[4, 4, 2]]
    queue.clear()  # cancelled
    assert execution.submit(array, runs)
    assert submitted[1:] == [[4, 3, 3]]


def test_runs_at_different_steps_do_not_train_together(planned, tmp_path):
    begin(tmp_path, planned[1], pack=False)
    (tmp_path / planned[1].directory / "checkpoints" / "4").mkdir()
    with lock.locked(tmp_path / planned[4].directory):
        found = numbers(tmp_path, planned, 16)
    assert found == [((0, 2, 5, 6), 4), ((1,), None), ((3, 7), 2), ((4,), None)]


@pytest.mark.parametrize(
    ("text", "near"), [("of", "off"), ("0", 1), ("-3", 1), ("9999", 1024), ("2.5", "auto")]
)
def test_packing_that_does_not_exist_is_refused(text, near, words, call, tmp_path):
    code, _, err = call(*words(tmp_path / "w", f"--packing={text}"))
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "--packing" in err
    assert not (tmp_path / "w").exists()
    with pytest.raises(InputError) as refused:
        parse_packing(text)
    assert refused.value.nearest == near
