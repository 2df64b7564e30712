"""`sweep --launcher`: the chosen launcher, and the options that belong to it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xception_jax.errors import InputError, require_choice

if TYPE_CHECKING:
    from xception_jax.launchers import Launcher
    from xception_jax.launchers.slurm import SlurmArray

# The options of each launcher.
_OPTIONS = {
    "local": ("workers", "retries"),
    "ray": ("resources", "retries"),
    "slurm": ("workers", "sbatch"),
}
_RETRIES = 2


@dataclass(frozen=True)
class Engine:
    """The launcher options of a sweep, checked before anything starts.

    Raises:
        InputError: the launcher does not exist, or does not have an option that is given.
    """

    launcher: str | None
    workers: int | None
    resources: str | None
    sbatch: str | None
    retries: int | None

    def __post_init__(self) -> None:
        if self.launcher is not None:
            require_choice("--launcher", self.launcher, _OPTIONS)
        for name in ("workers", "resources", "sbatch", "retries"):
            value: Any = getattr(self, name)
            fitting = [launcher for launcher, options in _OPTIONS.items() if name in options]
            if value is not None and self.launcher not in fitting:
                reason = f"goes with --launcher {' or '.join(fitting)}, and only with it"
                raise InputError(f"--{name}", value, reason)
        if self.resources is not None:
            from xception_jax.launchers.ray import parse_resources

            parse_resources(self.resources)

    @property
    def most_retries(self) -> int:
        """The number of times that a failed unit is tried again at most."""
        return _RETRIES if self.retries is None else self.retries

    def open(self, directory: Path) -> "Launcher | SlurmArray | None":
        """Starts the launcher for the sweep in `directory`.

        Returns:
            A `Launcher`, whose workers this process has to watch; a `SlurmArray`, which needs no
            watching; or None, if this process trains the runs itself.

        Raises:
            InputError: the launcher is not available, or cannot do what the options ask for.
        """
        if self.launcher == "slurm":
            from xception_jax.launchers.slurm import SlurmArray

            return SlurmArray(directory, most=self.workers, options=self.sbatch or "")
        if self.launcher == "ray":
            from xception_jax.launchers.ray import RayLauncher, parse_resources

            return RayLauncher(parse_resources(self.resources or ""))
        if self.launcher == "local":
            from xception_jax.launchers.processes import ProcessLauncher

            return ProcessLauncher(self.workers)
        return None
