"""Training of a sweep's runs on behalf of a command: in this process, or in workers."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xception_jax.commands.console import console, warn
from xception_jax.commands.engines import Engine

if TYPE_CHECKING:
    from xception_jax.launchers import Launcher
    from xception_jax.launchers.slurm import SlurmArray
    from xception_jax.sweep import Experiment, PlannedRun
    from xception_jax.sweep.packing import Sizes


@dataclass(frozen=True)
class Execution:
    """The means by which a command trains the runs of one sweep.

    Attributes:
        directory: directory of the sweep, which the command has locked.
        location: what people call it, such as its URL in a store; see `remote.as_typed`.
        engine: the options of the launcher.
        sizes: how many runs train together, see `sweep.packing.plan_packs`; None: each alone.
        stop: asked before every dispatched call; once true, the runs save their states and end.
    """

    directory: Path
    location: str
    engine: Engine
    sizes: "Sizes | None"
    stop: Callable[[], bool]

    def train(
        self,
        experiment: "Experiment",
        runs: "Sequence[PlannedRun]",
        steps: Mapping[str, int],
        launcher: "Launcher | None",
    ) -> list[dict[str, Any]]:
        """Trains every run that has not ended, and shows the progress.

        Args:
            experiment: experiment of the sweep.
            runs: the runs.
            steps: number of steps of a run for each arm.
            launcher: starts the workers, and is closed afterwards; None: this process trains.

        Returns:
            The content of `run.json` of every run, in order.

        Raises:
            InputError: a run's directory holds another run.
            Interrupted: `stop` said so; the current runs have saved their states.
            Stopped: all workers failed in the same way.
        """
        from xception_jax.commands.display import showing
        from xception_jax.launchers.launching import launch_missing
        from xception_jax.sweep.local import run_missing

        with showing(console) as show:
            if launcher is None:
                return run_missing(
                    self.directory,
                    experiment,
                    runs,
                    steps,
                    listener=show,
                    stop=self.stop,
                    warn=warn,
                    sizes=self.sizes,
                )
            return launch_missing(
                self.directory,
                runs,
                steps,
                launcher,
                retries=self.engine.most_retries,
                listener=show,
                stop=self.stop,
                warn=warn,
                sizes=self.sizes,
            )

    def submit(
        self, array: "SlurmArray", runs: "Sequence[PlannedRun]", what: str = "units"
    ) -> bool:
        """Gives a batch system every unfinished unit that is not in its queue, and says so.

        Args:
            array: the batch system.
            runs: the runs of the units.
            what: what the units are called.

        Returns:
            Whether any unit is unfinished.
        """
        from xception_jax.launchers.launching import plan_units

        queued = array.status()
        units = plan_units(self.directory, runs, sizes=self.sizes, warn=warn, queued=queued)
        missing = [unit for unit in units if unit.number not in queued]
        if len(missing) < len(units):
            console.print(f"{len(units) - len(missing)} {what} are in the queue already")
        if missing:
            console.print(f"{len(missing)} {what}: {array.submit(missing)}")
        return bool(units)


def count_statuses(records: Sequence[Mapping[str, Any]]) -> str:
    """The number of runs with each status: `4 done, 1 failed`."""
    counts = Counter(record["status"] for record in records)
    return ", ".join(f"{count} {status}" for status, count in counts.items())
