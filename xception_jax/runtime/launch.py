"""How this process was started: by itself, or by Slurm, Open MPI or on a TPU pod as one of several.

Their variables alone do not tell. In the shell of an allocation (`salloc -n 4`) Slurm's variables
name four tasks too, but whatever is started by hand there is one process and has no peers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_FIRST_SPECIAL_STEP = 0xFFFFFFF0  # steps of a batch script, an interactive shell and the like
_MOST_DIGITS = 20  # of a number of 64 bits; Python refuses those of thousands


@dataclass(frozen=True)
class Launch:
    """What started this process, according to the environment.

    Attributes:
        by: name of the launcher, with the variable that says it.
        processes: number of processes that it started together.
        alone: why this process is none of several though variables name several; None: it is.
    """

    by: str
    processes: int
    alone: str | None = None


def find_launch(environment: Mapping[str, str], *, pid: int, has_tpu: bool) -> Launch | None:
    """What started this process as one of several; None: nothing in the environment names several.

    Args:
        environment: environment variables.
        pid: number of this process in the system.
        has_tpu: whether JAX may use a TPU.
    """
    launches = [_slurm(environment, pid), _open_mpi(environment), _tpu_pod(environment, has_tpu)]
    several = [launch for launch in launches if launch is not None and launch.processes > 1]
    return min(several, key=lambda launch: launch.alone is not None, default=None)


def _slurm(environment: Mapping[str, str], pid: int) -> Launch | None:
    name = next((n for n in ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS") if n in environment), None)
    if name is None:
        return None
    step, task = environment.get("SLURM_STEP_ID", ""), environment.get("SLURM_TASK_PID")
    alone = None
    number = _number(step)
    is_step = number is not None and number < _FIRST_SPECIAL_STEP
    if not (is_step and "SLURM_PROCID" in environment):
        alone = "srun did not start it; srun starts all"
    elif "SLURM_PTY_PORT" in environment and task != str(pid):
        alone = "it was started by hand, in a shell that srun --pty started; srun starts all"
    return Launch(f"Slurm ({name}={environment[name]})", _processes(environment[name]), alone)


def _open_mpi(environment: Mapping[str, str]) -> Launch | None:
    name = "OMPI_COMM_WORLD_SIZE"
    if name not in environment:
        return None
    # What JAX reads; the last one exists only in processes that mpirun of Open MPI 4 started.
    read = "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_MCA_orte_hnp_uri"
    missing = next((variable for variable in read if variable not in environment), None)
    alone = missing and f"{missing} is not set; --coordinator, --processes and --process-id join it"
    return Launch(f"Open MPI ({name}={environment[name]})", _processes(environment[name]), alone)


def _tpu_pod(environment: Mapping[str, str], has_tpu: bool) -> Launch | None:
    names = "TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES"  # in JAX's order
    name = next((name for name in names if name in environment), None)
    if name is None:
        return None
    hosts = environment[name].split(",")
    alone = None
    if not has_tpu:
        alone = "JAX has no TPU here"
    elif "TPU_WORKER_ID" not in environment:
        alone = "TPU_WORKER_ID is not set"
    return Launch(f"a TPU pod ({name}={environment[name]})", len(hosts), alone)


def _processes(text: str) -> int:
    """The number of processes in a variable; 1 where it holds none."""
    return _number(text) or 1


def _number(text: str) -> int | None:
    """The number in a variable; None: it holds none, or one of more digits than any has."""
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else None
