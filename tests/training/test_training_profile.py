"""The profiler's trace of some steps, and the guard against transfers nobody asked for."""

import pytest

from xception_jax.tracking import read_metrics
from xception_jax.training import sharding


def test_a_trace_of_the_steps_asked_for_changes_nothing_else(run, tmp_path):
    run(tmp_path / "plain")
    run(tmp_path / "traced", "train.profile_steps=[3,4]")
    traces = list((tmp_path / "traced" / "profile").rglob("*.xplane.pb"))
    assert len(traces) == 1
    assert traces[0].stat().st_size > 0
    assert not (tmp_path / "plain" / "profile").exists()
    curves = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("plain", "traced")]
    assert curves[0] == curves[1]


def test_steps_after_the_last_leave_no_trace(run, tmp_path):
    run(tmp_path, "train.profile_steps=[100,200]")
    assert not (tmp_path / "profile").exists()


@pytest.mark.usefixtures("unchecked_types")
def test_a_batch_that_was_not_put_on_the_devices_is_refused(run, tmp_path, monkeypatch):
    """A transfer from the host in every step, as a GPU would need it, fails on a CPU as well."""
    monkeypatch.setattr(sharding.Layout, "put", lambda self, batch, spec: batch)
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        run(tmp_path)
