"""Claims that cannot be tested at a look though its runs have ended: no other look waits for them.

Nothing would change at that look, so they go on to the next one, and are not tested at the last.
"""

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.known_effects import build
from tests.statistics.effects_on_bases import EFFECT, verdicts_of
from tests.synthetic_bases import build_on_bases
from tests.synthetic_sweep import NewSweep, SweepWriter, edit_run
from tests.untrained_study import Study
from xception_jax.report.reading import read_directory
from xception_jax.statistics.json_types import ClaimVerdict
from xception_jax.statistics.looks import has_open_claim
from xception_jax.statistics.verdicts import judge, open_arms
from xception_jax.sweep import Claim

LOOKS: dict[str, Any] = {"looks": (8, 12), "spending": "pocock"}
ALIKE = {"a": 0.0, "b": 0.0}
STEPS_TO = ("steps_to_target",)
EQUIVALENT = Claim("a", "b", "equivalent", margin=0.02)
UNREACHED = Claim("a", "b", "equivalent", STEPS_TO, margin=50, target=0.99)
PILOTED = Claim("a", "b", "better", STEPS_TO, pilot_seeds=2)
Untestable = tuple[Claim, int, str]
"""A claim, how many of the first seeds diverge, and why it cannot be tested then."""
UNTESTABLE: dict[str, Untestable] = {
    "unreached": (UNREACHED, 0, "no run reached 0.99"),
    "diverged": (EQUIVALENT, 12, "every run diverged"),
    "pilot": (PILOTED, 2, "its pilot seeds have not all ended with a result"),
}


def both_arms(*seeds: int) -> tuple[tuple[str, int], ...]:
    return tuple(itertools.product("ab", seeds))


def judged(sweep: SweepWriter) -> ClaimVerdict:
    """The only verdict of a sweep; it is open wherever the sweep goes on."""
    read = read_directory(sweep.directory)
    verdicts = judge(read)
    (claim,) = verdicts["claims"]
    assert has_open_claim(verdicts) == bool(open_arms(read)) == (claim["verdict"] == "open")
    return claim


def look_of(claim: ClaimVerdict) -> int:
    look = claim["look"]
    assert look is not None
    return look["number"]


@pytest.mark.parametrize("untestable", UNTESTABLE.values(), ids=UNTESTABLE)
@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        (7, "is open: the first look is at 8 seeds"),
        (8, "is open: the next look is at 12 seeds"),
        (11, "is open: the next look is at 12 seeds"),
        (12, "was not tested:"),
    ],
)
def test_a_claim_that_cannot_be_tested_waits_for_no_look(
    new_sweep: NewSweep,
    rng: np.random.Generator,
    untestable: Untestable,
    seeds: int,
    said: str,
) -> None:
    claim, diverged, reason = untestable
    skip, lost = both_arms(*range(seeds, 12)), both_arms(*range(min(diverged, seeds)))
    sweep = build(new_sweep, [claim], ALIKE, rng, seeds=12, skip=skip, diverged=lost, **LOOKS)
    found = judged(sweep)
    assert look_of(found) == sum(seeds >= look for look in LOOKS["looks"])
    assert (found["endpoints"], found["n"]["pairs"]) == ([], 0)
    assert said in found["sentence"]
    assert reason in found["sentence"]


@pytest.mark.parametrize("untestable", UNTESTABLE.values(), ids=UNTESTABLE)
@pytest.mark.parametrize("waiting", [0, 7])  # a pilot seed of one of the claims, and none
def test_a_look_waits_for_every_run_up_to_it(
    new_sweep: NewSweep, rng: np.random.Generator, untestable: Untestable, waiting: int
) -> None:
    claim, diverged, reason = untestable
    skip = (("a", waiting),)
    lost = tuple(run for run in both_arms(*range(diverged)) if run not in skip)
    sweep = build(new_sweep, [claim], ALIKE, rng, seeds=12, skip=skip, diverged=lost, **LOOKS)
    found = judged(sweep)
    assert (found["verdict"], look_of(found)) == ("open", 0)
    assert reason in found["sentence"]


@pytest.mark.parametrize("status", ["running", "failed"])
def test_a_run_that_has_not_ended_is_waited_for(
    new_sweep: NewSweep, rng: np.random.Generator, status: str
) -> None:
    sweep = build(new_sweep, [UNREACHED], ALIKE, rng, seeds=12, **LOOKS)
    change = partial(dict.update, status=status, result=None)
    edit_run(sweep.run_directory("a", 7), change)
    assert look_of(judged(sweep)) == 0


def test_a_claim_that_cannot_be_tested_at_one_look_is_judged_at_the_next(
    new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    lost = both_arms(*range(8))
    sweep = build(new_sweep, [EQUIVALENT], ALIKE, rng, seeds=12, diverged=lost, **LOOKS)
    found = judged(sweep)
    assert (found["verdict"], look_of(found), found["n"]["pairs"]) == ("equivalent", 2, 12)
    assert "look 2 of 2, at 12 of 12 seeds" in found["sentence"]


def test_an_open_claim_beside_one_that_cannot_be_tested_is_judged(
    new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    claims = [UNREACHED, Claim("a", "b")]
    sweep = build(new_sweep, claims, {"a": 0.05, "b": 0.0}, rng, seeds=12, **LOOKS)
    found = judge(read_directory(sweep.directory))["claims"]
    assert [claim["verdict"] for claim in found] == ["not tested", "supported"]
    assert [look_of(claim) for claim in found] == [2, 1]


@pytest.mark.parametrize("seed", [0, 10])
def test_a_seed_that_ended_without_the_endpoint_holds_up_no_look(
    new_sweep: NewSweep, rng: np.random.Generator, seed: int
) -> None:
    sweep = build(new_sweep, [Claim("a", "b")], ALIKE, rng, seeds=12, **LOOKS)
    for at in range(12):  # so that the first look decides nothing
        final = 0.8 + 0.01 * (-1) ** at
        sweep.add_run("a", at, test_top1=None if at == seed else final)
        sweep.add_run("b", at, test_top1=0.8)
    found = judged(sweep)
    assert (found["verdict"], look_of(found), found["endpoints"]) == ("not tested", 2, [])
    said = "was not tested: 11 of 12 seeds have ended with a value to test, and a look takes all"
    assert said in found["sentence"]


# -- pilot seeds -------------------------------------------------------------------------------


@pytest.mark.parametrize("pilot", [5, 8, 12, 20])
def test_pilot_seeds_that_leave_too_few_for_the_first_look_are_said(
    new_sweep: NewSweep, rng: np.random.Generator, pilot: int
) -> None:
    """Experiments are refused that declare so, but records are read as they are."""
    claim = Claim("a", "b", endpoints=STEPS_TO, pilot_seeds=pilot)
    found = judged(build(new_sweep, [claim], ALIKE, rng, seeds=12, **LOOKS))
    assert (found["verdict"], found["look"], found["endpoints"]) == ("not tested", None, [])
    assert f"its {pilot} pilot seeds leave too few for the look at 8" in found["sentence"]


def test_pilot_seeds_that_leave_four_for_the_first_look_are_enough(
    new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    claim = Claim("a", "b", endpoints=STEPS_TO, pilot_seeds=4)
    found = judged(build(new_sweep, [claim], ALIKE, rng, seeds=12, **LOOKS))
    assert (look_of(found), found["n"]["pairs"]) in ((1, 4), (2, 8))


def test_a_look_waits_for_the_pilot_runs_of_arms_that_the_claim_does_not_name(
    new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    """The target of a claim is a share of what the pilot runs of all arms reached."""
    skip = (("c", 0), *both_arms(*range(8, 12)))
    effects = {**ALIKE, "c": 0.0}
    found = judged(build(new_sweep, [PILOTED], effects, rng, seeds=12, skip=skip, **LOOKS))
    assert look_of(found) == 0
    assert "is open: the first look is at 8 seeds" in found["sentence"]


# -- several bases -----------------------------------------------------------------------------


def diverge(sweep: SweepWriter, base: str, *seeds: int) -> None:
    """Lets the runs of these seeds on a base diverge."""
    for arm, seed in both_arms(*seeds):
        change = partial(dict.update, status="diverged", result=None)
        edit_run(sweep.run_directory(f"{base}-{arm}", seed), change)


@pytest.mark.parametrize(
    ("at_least", "verdict", "number"), [(None, "not tested", 2), (1, "equivalent", 1)]
)
def test_a_base_that_cannot_be_tested_holds_up_no_look(
    new_sweep: NewSweep,
    rng: np.random.Generator,
    at_least: int | None,
    verdict: str,
    number: int,
) -> None:
    effects = {"x": ALIKE, "y": ALIKE}
    sweep = build_on_bases(
        new_sweep, [EQUIVALENT], effects, rng, seeds=12, at_least=at_least, **LOOKS
    )
    diverge(sweep, "y", *range(12))
    found = judged(sweep)
    assert (found["verdict"], look_of(found)) == (verdict, number)
    assert "every run diverged" in found["bases"][1]["sentence"]
    on_y = "not tested" if number == 2 else "open"
    assert verdicts_of(found)["y"] == on_y


def test_a_base_that_cannot_be_tested_yet_waits_for_its_runs(
    new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    effects = {"x": ALIKE, "y": ALIKE}
    skip = (("y-a", 7),)
    sweep = build_on_bases(new_sweep, [EQUIVALENT], effects, rng, seeds=12, skip=skip, **LOOKS)
    diverge(sweep, "y", *range(7))
    found = judged(sweep)
    assert (found["verdict"], look_of(found), found["endpoints"]) == ("open", 0, [])


def test_bases_of_which_none_can_be_tested_wait_for_no_look(
    new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    effects = {"x": EFFECT, "y": EFFECT}
    skip = tuple((f"{base}-{arm}", seed) for base in effects for arm, seed in both_arms(10, 11))
    sweep = build_on_bases(new_sweep, [EQUIVALENT], effects, rng, seeds=12, skip=skip, **LOOKS)
    for base in effects:
        diverge(sweep, base, *range(10))
    found = judged(sweep)
    assert (found["verdict"], look_of(found)) == ("open", 1)
    assert "the next look is at 12 seeds" in found["sentence"]
    assert found["sentence"].endswith("; every run diverged.")


# -- the commands ------------------------------------------------------------------------------


def test_a_sweep_of_a_claim_that_cannot_be_tested_ends_and_can_be_confirmed(
    study: Study, tmp_path: Path
) -> None:
    study.fields = "seeds=8, looks=(4, 8), spending='pocock', target=0.99"
    study.claims = "Claim('relu', 'none', 'equivalent', ('steps_to_target',), margin=50)"
    words = ("--workdir", study.home, *study.words())
    _, out, _ = study.call("sweep", study.write(), *words)
    assert "no look is left after look 2 of 2; next: xception-jax report" in out
    assert {seed for _, seed in study.trained} == set(range(8))
    claim = study.verdict()
    assert (claim["verdict"], claim["look"]["number"]) == ("not tested", 2)
    assert "no run reached 0.99" in claim["sentence"]
    study.interrupted = True
    again = ("confirm", study.home, "--workdir", tmp_path / "again", "--packing", "off")
    code, out, _ = study.call(*again)
    assert code == 75  # it has begun, and was stopped
    assert "is repeated with 8 seeds from 8 on" in out
