"""`checklist.md`: what records answer, what stays open, and that nothing else is said."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.synthetic_sweep import (
    DATA,
    STEPS,
    NewSweep,
    SweepWriter,
    edit_run,
    edit_sweep,
    saturating,
    write_log,
    write_run,
)
from tests.synthetic_tuning import RATE, add_tuning
from xception_jax.checksums import with_checksum
from xception_jax.report import write_report
from xception_jax.report.checklist import NEURIPS, REFORMS, Question, escaped

pytestmark = pytest.mark.usefixtures("undrawn_figures")
CLAIM = {"arm": "a", "baseline": "b", "direction": "better", "endpoints": ["final_top1"]}
NEVER = {"3", "9", "10", "11", "13", "14", "15", "16", "1a", "1b", "1c", "2d"}
NEVER |= {"3a", "3b", "3c", "3g", "5b", "6c", "8b"}
"""Questions that no record answers."""


def planted(new_sweep: NewSweep, **changes: Any) -> SweepWriter:
    """Two arms, six seeds, a claim that holds."""
    return train(new_sweep(arms={"a": {}, "b": {}}, seeds=range(6), claims=[CLAIM]), **changes)


def train(sweep: SweepWriter, **changes: Any) -> SweepWriter:
    for arm, final in (("a", 0.9), ("b", 0.8)):
        for seed in sweep.seeds:
            sweep.add_run(
                arm, seed, steps=STEPS, top1=saturating(final), test_top1=final + 0.001 * seed,
                **changes,
            )  # fmt: skip
    return sweep


def entries(directory: Path) -> dict[str, tuple[bool, str]]:
    """For each number whether its box is ticked, and the text below."""
    text = (directory / "report" / "checklist.md").read_text()
    found = re.findall(r"^- \[([ x])\] \*\*(\w+)\.\*\* [^\n]*\n((?:  - [^\n]*\n)+)", text, re.M)
    return {number: (mark == "x", body) for mark, number, body in found}


def test_every_question_is_there_once_and_in_order(new_sweep: NewSweep) -> None:
    sweep = planted(new_sweep)
    write_report(sweep.directory)
    found = entries(sweep.directory)
    assert list(found) == [question.number for question in (*NEURIPS, *REFORMS)]
    assert [question.number for question in NEURIPS] == [str(n) for n in range(1, 17)]
    sections = ("abc", "abcde", "abcdefg", "abc", "abcdef", "abc", "abc", "ab")
    expected = [f"{n}{letter}" for n, letters in enumerate(sections, 1) for letter in letters]
    assert [question.number for question in REFORMS] == expected
    assert len(expected) == 32


def test_what_no_record_says_stays_open(new_sweep: NewSweep) -> None:
    sweep = planted(new_sweep)
    write_report(sweep.directory)
    found = entries(sweep.directory)
    for number in NEVER:
        assert found[number] == (False, "  - *Open:* the records do not say.\n")
    for question in (*NEURIPS, *REFORMS):
        is_ticked, text = found[question.number]
        assert is_ticked == ("*Open:*" not in text)
        assert not (is_ticked and question.rest)


@pytest.mark.parametrize(
    ("recorded", "shown"), [("str:", None), ("str: CC BY 4.0", "CC BY 4.0"), ("MIT", "MIT")]
)
def test_licences_of_older_records_have_no_type(
    new_sweep: NewSweep, recorded: str, shown: str | None
) -> None:
    sweep = planted(new_sweep)
    for arm in ("a", "b"):
        for seed in sweep.seeds:
            licensed = {**DATA, "licence": recorded}
            edit_run(sweep.run_directory(arm, seed), partial(dict.update, data=licensed))
    write_report(sweep.directory)
    _, answer = entries(sweep.directory)["12"]
    assert "str:" not in answer
    assert "Data set" not in answer if shown is None else f"mini: {shown}." in answer


def test_answers_are_those_of_the_records(new_sweep: NewSweep) -> None:
    sweep = planted(new_sweep)
    for arm in ("a", "b"):
        for seed in sweep.seeds:
            licensed = {**DATA, "licence": "MIT"}
            edit_run(sweep.run_directory(arm, seed), partial(dict.update, data=licensed))
    write_report(sweep.directory)
    found = {number: text for number, (_, text) in entries(sweep.directory).items()}
    assert (
        "a better than b: final top-1: supported, declared before the runs, grade A." in found["1"]
    )
    assert "95% interval of the mean paired difference over 6 seeds" in found["7"]
    assert found["7"] == found["7b"]
    assert "compute: 12.0 device-minutes judged" in found["8"]
    assert "Data set fashion\\_mnist\\_mini: MIT." in found["12"]
    assert "0123456789abcdef0123456789abcdef01234567" in found["2b"]
    assert "jax 0.10.2" in found["2c"]
    assert "10,800 training, 1,200 validation and 2,000 test images" in found["3e"]
    assert "images with the same pixels in two splits: none" in found["6b"]
    assert "No tuning is recorded in this directory" in found["5e"]
    assert "p adjusted by Holm’s method over the claims" in found["7c"]
    assert "the split of the data is the same for every seed" in found["7"]
    assert "Seeds: 0, 1, 2, 3, 4, 5." in found["5c"]


@pytest.mark.parametrize("is_begun", [True, False])
def test_bounds_and_budget_of_the_tuning(new_sweep: NewSweep, is_begun: bool) -> None:
    sweep = new_sweep(arms={"a": {}, "b": {}}, seeds=range(6), claims=[CLAIM])
    scores: dict[tuple[float, ...], list[float]] = {
        (0.05,): [0.7, 0.7],
        (0.1,): [0.8, 0.8],
        (0.2,): [0.9, 0.9],
    }
    others = scores | {(0.2,): [0.1, 0.1]}
    add_tuning(sweep, {"a": scores, "b": others}, at_edge={"a": {RATE: "upper"}})
    train(sweep)
    if not is_begun:
        edit_sweep(sweep.directory, lambda content: content["experiment"].pop("tuned"))
    write_report(sweep.directory)
    text = entries(sweep.directory)["5e"][1].replace("\\", "")
    assert "optimizer.learning_rate among 0.05, 0.1, 0.2; 2 seeds of each" in text
    assert "12 runs in all; judged by validation" in text
    assert "a: optimizer.learning_rate = 0.2, at the edge of what was tried." in text
    assert "b: optimizer.learning_rate = 0.1." in text
    assert "No tuning is recorded" not in text


def test_a_tuning_without_any_ended_run_says_nothing_yet(new_sweep: NewSweep) -> None:
    sweep = new_sweep(arms={"a": {}, "b": {}}, seeds=range(6), claims=[CLAIM])
    record = add_tuning(sweep, {"a": {(0.1,): [0.8]}, "b": {(0.1,): [0.8]}})
    record = with_checksum({**record, "arms": {}, "runs": [], "complete": False})
    (sweep.directory / "tuning.json").write_text(json.dumps(record))
    edit_sweep(sweep.directory, lambda content: content["experiment"].pop("tuned"))
    write_report(sweep.directory)
    assert "Tuned for each arm" not in (sweep.directory / "report" / "checklist.md").read_text()


MISSING: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "data": ({"data": {}}, ("2a", "6a", "6b", "12")),
    "code": ({"commit": None, "code": {}}, ("2b",)),
    "computers": ({"devices": [], "versions": {}}, ("2c", "8")),
    "sizes": ({"examples": {}, "result": {"top1": 0.5}}, ("3e", "5c")),
    "classes": ({"classes": None}, ("3d",)),
    "licence": ({}, ("12",)),
    "skipped": ({}, ("3f",)),
}


@pytest.mark.parametrize("what", MISSING)
def test_a_record_that_is_missing_leaves_its_question_open(new_sweep: NewSweep, what: str) -> None:
    changes, numbers = MISSING[what]
    sweep = planted(new_sweep, **changes)
    write_report(sweep.directory)
    found = entries(sweep.directory)
    for number in numbers:
        assert found[number] == (False, "  - *Open:* the records do not say.\n")


def test_a_sweep_that_has_not_begun_answers_next_to_nothing(new_sweep: NewSweep) -> None:
    sweep = new_sweep(arms={"a": {}, "b": {}}, claims=[CLAIM])
    write_report(sweep.directory)
    answered = {
        number for number, (_, text) in entries(sweep.directory).items() if "records do" not in text
    }
    # The claims, not tested, their baselines, and that planned seeds are missing; the command.
    assert answered == {"1", "2", "4", "2e", "5f"}


def test_a_single_run_without_claims(tmp_path: Path) -> None:
    entry = {"arm": "none", "seed": 3, "id": "0" * 64}
    write_run(tmp_path, entry, status="done", test_top1=0.8)
    write_log(tmp_path / "metrics.jsonl", STEPS, saturating(0.8), [0.5] * len(STEPS))
    write_report(tmp_path)
    found = entries(tmp_path)
    for number in ("1", "7", "7c", "5f"):
        assert not found[number][0]
    assert "Seeds: 3." in found["4"][1]


def test_text_of_files_stays_text(new_sweep: NewSweep) -> None:
    hostile = "](http://x) <script> **bold** # `x` | &lt;"
    sweep = new_sweep(name="n", arms={hostile: {hostile: hostile}, "b": {}}, seeds=(0,))
    sweep.add_run(hostile, 0, steps=STEPS, top1=saturating(0.9), test_top1=0.8, commit=hostile)
    write_report(sweep.directory)
    text = (sweep.directory / "report" / "checklist.md").read_text()
    assert escaped(hostile) in text
    assert not re.search(r"(?<!\\)(<script>|\*\*bold|\]\(http://x|&lt;)", text)


def test_no_question_promises_a_whole_answer_that_has_none() -> None:
    for question in (*NEURIPS, *REFORMS):
        assert isinstance(question, Question)
        assert question.answer or not question.rest
        assert question.text.endswith("?")
        assert (question.number in NEVER) == (question.answer is None)
