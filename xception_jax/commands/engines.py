"""What `sweep --launcher` asks for: which engine, and what goes with it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xception_jax.errors import InputError, require_choice

# Which options go with which launcher.
_OPTIONS = {
    "local": ("workers", "retries"),
    "ray": ("resources", "retries"),
    "slurm": ("workers", "sbatch"),
}
_RETRIES = 2


@dataclass(frozen=True)
class Engine:
    """The options of one command, checked before anything is done.

    Raises:
        InputError: there is no such launcher, or an option does not go with it.
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
    def tries(self) -> int:
        """How often a failed unit is tried again."""
        return _RETRIES if self.retries is None else self.retries

    def open(self, directory: Path) -> Any:
        """Starts the engine for the sweep in `directory`.

        Returns:
            a `Launcher`, which this process has to watch; a `SlurmArray`, which looks after itself;
            None: this process is the engine.

        Raises:
            InputError: it is not there, or cannot do what is asked.
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
