"""docs/reliability.md says what `make faults` found, docs/inputs.md what tests there are."""

import json
import re
from pathlib import Path

from tests.faults.reliability import DOCS, PAGE, RESULTS, page


def test_the_page_is_made_of_the_results():
    assert PAGE.read_text() == page(json.loads(RESULTS.read_text()))


def promised() -> set[str]:
    """The names of the tests that have a promise."""
    tests = Path(__file__).parents[1]
    pattern = re.compile(r"^@pytest\.mark\.promise\((?:.|\n)*?^def (test_\w+)", re.MULTILINE)
    files = (file for file in tests.rglob("test_*.py") if file != Path(__file__))
    return {name for file in files for name in pattern.findall(file.read_text())}


def test_every_promise_was_tested_and_kept():
    rows = json.loads(RESULTS.read_text())["found"]
    assert {row["test"].partition("[")[0] for row in rows} == promised()
    assert [row["test"] for row in rows if row["result"] != "passed"] == []
    names = [row["test"] for row in rows]
    # A row from before its test was parametrized would count as a case that there is not.
    assert [n for n in names if any(other.startswith(f"{n}[") for other in names)] == []


def test_the_tests_that_the_page_of_inputs_names_exist():
    tests = Path(__file__).parents[1]
    named = set(re.findall(r"`(test_\w+)`", (DOCS / "inputs.md").read_text()))
    there = {
        name
        for file in tests.rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    assert named <= there
    assert len(named) > 50
