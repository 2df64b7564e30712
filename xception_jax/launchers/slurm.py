"""Submission of a sweep's unfinished units as one Slurm array job (`--launcher slurm`).

A task that is told to stop saves a checkpoint, ends with 75 and is requeued. A task that fails is
not: the same command submits it again.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from xception_jax.checksums import digest
from xception_jax.errors import INTERRUPTED, InputError
from xception_jax.launchers import Unit, unit_command
from xception_jax.regular_files import write_regular

_SCRIPT = """\
#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --array={array}
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --open-mode=append
#SBATCH --output={output}
#SBATCH --chdir={directory}
# Written by xception-jax sweep; each task trains one unit of sweep.json.
srun --ntasks=1 {command} "$SLURM_ARRAY_TASK_ID"
code=$?
if [ $code -eq {interrupted} ]; then
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
fi
exit $code
"""


class SlurmArray:
    """The Slurm array job of a sweep.

    Args:
        directory: directory of the sweep, on a file system that every node has.
        most: number of tasks that run at a time; None for no limit.
        options: further options of sbatch, as in a shell.

    Raises:
        InputError: Slurm is not installed, or `options` cannot be parsed.
    """

    def __init__(self, directory: Path, *, most: int | None, options: str) -> None:
        self._directory, self._most = directory.absolute(), most
        try:
            self._options = shlex.split(options)
        except ValueError as error:
            raise InputError("--sbatch", options, f"is no list of options: {error}") from error
        if shutil.which("sbatch") is None:
            raise InputError("--launcher", "slurm", "there is no sbatch here")
        self.name = f"xception-jax-{digest(str(self._directory))[:8]}"

    def render(self, units: Sequence[Unit]) -> str:
        """The batch script for the given units."""
        array = _ranges([unit.number for unit in units])
        return _SCRIPT.format(
            name=self.name,
            array=array if self._most is None else f"{array}%{self._most}",
            directory=shlex.quote(str(self._directory)),
            # Slurm replaces %a, and %% by the character itself.
            output=shlex.quote(f"{str(units[0].log.parent).replace('%', '%%')}/%a.log"),
            command=shlex.join(unit_command(self._directory)),
            interrupted=INTERRUPTED,
        )

    def submit(self, units: Sequence[Unit]) -> str:
        """Writes the batch script and submits it; returns a message with the job's id.

        Raises:
            InputError: sbatch refuses the job.
        """
        path = units[0].log.parent / "slurm.sh"
        write_regular(path, self.render(units).encode())
        job = _call("sbatch", "--parsable", *self._options, str(path))
        return f"submitted as Slurm array {job.strip().partition(';')[0]}"

    def status(self) -> dict[int, str]:
        """The state of each unit in Slurm's queue, such as PENDING or RUNNING, by its number."""
        words = ("--noheader", "--array", f"--name={self.name}", "--format=%K %T")
        rows = re.findall(r"^(\d+) (\w+)$", _call("squeue", *words), re.MULTILINE)
        return {int(number): state for number, state in rows}


def _call(*words: str) -> str:
    """Runs a command of Slurm and returns its output."""
    # Set for the cores of this machine by `prepare_jax`, it would limit the nodes: sbatch hands on
    # the environment.
    own = {name: value for name, value in os.environ.items() if name != "PJRT_NPROC"}
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True, env=own).stdout
    except subprocess.CalledProcessError as error:
        raise InputError("--launcher", "slurm", f"{words[0]} says: {error.stderr}") from error


def _ranges(numbers: Sequence[int]) -> str:
    """Abbreviates numbers as Slurm writes them: `[0, 1, 2, 5]` as "0-2,5"."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)
