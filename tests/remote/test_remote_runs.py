"""Runs and sweeps in a store: resumed after a kill, read from elsewhere, used by one at a time.

The store here is a directory (`file://`); test_remote_stores.py has servers.
"""

import json
import signal

import pytest

from tests.remote.remote_runs import LONG, assert_same_as_local, finish, wait_for_rows
from tests.shrunk import CONFIG, EXPERIMENT, SHRUNK
from xception_jax.remote.store import Store


@pytest.fixture
def url(tmp_path) -> str:
    return f"file://{tmp_path}/bucket/results/run"


@pytest.mark.slow
@pytest.mark.parametrize("same_machine", [True, False], ids=["here", "elsewhere"])
def test_a_killed_run_resumes_here_and_elsewhere(same_machine, url, start, call, tmp_path):
    words = ("train", CONFIG, *SHRUNK, *LONG)
    whole = tmp_path / "whole"
    assert call(*words, "--workdir", whole)[0] == 0
    first = start(*words, "--workdir", url)
    wait_for_rows(url, 20, first)
    first.send_signal(signal.SIGKILL)
    finish(first)
    code, out, err = finish(start("status", url, machine="c"))
    assert (code, err) == (0, "")
    assert "running" in out  # until its lease has missed its renewals
    code, out, err = finish(start(*words, "--workdir", url, machine="a" if same_machine else "b"))
    assert (code, err) == (0, ""), err
    assert f"files in {url}" in out
    record = json.loads(Store(url).read("run.json"))
    assert record["status"] == "done"
    assert record["resumed_from"]
    assert_same_as_local(whole, url)


@pytest.mark.slow
def test_a_sweep_in_a_store_is_reported_and_evaluated_from_elsewhere(url, start):
    words = ("sweep", EXPERIMENT, "--seeds", 1, "--packing", "off", *SHRUNK)
    code, out, err = finish(start(*words, "--workdir", url))
    assert (code, err) == (0, ""), err
    assert f"next: xception-jax report {url}\n" in out
    for command in ("status", "audit", "report"):
        code, out, err = finish(start(command, url, machine="b"))
        assert code == 0, out + err
    assert f"the page: {url}/report/index.html" in out
    names = Store(url).sizes()
    assert {"report/index.html", "report/verdicts.json", "sweep.json"} <= names.keys()
    assert not [name for name in names if name.endswith(".lock") or "partial" in name]
    run = next(name for name in names if name.endswith("run.json")).removesuffix("/run.json")
    code, out, err = finish(start("evaluate", f"{url}/{run}", machine="b"))
    assert code == 0, err
    assert "test images" in out


@pytest.mark.slow
def test_a_second_command_is_told_who_works_there(url, start):
    words = ("train", CONFIG, *SHRUNK, *LONG, "train.epochs=4000", "--workdir", url)
    first = start(*words)
    wait_for_rows(url, 2, first)
    for machine in ("a", "b"):
        code, _, err = finish(start(*words, machine=machine))
        assert code == 2
        assert f"{url!r}: is in use by process {first.pid} on " in err
        assert err.count("\n") == 1
    first.terminate()
    code, _, err = finish(first)
    assert code == 75, err
    assert json.loads(Store(url).read(".lease.json"))["held"] is False
