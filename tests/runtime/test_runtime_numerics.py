"""Options of JAX and XLA that may change the numbers of a run are recorded in `run.json`."""

import jax
import pytest

from xception_jax.ops import native
from xception_jax.runtime.numerics import numerical_options

PRECISION = "jax_default_matmul_precision"


@pytest.mark.parametrize(
    ("flags", "recorded"),
    [
        ("", None),
        ("--xla_b=2  --xla_a=1", "--xla_a=1 --xla_b=2"),
        ("--xla_force_host_platform_device_count=4 --xla_dump_to=dumps", None),
    ],
)
def test_flags_that_can_change_results_are_recorded_in_one_order(flags, recorded, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", flags)
    assert numerical_options().get("XLA_FLAGS") == recorded


def test_an_option_that_changed_when_the_run_was_resumed_has_both_values(monkeypatch):
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    first = numerical_options()
    assert numerical_options(first) == first
    jax.config.update(PRECISION, "highest")
    try:
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
        second = numerical_options(first)
        assert second[PRECISION] == "None, then highest"
        assert second["NVIDIA_TF32_OVERRIDE"] == "not set, then 0"
        assert numerical_options(second) == second
    finally:
        jax.config.update(PRECISION, None)
    assert numerical_options(second)[PRECISION] == "None, then highest, then None"
    assert numerical_options("damaged") == numerical_options(None)


def test_a_run_that_is_resumed_without_its_kernels_says_so(monkeypatch):
    monkeypatch.setattr(native, "available", lambda: True)
    first = numerical_options()
    assert first["kernels"] == native.version()
    monkeypatch.setattr(native, "available", lambda: False)
    assert numerical_options(first)["kernels"] == f"{native.version()}, then none"
    old = {name: value for name, value in first.items() if name != "kernels"}
    assert numerical_options(old)["kernels"] == "none"  # old records do not say
