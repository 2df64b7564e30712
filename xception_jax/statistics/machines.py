"""Comparison of the machines and implementations of two runs, for the audit."""

from collections import Counter

from xception_jax.statistics.provenance import describe_difference
from xception_jax.statistics.results import Run


def devices_of(run: Run) -> str:
    """The devices of a run and how many of each: `2 x cpu`."""
    return ", ".join(f"{n} x {name}" for name, n in sorted(Counter(run.devices).items()))


def describe_devices(one: Run, other: Run) -> str:
    """Says on which devices two runs trained, if these are not the same."""
    return describe_difference("devices", devices_of(one), devices_of(other))


def describe_depthwise(one: Run, other: Run) -> str:
    """Says which depthwise implementations two runs used, if they differ though asked for the same.

    Machines with and without built kernels differ in it.
    """
    name = "depthwise_implementation"
    if one.settings.get(f"model.{name}") != other.settings.get(f"model.{name}"):
        return ""
    return describe_difference(name, one.depthwise_implementation, other.depthwise_implementation)


def describe_batch_norm(one: Run, other: Run) -> str:
    """Says which implementations of batch normalization two runs used, if they differ."""
    name = "batch_norm_implementation"
    return describe_difference(name, one.batch_norm_implementation, other.batch_norm_implementation)


def describe_determinism(one: Run, other: Run) -> str:
    """Says which of two runs gave up deterministic operations."""
    given_up = " and ".join(run.arm for run in (one, other) if run.deterministic is False)
    reason = "ran with XCEPTION_JAX_DETERMINISTIC=off, and need not repeat bit for bit"
    return given_up and f"{given_up} {reason}"
