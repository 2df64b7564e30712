"""`confirm`: repeat a sweep on fresh seeds, with the claims that it had."""

from pathlib import Path
from typing import Annotated

from xception_jax.commands.console import Workdir, console, directory_argument
from xception_jax.commands.engines import Engine
from xception_jax.commands.sweep import run_sweep
from xception_jax.commands.sweep_options import (
    Launchers,
    Packing,
    Resources,
    Retries,
    Sbatch,
    Workers,
    parse_packing,
)
from xception_jax.errors import InputError
from xception_jax.remote import require_local


def confirm(
    directory: Annotated[Path, directory_argument("The directory of the sweep to repeat.")],
    workdir: Workdir,
    *,
    packing: Packing = "auto",
    launcher: Launchers = None,
    workers: Workers = None,
    resources: Resources = None,
    sbatch: Sbatch = None,
    retries: Retries = None,
) -> int:
    """Repeat a sweep on as many fresh seeds; its report says what was replicated.

    The settings and the claims are those that DIRECTORY records, and the seeds follow those that it
    used. DIRECTORY stays as it is.

    Example: `xception-jax confirm results/nonlinearity --workdir results/nonlinearity-2`
    """
    from xception_jax.report.reading import read_directory
    from xception_jax.statistics.across import known_targets
    from xception_jax.statistics.audit import audit
    from xception_jax.statistics.confirmation import kept_verdicts
    from xception_jax.statistics.looks import has_open_claim
    from xception_jax.statistics.verdicts import judge
    from xception_jax.sweep.confirmation import (
        describe_original,
        plan_confirmation,
        require_fresh,
    )

    asked = parse_packing(packing)
    engine = Engine(launcher, workers, resources, sbatch, retries)
    require_local("directory", directory, "is read by this machine")
    require_local("--workdir", workdir, "is compared with the directory of the first sweep")
    original = read_directory(directory)
    planned = plan_confirmation(directory, known_targets(original))
    confirms = require_fresh(workdir, directory, planned.experiment)
    if confirms is None:
        pairing = audit(original)
        verdicts = judge(original, pairing)
        if not pairing["complete"] or has_open_claim(verdicts):
            reason = "holds a sweep that has not ended: there is nothing to confirm yet"
            raise InputError("directory", str(directory), reason)
        used = sorted({run.seed for run in original.runs if run.seed is not None})
        confirms = describe_original(directory, used, kept_verdicts(verdicts))
    console.print(
        f"{directory} is repeated with {planned.experiment.seeds} seeds from "
        f"{planned.experiment.first_seed} on"
    )
    return run_sweep(
        planned,
        workdir=workdir,
        engine=engine,
        packing=asked,
        keep_widths=True,
        confirms=confirms,
    )
