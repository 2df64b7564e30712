"""Grades of verdicts: how far a sweep was run as it was declared."""

from collections.abc import Sequence

from xception_jax.statistics.claims import RecordedClaim
from xception_jax.statistics.json_types import Audit

_LOWERS_TO = {
    **dict.fromkeys(("versions", "commit", "devices", "deterministic"), "B"),
    **dict.fromkeys(("options", "unrecorded"), "B"),
    **dict.fromkeys(("initial", "batches", "augmentation", "settings"), "C"),
    **dict.fromkeys(("data", "pixels", "code"), "C"),
}


def graded(
    claim: RecordedClaim, marks: Sequence[str], audit: Audit | None
) -> tuple[str | None, list[str]]:
    """The grade, A if everything pairs and is as declared before the runs, and why it is lower."""
    if audit is None:
        return None, []
    mismatches = [row for row in audit["mismatches"] if set(row["arms"]) <= set(claim.arms)]
    reasons = [mismatch["text"] for mismatch in mismatches]
    grade = max((_LOWERS_TO.get(row["kind"], "C") for row in mismatches), default="A")
    if claim.post_hoc:
        reasons.append(claim.lateness)
        grade = {"A": "B"}.get(grade, "C")
    return "C" if marks else grade, [*reasons, *marks]
