"""Which arms a sweep compares: the pairs that the audit checks and that the figures show."""

from collections.abc import Iterator

from xception_jax.analysis.read import Run, Sweep
from xception_jax.analysis.values import as_list, as_mapping


def contrasts(sweep: Sweep) -> tuple[tuple[str, str], ...]:
    """Pairs (arm, baseline), each once.

    Those of the declared claims, in their order; then every arm that no claim names, with the
    first arm as its baseline.
    """
    declared = as_list(as_mapping(sweep.record.get("experiment")).get("claims"))
    pairs = [
        (claim["arm"], claim["baseline"])
        for claim in declared
        if isinstance(claim, dict) and {"arm", "baseline"} <= set(claim)
    ]
    known = [pair for pair in pairs if pair[0] != pair[1] and all(a in sweep.arms for a in pair)]
    named = {arm for pair in known for arm in pair}
    first = next(iter(sweep.arms), "")
    rest = [(arm, first) for arm in sweep.arms if arm not in named and arm != first]
    return tuple(dict.fromkeys([*known, *rest]))


def paired_runs(sweep: Sweep, arms: tuple[str, str]) -> Iterator[tuple[int, int]]:
    """The indices of the two runs of every seed that both arms have, by seed."""
    by_seed: list[dict[int, int]] = [
        {run.seed: i for i, run in enumerate(sweep.runs) if run.arm == arm and run.seed is not None}
        for arm in arms
    ]
    for seed in sorted(by_seed[0].keys() & by_seed[1].keys()):
        yield by_seed[0][seed], by_seed[1][seed]


def has_begun(run: Run) -> bool:
    """Whether the run has left anything that tells what it was."""
    return run.status not in ("planned", "unreadable")
