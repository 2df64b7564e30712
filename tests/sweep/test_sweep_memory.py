"""The memory of packs is what their forecast says."""

import platform
import sys
from statistics import median

import pytest

from tests.programs import run_program
from tests.shrunk import ROOT

# An arm of each experiment.
ARMS = {
    "alexnet_separable": "regular",
    "fully_connected": "inception-fc",
    "inception_vs_xception": "inception",
    "nonlinearity": "relu",
    "order": "pointwise_first-relu",
    "residual": "plain",
    "segments": "1-none",
}

VERSION = platform.libc_ver()[1] or "0"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="what is resident is read from /proc")
@pytest.mark.xfail(
    [int(part) for part in VERSION.split(".")[:2]] < [2, 39],
    reason="glibc before 2.39 gives no aligned block back to the next step (its bug 30723), and "
    "XLA frees its own after it has reported the result: between one block and five are held, so "
    "that packs of fully_connected were forecast 26% too high, and others 12% too low",
)
@pytest.mark.parametrize("slots", ["none", 4])
@pytest.mark.parametrize("experiment", ARMS)
def test_a_pack_needs_the_memory_that_is_forecast(experiment, slots):
    """Within 15% of all that the process holds, in the median of three processes.

    A process holds a step's scratch memory once to five times, which depends on the moment.
    """
    path = ROOT / "experiments" / f"{experiment}.py"
    ratios = []
    for _ in range(3):
        done = run_program("pack_memory", path, ARMS[experiment], slots, XLA_FLAGS="")
        assert done.returncode == 0, done.stderr
        measured, forecast, of_pack = map(float, done.stdout.split())
        print(f"{measured:.0f} MB measured, {forecast:.0f} MB forecast, {of_pack:.0f} of the pack")
        ratios.append(forecast / measured)
    assert median(ratios) == pytest.approx(1, abs=0.15)
