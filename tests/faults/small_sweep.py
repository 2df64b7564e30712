"""A small sweep of the real experiment, as commands of their own."""

import os
import subprocess
from pathlib import Path

from tests.programs import command_line
from tests.shrunk import EXPERIMENT, SHRUNK

# 36 steps a run; rows every 2, validations and checkpoints every 6 steps.
INTERVAL = 6
WORDS = (
    *SHRUNK,
    "train.epochs=12",
    "train.evaluate_every_epochs=2",
    "checkpoint.every_epochs=2",
)


class Command:
    """`xception-jax …` as a process of its own session, whose words go to a file."""

    def __init__(
        self, log: Path, *words: object, group: Path | None = None, **environment: str
    ) -> None:
        self.log = log
        program = command_line(*words)
        if group is not None:  # it enters the control group before anything else runs
            entering = f'echo $$ > {group}/cgroup.procs && exec "$@"'
            program = ["sh", "-c", entering, "sh", *program]
        with log.open("w") as out, log.with_suffix(".err").open("w") as err:
            self.process = subprocess.Popen(
                program,
                env=os.environ | {"PYTHONUNBUFFERED": "1"} | environment,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def out(self) -> str:
        return self.log.read_text()

    @property
    def err(self) -> str:
        return self.log.with_suffix(".err").read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert not self.orphans()

    def finish(self, timeout: float = 600) -> int:
        code = self.process.wait(timeout)
        assert not self.orphans()
        assert "Traceback" not in self.err, self.err
        return code

    def orphans(self) -> list[str]:
        """The processes of the sweep's session that still run."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            if int(session) == self.process.pid and state != "Z":
                found.append(stat.parent.name)
        return found


def sweep_words(home: Path, packing: str) -> tuple[object, ...]:
    return ("sweep", EXPERIMENT, "--workdir", home, "--seeds", 1, "--packing", packing, *WORDS)
