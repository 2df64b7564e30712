"""Which arms a sweep compares: the pairs that the audit checks, and what the figures subtract."""

from collections.abc import Iterator

from xception_jax.json_values import as_list, as_mapping
from xception_jax.statistics.results import UNREADABLE, Run, Sweep

Arms = tuple[str, ...]
SIGNS = (1, -1, -1, 1)
"""Signs with which the arms of a contrast are added up, whether it has two arms or four."""


def contrasts(sweep: Sweep) -> tuple[Arms, ...]:
    """Every contrast of a sweep, once: (arm, baseline), or the four arms of an interaction.

    (a, b, c, d) stands for (a − b) − (c − d). Those of the claims come first, in their order; then
    every arm that no claim names, with the first arm as its baseline.
    """
    declared = as_list(as_mapping(sweep.record.get("experiment")).get("claims"))
    late = as_list(sweep.record.get("post_hoc_claims"))
    named = [_arms(claim) for claim in [*declared, *late] if isinstance(claim, dict)]
    known = [
        arms
        for arms in named
        if len(arms) in (2, 4)
        and len(set(arms[:2])) == 2
        and all(arm in sweep.arms for arm in arms)
    ]
    first, seen = next(iter(sweep.arms), ""), {arm for arms in known for arm in arms}
    rest = [(arm, first) for arm in sweep.arms if arm not in seen and arm != first]
    return tuple(dict.fromkeys([*known, *rest]))


def _arms(claim: dict[str, object]) -> Arms:
    names = (claim.get("arm"), claim.get("baseline"), *as_list(claim.get("versus")))
    return tuple(name for name in names if isinstance(name, str))


def pairs(sweep: Sweep) -> tuple[Arms, ...]:
    """The pairs of arms whose runs have to be paired for the contrasts to mean anything."""
    found: list[Arms] = []
    for arms in contrasts(sweep):
        found += [arms[at : at + 2] for at in range(0, len(arms), 2)]
        found += [(arms[0], arms[2])] if len(arms) == 4 else []
    return tuple(dict.fromkeys(pair for pair in found if pair[0] != pair[1]))


def contrast_name(arms: Arms) -> str:
    """`relu − none`, or `(a − b) − (c − d)`."""
    if len(arms) == 4:
        return f"({arms[0]} − {arms[1]}) − ({arms[2]} − {arms[3]})"
    return " − ".join(arms)


def paired_runs(sweep: Sweep, arms: Arms) -> Iterator[tuple[int, ...]]:
    """The indices of the runs of every seed that all the arms have, by seed."""
    by_seed = [sweep.seeds.get(arm, {}) for arm in arms]
    for seed in sorted(set.intersection(*(set(runs) for runs in by_seed))):
        yield tuple(runs[seed] for runs in by_seed)


def has_begun(run: Run) -> bool:
    """Whether the run has begun, and left files that can be read."""
    return run.status not in ("planned", UNREADABLE)
