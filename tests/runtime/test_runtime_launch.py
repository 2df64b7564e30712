"""Which processes wait for others: those that a launcher has started as several, and no others."""

import os

import pytest

from tests.processes import free_address
from tests.programs import run_program
from tests.shrunk import EXPERIMENT, SHRUNK
from xception_jax.runtime.launch import find_launch

PID = 4321
JOB = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_NPROCS": "4"}
TASK = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_STEP_NODELIST": "localhost"}
STEP = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_TASK_PID": str(PID)}
MPI = {
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "0",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://127.0.0.1:34911",
}
POD = {"TPU_WORKER_HOSTNAMES": "a,b", "TPU_WORKER_ID": "0"}


@pytest.mark.parametrize(
    ("environment", "processes"),
    [
        (JOB | TASK | STEP, 4),
        (JOB | TASK | STEP | {"SLURM_NTASKS": "8"}, 4),  # of a step in a larger allocation
        (JOB | TASK | STEP | {"SLURM_PTY_PORT": "4000"}, 4),  # srun --pty xception-jax …
        (MPI, 2),
        (POD, 2),
        (POD | {"TPU_PROCESS_ADDRESSES": "a:1,b:1,c:1"}, 3),
    ],
)
def test_processes_that_were_started_together_are_several(environment, processes):
    launch = find_launch(environment, pid=PID, has_tpu=True)
    assert launch is not None
    assert (launch.processes, launch.alone) == (processes, None)


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        (JOB, "srun did not start it"),  # the shell of salloc
        (JOB | TASK, "srun did not start it"),  # a batch script
        (JOB | TASK | {"SLURM_STEP_NUM_TASKS": "4"}, "srun did not start it"),
        (JOB | TASK | STEP | {"SLURM_STEP_ID": "4294967290"}, "srun did not start it"),  # a shell
        (JOB | TASK | STEP | {"SLURM_STEP_ID": "4294967291"}, "srun did not start it"),  # a script
        (JOB | TASK | STEP | {"SLURM_STEP_ID": "9" * 5000}, "srun did not start it"),
        (JOB | STEP, "srun did not start it"),
        (JOB | TASK | STEP | {"SLURM_PTY_PORT": "4000", "SLURM_TASK_PID": "99"}, "by hand"),
        ({name: MPI[name] for name in ("OMPI_COMM_WORLD_SIZE",)}, "OMPI_COMM_WORLD_RANK"),
        (MPI | {"OMPI_MCA_orte_hnp_uri": None}, "OMPI_MCA_orte_hnp_uri"),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, "TPU_WORKER_ID"),
    ],
)
def test_variables_of_several_do_not_make_a_process_one_of_them(environment, why):
    environment = {name: value for name, value in environment.items() if value is not None}
    launch = find_launch(environment, pid=PID, has_tpu=True)
    assert launch is not None
    assert launch.alone is not None
    assert why in launch.alone


@pytest.mark.parametrize(
    "environment",
    [
        {},
        JOB | TASK | STEP | {"SLURM_STEP_NUM_TASKS": "1"},
        {"SLURM_NTASKS": "1", "OMPI_COMM_WORLD_SIZE": "1", "TPU_WORKER_HOSTNAMES": "localhost"},
        {"SLURM_NTASKS": "many", "OMPI_COMM_WORLD_SIZE": "", "TPU_WORKER_HOSTNAMES": ""},
        {"SLURM_NTASKS": "9" * 5000, "OMPI_COMM_WORLD_SIZE": "9" * 5000},
    ],
)
def test_nothing_is_said_where_nothing_names_several(environment):
    assert find_launch(environment, pid=PID, has_tpu=True) is None


def test_hosts_of_a_pod_do_not_count_without_a_tpu():
    launch = find_launch(POD, pid=PID, has_tpu=False)
    assert launch is not None
    assert launch.alone == "JAX has no TPU here"


def test_a_launch_as_several_counts_before_variables_left_over():
    launch = find_launch(JOB | MPI, pid=PID, has_tpu=False)
    assert launch is not None
    assert "Open MPI" in launch.by


def test_by_hand_in_an_allocation_a_process_is_alone_and_says_why():
    done = run_program("wait_for_peers", **JOB, **TASK, SLURM_STEP_NUM_TASKS="4")
    assert (done.returncode, done.stdout) == (0, "alone\n"), done.stderr
    assert done.stderr == (
        "xception-jax: this process trains alone: Slurm (SLURM_STEP_NUM_TASKS=4) names 4, but "
        "srun did not start it; srun starts all\n"
    )


@pytest.mark.parametrize("number", [0, 1])
def test_a_peer_that_never_comes_is_one_line(number):
    address = free_address()
    done = run_program("wait_for_peers", address, 2, number)
    assert done.returncode == 71
    start = f"xception-jax: not all of the 2 processes came to {address} within 2 s: start the"
    assert done.stderr.startswith(start)
    assert done.stderr.count("\n") == 1


def test_a_task_of_srun_waits_for_the_others_at_the_address_of_the_first():
    job = JOB | {"SLURM_JOB_ID": str(os.getpid())}  # which decides on the port
    done = run_program("wait_for_peers", **job, **TASK, **STEP)
    assert done.returncode == 71
    assert "not all of the 4 processes came to localhost:6" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_sweep_by_hand_in_an_allocation_is_not_refused(call, tmp_path, monkeypatch):
    for name, value in (JOB | TASK).items():
        monkeypatch.setenv(name, value)
    words = ("--workdir", tmp_path / "w", *SHRUNK, "train.batch_size=0")
    assert "train.batch_size" in call("sweep", EXPERIMENT, *words)[2]
    for name, value in STEP.items():
        monkeypatch.setenv(name, value)
    code, _, err = call("sweep", EXPERIMENT, "--workdir", tmp_path / "w", *SHRUNK)
    assert code == 2
    assert "Slurm (SLURM_STEP_NUM_TASKS=4) started several; only `train` joins them" in err
