"""`--launcher slurm`: the units that are missing as one array job, which Slurm then looks after.

A task that is told to stop saves and ends with 75, and is put back into the queue. One that fails
is not: the same command submits what is then missing.
"""

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from xception_jax.checksums import digest
from xception_jax.errors import INTERRUPTED, InputError
from xception_jax.launchers import Unit, unit_command

_SCRIPT = """\
#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --array={array}
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --open-mode=append
#SBATCH --output={logs}/%a.log
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
    """The units of a sweep on the cluster that sbatch submits to.

    Args:
        directory: of the sweep, on a file system that every node has.
        most: tasks that run at a time; None: as many as Slurm lets.
        options: further ones for sbatch, as in a shell.

    Raises:
        InputError: there is no Slurm here, or `options` are none.
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
        """The batch script."""
        array = _ranges([unit.number for unit in units])
        return _SCRIPT.format(
            name=self.name,
            array=array if self._most is None else f"{array}%{self._most}",
            directory=self._directory,
            logs=units[0].log.parent,
            command=shlex.join(unit_command(self._directory)),
            interrupted=INTERRUPTED,
        )

    def submit(self, units: Sequence[Unit]) -> str:
        """Writes the script into the directory and submits it; says as what.

        Raises:
            InputError: sbatch refuses.
        """
        path = units[0].log.parent / "slurm.sh"
        path.write_text(self.render(units))
        said = _call("sbatch", "--parsable", *self._options, str(path))
        return f"submitted as Slurm array {said.strip().partition(';')[0]}"

    def status(self) -> dict[int, str]:
        """Of each unit that Slurm has at hand its state there, such as PENDING or RUNNING."""
        words = ("--noheader", "--array", f"--name={self.name}", "--format=%K %T")
        rows = re.findall(r"^(\d+) (\w+)$", _call("squeue", *words), re.MULTILINE)
        return {int(number): state for number, state in rows}

    def cancel(self) -> None:
        """Takes what waits out of the queue and has what runs save and end, all for good."""
        _call("scancel", f"--name={self.name}")


def _call(*words: str) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.split())
        raise InputError("--launcher", "slurm", f"{words[0]} says: {said}") from error
    return done.stdout


def _ranges(numbers: Sequence[int]) -> str:
    """`[0, 1, 2, 5]` -> "0-2,5": a list of hundreds is too long for Slurm."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)
