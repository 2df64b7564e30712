"""Declared looks of an experiment: the numbers of seeds at which its claims are judged."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from xception_jax.errors import InputError
from xception_jax.records import FEWEST_PAIRS, STEPS_TO_TARGET
from xception_jax.sweep.contrast_claims import AnyClaim


def checked_looks(looks: Any, seeds: int, claims: Sequence[AnyClaim]) -> tuple[int, ...]:
    """The looks as a tuple, empty where none are declared.

    Raises:
        InputError: they are not increasing numbers of seeds of which the last is `seeds`; the first
            is too small for a verdict; there is no claim to judge; or the target of steps to a
            target would change from look to look.
    """
    field = "experiment.looks"
    if not isinstance(looks, (tuple, list)) or not all(type(look) is int for look in looks):
        raise InputError(field, looks, "must be a tuple of numbers of seeds, such as (8, 16, 32)")
    looks = tuple(looks)
    if not looks:
        return ()
    if len(looks) == 1:
        raise InputError(field, looks, "must be two numbers of seeds or more; () is for one")
    if any(later <= earlier for earlier, later in pairwise(looks)):
        near = tuple(sorted(set(looks)))
        raise InputError(field, looks, "must increase from look to look", near)
    if looks[-1] != seeds:
        reason = f"is not the last of the looks, which are {looks}"
        raise InputError("experiment.seeds", seeds, reason, looks[-1])
    if not claims:
        raise InputError(field, looks, "are for claims, and there is none", ())
    pilot = max(claim.pilot_seeds for claim in claims)
    if looks[0] < (least := FEWEST_PAIRS + pilot):
        after = f" after {pilot} pilot seeds" * bool(pilot)
        reason = f"begin with too few seeds for a verdict, which takes {FEWEST_PAIRS}{after}"
        raise InputError(field, looks, reason, least)
    timed = [claim for claim in claims if STEPS_TO_TARGET in claim.endpoints]
    if any(claim.target is None and not claim.pilot_seeds for claim in timed):
        reason = "must be declared with looks: what all runs reach changes from look to look"
        raise InputError("experiment.target", None, reason)
    return looks
