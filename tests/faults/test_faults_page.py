"""docs/reliability.md says what the last `make faults` found, of every test there is."""

import json
import re
from pathlib import Path

from tests.faults.reliability import PAGE, RESULTS, page


def test_the_page_is_made_of_the_results():
    assert PAGE.read_text() == page(json.loads(RESULTS.read_text()))


def test_every_promise_was_tested_and_kept():
    rows = json.loads(RESULTS.read_text())["found"]
    files = [f for f in Path(__file__).parent.glob("test_*.py") if f != Path(__file__)]
    tests = {name for f in files for name in re.findall(r"^def (test_\w+)", f.read_text(), re.M)}
    assert {row["test"].partition("[")[0] for row in rows} == tests
    assert [row["test"] for row in rows if row["result"] != "passed"] == []
