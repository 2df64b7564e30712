"""The profiler's trace of some steps, and the guard against transfers nobody asked for."""

import pytest

from xception_jax.runtime.profiling import StepProfiler
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


@pytest.mark.parametrize(
    ("resumed_after", "per_call", "traced"),
    [(0, 1, (20, 25)), (22, 1, (23, 25)), (25, 1, ()), (100, 1, ()), (0, 8, (17, 32))],
)
def test_the_calls_are_traced_that_take_steps_of_the_range(
    resumed_after, per_call, traced, tmp_path, monkeypatch
):
    step, seen = resumed_after, []
    monkeypatch.setattr("jax.profiler.start_trace", lambda _: seen.append(step + 1))
    monkeypatch.setattr("jax.profiler.stop_trace", lambda: seen.append(step))
    profiler = StepProfiler((20, 25), tmp_path)
    while step < 128:
        profiler.before(step, per_call)
        step += per_call
        profiler.after(step, None)
    profiler.close()
    assert tuple(seen) == traced


@pytest.mark.usefixtures("unchecked_types")
def test_a_batch_that_was_not_put_on_the_devices_is_refused(run, tmp_path, monkeypatch):
    """A transfer from the host in every step, as a GPU would need it, fails on a CPU as well."""
    monkeypatch.setattr(sharding.Layout, "put", lambda self, batch, spec: batch)
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        run(tmp_path)
