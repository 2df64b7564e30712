"""The launcher of local processes, with commands that train nothing and with whole sweeps."""

import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.launchers.worker_sweeps import (
    assert_done_as,
    finish,
    in_the_middle,
    kill_one,
    record,
    run_dirs,
    words,
    workers,
)
from tests.processes import wait_until
from tests.programs import program, start_program, stdout_of
from tests.shrunk import EXPERIMENT, SHRUNK, SOONEST
from xception_jax.errors import InputError
from xception_jax.launchers import Ended, Unit, read_log
from xception_jax.launchers.devices import accelerators, shares
from xception_jax.launchers.processes import ProcessLauncher
from xception_jax.launchers.ray import parse_resources
from xception_jax.launchers.supervision import Supervisor


@pytest.fixture
def unit(tmp_path):
    """`unit(number, shell)`: a unit whose command is a line of shell."""

    def unit(number: int, shell: str) -> Unit:
        home = tmp_path / f"run-{number}"
        home.mkdir()
        command = ("sh", "-c", shell)
        return Unit(number, f"run-{number}", (home,), command, tmp_path / f"{number}.log")

    return unit


@pytest.fixture
def launcher():
    launcher = ProcessLauncher(2)
    yield launcher
    launcher.close()


def has_logged(unit: Unit) -> bool:
    return bool(read_log(unit))


def ended(launcher, unit) -> Ended:
    states: list[Ended] = []

    def has_ended() -> bool:
        if (state := launcher.status(unit)) is not None:
            states.append(state)
        return bool(states)

    wait_until(has_ended)
    return states[0]


def test_a_command_is_run_logged_and_its_code_returned(launcher, unit):
    failing, killed = unit(0, "echo out; echo err >&2; exit 3"), unit(1, "kill -9 $$")
    launcher.submit(failing, ())
    launcher.submit(killed, ())
    assert ended(launcher, failing) == Ended(3)
    assert ended(launcher, killed) == Ended(-signal.SIGKILL)
    assert read_log(failing) == "out\nerr\n"
    launcher.submit(failing, ())
    assert ended(launcher, failing) == Ended(3)
    assert read_log(failing) == "out\nerr\n" * 2


def test_a_cancelled_command_may_finish_and_a_closed_launcher_leaves_none(launcher, unit):
    stopping = unit(0, "trap 'echo saved; exit 75' TERM; echo up; while :; do sleep 0.05; done")
    ignoring = unit(1, "trap '' TERM; echo $$; while :; do sleep 0.05; done")
    for started in (stopping, ignoring):
        launcher.submit(started, ())
        wait_until(partial(has_logged, started))
    launcher.cancel(stopping)
    assert ended(launcher, stopping) == Ended(75)
    assert read_log(stopping) == "up\nsaved\n"
    launcher.cancel(ignoring)
    assert launcher.status(ignoring) is None
    launcher.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(read_log(ignoring)), 0)


def has_ended(process: Path) -> bool:
    """Whether a process of /proc has ended, also where nobody has asked for its exit code."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a process of its parent's end"
)
def test_a_worker_ends_with_whoever_started_it(tmp_path):
    log = tmp_path / "log"
    process = start_program("sleeping_driver", log, *program("sleeping_worker"))
    child = Path("/proc") / stdout_of(process).readline().strip()
    wait_until(lambda: log.exists() and log.read_text() == "up\n", process)
    assert child.exists()
    process.kill()
    process.communicate()
    wait_until(lambda: has_ended(child))


def test_supervised_commands_are_tried_again_where_they_fail(launcher, unit, tmp_path):
    """Each unit fails, is pre-empted, and then ends, by a counter in its run's directory."""
    count = "n=$(cat n 2>/dev/null || echo 0); echo $((n + 1)) > n; echo attempt $n; "
    end = 'echo \'{"status": "diverged"}\' > run.json'
    script = f"{count} [ $n = 0 ] && exit 7; [ $n = 1 ] && exit 75; {end}"
    units = [unit(n, f"cd {tmp_path}/run-{n}; " + script) for n in (0, 1)]
    warnings: list[str] = []
    Supervisor(units, launcher, retries=1, warn=warnings.append).run(lambda: False)
    assert sorted(warnings) == sorted(
        f"run-{n}: {what}"
        for n in (0, 1)
        for what in ("failed, attempt 1 of 2: exit code 7: attempt 0", "pre-empted; it goes on")
    )


# -- devices ---------------------------------------------------------------------------------------


def test_devices_are_found_in_files_and_the_environment(tmp_path, monkeypatch):
    for name in ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES", "TPU_VISIBLE_CHIPS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))  # without this machine's nvidia-smi
    assert accelerators(tmp_path) == ("cpu", [])
    (tmp_path / "dev" / "accel").mkdir(parents=True)  # of a laptop
    (tmp_path / "dev" / "vfio" / "12").mkdir(parents=True)  # a device lent to a virtual machine
    assert accelerators(tmp_path) == ("cpu", [])
    for number in range(4):
        (tmp_path / "dev" / f"accel{number}").mkdir(parents=True)
    assert accelerators(tmp_path) == ("tpu", ["0", "1", "2", "3"])
    (tmp_path / "proc" / "driver" / "nvidia" / "gpus" / "0000:01:00.0").mkdir(parents=True)
    assert accelerators(tmp_path) == ("cuda", ["0"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert accelerators(tmp_path) == ("cuda", ["3", "5"])
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert accelerators(tmp_path) == ("cpu", [])


def test_devices_are_shared_out():
    assert shares(2, "cpu", []) == [{}, {}]
    four = ["0", "1", "2", "3"]
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares(2, "cuda", four)] == ["0,1", "2,3"]
    crowded = shares(3, "cuda", ["4", "5"])
    assert [share["CUDA_VISIBLE_DEVICES"] for share in crowded] == ["4", "5", "4"]
    assert {share["XLA_PYTHON_CLIENT_MEM_FRACTION"] for share in crowded} == {"0.450"}
    chips = shares(4, "tpu", four)
    assert [share["TPU_VISIBLE_CHIPS"] for share in chips] == four
    assert {share["TPU_CHIPS_PER_PROCESS_BOUNDS"] for share in chips} == {"1,1,1"}
    with pytest.raises(InputError, match="a chip serves one process; nearest valid value: 4"):
        shares(5, "tpu", four)


def test_resources_of_ray():
    assert parse_resources("") == {"CPU": 1.0}
    assert parse_resources("TPU=4") == {"CPU": 1.0, "TPU": 4.0}
    assert parse_resources("GPU=0.25,CPU=2") == {"CPU": 2.0, "GPU": 0.25}
    assert parse_resources("bigram=1") == {"CPU": 1.0, "bigram": 1.0}  # nodes may have any of these


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--launcher", "rai"), "'ray'"),
        (("--workers", "2"), "goes with --launcher local or slurm"),
        (("--launcher", "ray", "--workers", "2"), "goes with --launcher local or slurm"),
        (("--launcher", "local", "--resources", "GPU=1"), "goes with --launcher ray"),
        (("--launcher", "ray", "--resources", "GPU"), "must be like TPU=4"),
        (("--launcher", "ray", "--resources", "GPU=-1"), "must be like TPU=4"),
        (("--launcher", "ray", "--resources", "TPU=2.5"), "nearest valid value: 'TPU=2'"),
        (("--launcher", "ray", "--resources", "CPU=2,gpu=1"), "nearest valid value: 'GPU=1'"),
        (("--launcher", "ray", "--resources", "object_store_memory=1"), "Ray reserves no object_"),
        (("--retries", "2"), "goes with --launcher local or ray"),
        (("--launcher", "slurm", "--sbatch", "'"), "is no list of options"),
    ],
)
def test_launchers_that_do_not_fit_are_refused(call, tmp_path, options, named):
    code, out, err = call("sweep", EXPERIMENT, "--workdir", tmp_path / "w", *options, *SHRUNK)
    assert (code, out) == (2, "")
    assert named in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "w").exists()


# -- sweeps ----------------------------------------------------------------------------------------


def test_workers_leave_what_this_process_leaves(call, tmp_path):
    whole, home = tmp_path / "whole", tmp_path / "sweep"
    assert call(*words(whole, *SOONEST))[0] == 0
    code, out, err = call(*words(home, "--launcher", "local", "--workers", "2", *SOONEST))
    assert (code, err) == (0, "")
    ends = [line for line in out.splitlines() if "done, test top-1" in line]
    assert sorted(line.split("]")[0] for line in ends) == ["[1/3", "[2/3", "[3/3"]
    assert "3 done; next: xception-jax report" in out
    assert_done_as(whole, home)
    packs = json.loads((home / "sweep.json").read_text())["packs"]
    assert [(pack["size"], len(pack["runs"])) for pack in packs] == [(None, 1)] * 3
    assert "slow seed 0: done" in (home / "workers" / "0.log").read_text()
    before = {path: path.stat().st_mtime_ns for path in home.glob("runs/*/*")}
    assert (
        call(*words(home, "--launcher", "local", *SOONEST))[0] == 0
    )  # again: nothing is left to do
    assert {path: path.stat().st_mtime_ns for path in home.glob("runs/*/*")} == before


def test_an_array_job_is_written_for_the_units_that_are_missing(call, tmp_path, monkeypatch):
    """Stubs stand for Slurm's programs; `test_launchers_slurm.py` has the real ones."""
    for name, script in {
        "sbatch": 'echo "$@" > $OUT/sbatch; eval cp \\"\\${$#}\\" $OUT/script; echo "42;cluster"',
        "squeue": 'echo "$@" > $OUT/squeue; cat $OUT/queue 2>/dev/null; true',
    }.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("OUT", str(tmp_path))
    (tmp_path / "queue").write_text("1 RUNNING\n")
    home = tmp_path / "sweep"
    options = ("--launcher", "slurm", "--workers", "4", "--sbatch", "--gres=gpu:1 --time=4:00:00")
    code, out, err = call(*words(home, *options))
    assert (code, err) == (0, "")
    assert "1 units are in the queue already\n2 units: submitted as Slurm array 42\n" in out
    arguments = (tmp_path / "sbatch").read_text().split()
    assert arguments[:3] == ["--parsable", "--gres=gpu:1", "--time=4:00:00"]
    script = (tmp_path / "script").read_text()
    asked_for = {line.split()[1] for line in script.splitlines() if line.startswith("#SBATCH")}
    assert {"--array=0,2%4", "--requeue", "--signal=TERM@120", "--open-mode=append"} <= asked_for
    assert f"--output={home}/workers/%a.log" in asked_for
    (name,) = [option for option in asked_for if option.startswith("--job-name=")]
    assert name.replace("--job-name", "--name") in (tmp_path / "squeue").read_text()
    assert f'{home}/sweep.json --workdir {home} --unit "$SLURM_ARRAY_TASK_ID"' in script
    assert subprocess.run(["bash", "-n", tmp_path / "script"], check=False).returncode == 0


def test_without_slurm_that_is_said(call, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = call(*words(tmp_path / "w", "--launcher", "slurm"))
    assert (code, err) == (2, "xception-jax: --launcher='slurm': there is no sbatch here\n")


@pytest.mark.slow
def test_a_killed_worker_is_started_again(whole, start, tmp_path):
    home = tmp_path / "sweep"
    process = start(home, "--launcher", "local", "--workers", "2")
    wait_until(lambda: in_the_middle(home), process)
    kill_one(home)
    code, out = finish(process)
    assert code == 0, out
    assert "failed, attempt 1 of 3: killed by SIGKILL" in out
    assert any(record(run)["resumed_from"] for run in run_dirs(home).values())
    assert_done_as(whole, home)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_driver_leaves_no_worker_and_the_same_command_goes_on(
    whole, start, tmp_path, number
):
    home = tmp_path / "sweep"
    process = start(home, "--launcher", "local", "--workers", "2")
    wait_until(lambda: in_the_middle(home), process)
    process.send_signal(number)
    code, out = finish(process)
    if number == signal.SIGTERM:
        assert code == 75
        assert "stopped with 2 units at hand; the same command goes on from there" in out
    wait_until(lambda: not list(workers(home)))
    code, out = finish(start(home, "--launcher", "local", "--workers", "3"))
    assert code == 0, out
    assert any(record(run)["resumed_from"] for run in run_dirs(home).values())
    assert_done_as(whole, home)


@pytest.mark.slow
def test_packs_are_units(call, tmp_path):
    home, other = tmp_path / "workers", tmp_path / "here"
    assert call(*words(home, "--packing", "3", "--launcher", "local"))[0] == 0
    assert call(*words(other, "--packing", "3"))[0] == 0
    assert_done_as(other, home)
    (pack,) = json.loads((home / "sweep.json").read_text())["packs"]
    assert (pack["size"], len(pack["runs"])) == (3, 3)


@pytest.mark.slow
def test_a_sweep_that_cannot_run_is_given_up(whole, start, tmp_path):
    """The sweep cannot write checkpoints: a file is in the place of their directory."""
    home = tmp_path / "sweep"
    shutil.copytree(whole, home, ignore=shutil.ignore_patterns("checkpoints", "run.json"))
    for run in run_dirs(home).values():
        (run / "checkpoints").write_text("")
    code, out = finish(start(home, "--launcher", "local", "--workers", "3"))
    assert code == 1
    assert "given up: the first 3 units all failed the same way" in out
    assert "checkpoints" in out
