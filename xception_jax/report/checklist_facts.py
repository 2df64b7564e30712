"""Facts about a sweep, from which the answers of `checklist.md` are made."""

from dataclasses import dataclass
from functools import cached_property

from xception_jax.json_values import as_text
from xception_jax.report.summary import Summary
from xception_jax.report.tables import describe_spread
from xception_jax.statistics.contrasts import has_begun
from xception_jax.statistics.json_types import Audit, ClaimVerdict, EndpointVerdict, Verdicts
from xception_jax.statistics.recorded_tuning import Tuning, read_tuning
from xception_jax.statistics.results import Run, Sweep
from xception_jax.statistics.selection import grid_of


@dataclass(frozen=True)
class Facts:
    """The results of a report on a sweep, with what several answers read from them."""

    sweep: Sweep
    summary: Summary
    audit: Audit
    verdicts: Verdicts

    @cached_property
    def runs(self) -> list[Run]:
        """The runs that have begun."""
        return [run for run in self.sweep.runs if has_begun(run)]

    @property
    def claims(self) -> list[ClaimVerdict]:
        """The judged claims."""
        return self.verdicts["claims"]

    @property
    def tested(self) -> list[tuple[ClaimVerdict, EndpointVerdict]]:
        """Every claim and endpoint that has a p-value, of several bases on each of them."""
        return [
            (judged, endpoint)
            for claim in self.claims
            for judged in claim.get("bases", [claim])
            for endpoint in judged["endpoints"]
            if endpoint["p"] is not None
        ]

    @cached_property
    def tuned(self) -> Tuning | None:
        """The tuning of the arms; None where nothing is tuned."""
        return read_tuning(self.sweep)

    def setting(self, name: str) -> str:
        """The value of a setting in all runs, or each with the number of runs; empty: unknown."""
        known = [run.settings[name] for run in self.runs if name in run.settings]
        values = ["null" if value is None else as_text(value) for value in known]
        return describe_spread(values) if values else ""


def tuned_settings(facts: Facts) -> list[str]:
    """Bounds, budget and outcome of the tuning; none where there is no record of any."""
    tuned = facts.tuned
    if tuned is None:
        return []
    points = [point for of_arm in tuned.scores.values() for point in of_arm]
    if not points:  # no tuning run has ended
        return []
    grid = zip(tuned.settings, grid_of(points), strict=True)
    tried = "; ".join(f"{name} among {', '.join(map(as_text, v))}" for name, v in grid)
    runs = sum(len(scores) for of_arm in tuned.scores.values() for scores in of_arm.values())
    length = f" of {tuned.epochs:g} epochs" if tuned.epochs else ""
    sentences = [
        f"Tuned for each arm: {tried}; {tuned.seeds} seed{'s' * (tuned.seeds != 1)} of each, "
        f"which no verdict uses, {runs} run{'s' * (runs != 1)}{length} in all; "
        "judged by validation."
    ]
    for arm, point in tuned.chosen.items():
        pairs = zip(tuned.settings, point, strict=True)
        values = ", ".join(f"{name} = {as_text(value)}" for name, value in pairs)
        edge = ", at the edge of what was tried" if tuned.at_edge.get(arm) else ""
        sentences.append(f"{arm}: {values}{edge}.")
    return sentences


def seeds(facts: Facts) -> list[str]:
    """The seeds of the runs."""
    numbers = sorted({run.seed for run in facts.runs if run.seed is not None})
    return [f"Seeds: {', '.join(map(str, numbers))}."] if numbers else []


def split_kind(facts: Facts) -> str:
    """Whether all seeds have the same training and validation images."""
    kinds = {run.settings.get("data.split_seed", "fixed") for run in facts.runs}
    words = {
        "fixed": "the same for every seed",
        "seed": "another one for each seed, with the same test images",
    }
    return " or ".join(sorted(words.get(as_text(kind), as_text(kind)) for kind in kinds))
