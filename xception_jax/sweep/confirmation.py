"""A sweep that repeats a recorded one on fresh seeds, with the claims that it had."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xception_jax.checksums import with_checksum
from xception_jax.config import resolve
from xception_jax.errors import InputError
from xception_jax.records import STEPS_TO_TARGET, SWEEP
from xception_jax.runtime.run_directory import now
from xception_jax.sweep.contrast_claims import AnyClaim, read_claim
from xception_jax.sweep.declarations import identify_sweep
from xception_jax.sweep.experiment import Experiment, PlannedSweep, plan_sweep
from xception_jax.sweep.ledger import read_ledger
from xception_jax.sweep.recorded import load_recorded


def plan_confirmation(directory: Path, target: float | Mapping[str, float] | None) -> PlannedSweep:
    """The experiment of a recorded sweep with as many seeds, which follow those it has used.

    Its claims are those of the recorded one, post hoc ones included: here they are declared before
    the runs. No seed is a pilot here, since the target is known.

    Args:
        directory: directory of the recorded sweep.
        target: what its "steps to target" counted to; it is declared now, if it was not before.
            None: that is not known.

    Raises:
        InputError: there is no sweep in `directory`, it is damaged, or it has no claim.
    """
    path = directory / SWEEP
    if not path.is_file():
        raise InputError("directory", str(directory), "holds no sweep.json, and so no sweep")
    recorded = load_recorded(path)
    content = read_ledger(path)
    experiment = recorded.experiment
    late = [_late_claim(claim, path) for claim in content.get("post_hoc_claims", [])]
    needs_target = any(STEPS_TO_TARGET in claim.endpoints for claim in (*experiment.claims, *late))
    is_known = needs_target and target is not None
    claims: list[AnyClaim] = []
    for claim in (*experiment.claims, *late):
        # The first sweep's target takes the place of a pilot, which would give another one.
        repeated = replace(claim, pilot_seeds=0) if is_known else claim
        claims += [] if repeated in claims else [repeated]
    used = {*experiment.all_seeds, *(row["seed"] for row in recorded.rows)}
    count = len(content["experiment"]["seeds"])
    experiment = replace(
        experiment,
        claims=tuple(claims),
        target=target if is_known else experiment.target,
        seeds=count,
        first_seed=max(used) + 1,
    )
    if not experiment.claims:
        raise InputError("directory", str(directory), "holds a sweep without claims to confirm")
    return plan_sweep(experiment, resolve(recorded.base))


def _late_claim(described: Any, path: Path) -> AnyClaim:
    try:
        return read_claim(described)
    except InputError:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError("claim", described, f"in {path} cannot be confirmed: {error}") from error


def describe_original(
    directory: Path, seeds: Sequence[int], claims: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The entry `confirms` of a confirming sweep's `sweep.json`: the sweep that it repeats.

    Args:
        directory: directory of that one, as the user gave it.
        seeds: the seeds it has used.
        claims: the verdicts, see `statistics.confirmation.kept_verdicts`.
    """
    sweep = identify_sweep(read_ledger(directory / SWEEP))
    return with_checksum(
        {
            "directory": str(directory),
            "sweep": sweep,
            "at": now(),
            "seeds": list(seeds),
            "claims": list(claims),
        }
    )


def require_fresh(
    workdir: Path, directory: Path, experiment: Experiment
) -> Mapping[str, Any] | None:
    """The entry `confirms` that `workdir` has recorded; None: it has recorded nothing yet.

    Raises:
        InputError: `workdir` is the directory of the first sweep, or holds a sweep that repeats
            none or another.
    """
    if os.path.realpath(workdir) == os.path.realpath(directory):  # as loops of links have no other
        reason = "is the sweep to be confirmed: fresh seeds need a directory of their own"
        raise InputError("--workdir", str(workdir), reason)
    if not (workdir / SWEEP).is_file():
        return None
    recorded = read_ledger(workdir / SWEEP)
    confirms, seeds = recorded.get("confirms"), list(experiment.all_seeds)
    original = identify_sweep(read_ledger(directory / SWEEP))
    if (
        not isinstance(confirms, dict)
        or recorded["experiment"].get("seeds") != seeds
        or confirms.get("sweep", original) != original  # an older version did not record it
    ):
        reason = f"holds another sweep, and no confirmation of {directory}"
        raise InputError("--workdir", str(workdir), reason)
    return confirms
