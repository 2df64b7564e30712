"""A plan that does not fit the recorded sweep is refused before anything is written or trained."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.programs import Call
from tests.sweep.tuning_landscape import RATE, RATES, declare
from tests.untrained_study import Study, TunedStudy
from xception_jax.checksums import with_checksum
from xception_jax.commands.engines import Engine
from xception_jax.config import resolve
from xception_jax.errors import InputError
from xception_jax.sweep import Claim, Experiment, Tune
from xception_jax.sweep.ledger import write_ledger
from xception_jax.sweep.reconciliation import require_no_gap, require_pilot_first
from xception_jax.sweep.recorded import load_recorded


@pytest.fixture
def tuned(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TunedStudy:
    return TunedStudy(call, tmp_path, monkeypatch)


@pytest.fixture
def study(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    return Study(call, tmp_path, monkeypatch)


def content(home: Path) -> dict[Path, bytes]:
    paths = (path for path in home.rglob("*") if path.is_file() and path.name != ".lock")
    return {path: path.read_bytes() for path in paths}


def require_refused(study: Study, message: str, *words: str) -> None:
    """The command is refused in one line that has the message, and leaves everything as it is."""
    before, trained = content(study.home), list(study.trained)
    fixed = [word for word in study.words() if word != "train.epochs=3"]
    code, _, err = study.call("sweep", study.file, "--workdir", study.home, *fixed, *words)
    assert (code, err.count("\n")) == (2, 1), err
    assert message in err
    assert study.trained == trained
    assert content(study.home) == before


@pytest.mark.usefixtures("undrawn_figures")
def test_another_setting_leaves_what_was_tuned_as_it_is(tuned: TunedStudy) -> None:
    tuned.sweep()
    trained, claim = list(tuned.trained), tuned.verdict()
    message = "another sweep: its 'none' has other settings: train.epochs=3.0, not 2.0;"
    require_refused(tuned, message, "train.epochs=2")
    require_refused(tuned, "train.epochs=3.0, not")  # a word is forgotten
    require_refused(tuned, "train.epochs=3.0, not 2.0", "train.epochs=2", "--first-seed", "4")
    assert tuned.sweep("train.log_every_steps=3") == ""  # which changes no result
    assert tuned.trained == trained
    assert tuned.verdict()["grade_reasons"] == claim["grade_reasons"]


def test_another_setting_is_refused_while_a_sweep_is_tuned(tuned: TunedStudy) -> None:
    tuned.interrupted = True
    tuned.sweep()
    require_refused(tuned, "train.epochs=3.0, not 2.0", "train.epochs=2")


def test_a_choice_that_another_process_makes_before_the_lock_is_kept(
    tuned: TunedStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not made again, which would call it one after results."""
    opened = Engine.open
    chosen = []

    def open_late(engine: Engine, directory: Path) -> object:
        monkeypatch.setattr(Engine, "open", opened)
        tuned.sweep()
        chosen.append(tuned.record()["experiment"]["tuned"])
        return engine.open(directory)

    monkeypatch.setattr(Engine, "open", open_late)
    tuned.sweep()
    assert [tuned.record()["experiment"]["tuned"]] == chosen


def test_what_was_tuned_by_other_runs_is_not_tuned_again(tmp_path: Path) -> None:
    """Such as those of a version that gave other ids: the settings do not tell."""
    experiment, base = declare(Tune(RATE, RATES)), resolve({})
    record = {"arms": {"none": {"chosen": {RATE: 0.1}}, "relu": {"chosen": {RATE: 0.1}}}}
    record = with_checksum({**record, "complete": True, "grid": [], "runs": []})
    write_ledger(tmp_path, replace(experiment, tuned=record), base, [], "sweep")
    with pytest.raises(InputError, match="another sweep: its 'none' was tuned by other runs"):
        write_ledger(tmp_path, experiment, base, [], "sweep")


def test_seeds_that_are_added_have_the_settings_of_the_others(study: Study) -> None:
    study.sweep("--seeds", 2)
    words = ("train.epochs=2", "--first-seed", "2", "--seeds", "2")
    require_refused(study, "its 'none' has other settings: train.epochs=3.0, not 2.0", *words)


def test_seeds_that_leave_others_out_are_refused(study: Study) -> None:
    study.sweep("--seeds", 4)
    for seed in ("20000", "5"):
        words = ("train.epochs=3", "--first-seed", seed, "--seeds", "4")
        require_refused(study, "--first-seed=" + seed, *words)
    study.sweep("--first-seed", 4, "--seeds", 2)
    loaded = load_recorded(study.home / "sweep.json")
    assert [*loaded.experiment.all_seeds] == study.record()["experiment"]["seeds"] == [*range(6)]


PILOT = "Claim('relu', 'none', 'better', ('steps_to_target',), pilot_seeds=2)"
TIMED = Claim("relu", "none", endpoints=("steps_to_target",), pilot_seeds=2)


def test_no_seed_comes_before_those_of_a_pilot_that_has_results(study: Study) -> None:
    """It would be one of the pilot's, which would set another target."""
    study.claims, study.interrupted = PILOT, True
    study.sweep("--first-seed", 6, "--seeds", 3)
    study.interrupted = False
    study.sweep("--first-seed", 5, "--seeds", 3)  # nothing was known of a target
    message = "--first-seed=3: comes before the pilot seeds, which set the target of this sweep"
    words = ("train.epochs=3", "--first-seed", "3", "--seeds", "2")
    require_refused(study, f"{message}; nearest valid value: 5", *words)
    study.sweep("--first-seed", 8, "--seeds", 1)
    assert study.record()["experiment"]["seeds"] == [5, 6, 7, 8]


@pytest.mark.parametrize("now", [(), (TIMED,)])
@pytest.mark.parametrize("then", ["claims", "post_hoc_claims", None])
def test_a_pilot_counts_whenever_it_was_claimed(then: str | None, now: tuple[Claim, ...]) -> None:
    """Those that are recorded stay claims of the sweep, though the file has them no more."""
    experiment = Experiment("x", "", "b.py", {"none": {}, "relu": {}}, 2, now, first_seed=3)
    recorded: dict[str, Any] = {"experiment": {"claims": []}, "post_hoc_claims": []}
    if then is not None:
        claims = recorded["experiment"] if then == "claims" else recorded
        claims[then] = [TIMED.describe()]
    require_pilot_first(recorded, {3, 4}, experiment)
    require_pilot_first(recorded, set(), experiment)  # none stays planned
    if not now and then is None:
        require_pilot_first(recorded, {5, 6}, experiment)
        return
    with pytest.raises(InputError, match="--first-seed=3: comes before the pilot") as error:
        require_pilot_first(recorded, {5, 6}, experiment)
    assert error.value.nearest == 5


@pytest.mark.parametrize(
    ("recorded", "fixed", "planned", "refused"),
    [
        (range(4), range(4), (5, 4), ("first_seed", 4)),
        (range(4), range(4), (10**9, 4), ("first_seed", 4)),
        (range(20, 24), range(20, 24), (0, 4), ("first_seed", 16)),
        (range(8), {1, 6}, (0, 2), ("seeds", 7)),
        (range(8), {6}, (0, 4), ("seeds", 7)),
        (range(4), range(4), (4, 1), None),
        (range(4), range(4), (1, 2), None),
        (range(8), {3}, (0, 3), None),
        (range(8), (), (100, 3), None),  # none has begun
        ((0, 1, 100, 101), (0, 1, 100, 101), (0, 2), None),  # as another version left it
    ],
)
def test_seeds_follow_each_other(
    recorded: Collection[int],
    fixed: Iterable[int],
    planned: tuple[int, int],
    refused: tuple[str, int] | None,
) -> None:
    first, count = planned
    experiment = Experiment("x", "", "b.py", arms={"none": {}}, seeds=count, first_seed=first)
    if refused is None:
        require_no_gap(recorded, {*fixed}, experiment)
        return
    name, nearest = refused
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')}=") as error:
        require_no_gap(recorded, {*fixed}, experiment)
    assert error.value.nearest == nearest
    near: dict[str, Any] = {name: nearest}
    require_no_gap(recorded, {*fixed}, replace(experiment, **near))
