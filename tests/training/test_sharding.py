"""Layout of arrays on devices."""

import pytest
from jax.sharding import AxisType

from xception_jax.training.sharding import make_mesh, shard_axis


@pytest.mark.parametrize(
    ("shape", "devices", "axis"),
    [((3, 3, 64, 128), 4, 3), ((8, 6), 4, 0), ((6, 10), 4, None), ((), 2, None), ((0, 4), 4, 1)],
)
def test_the_longest_axis_that_divides_is_dealt_out(shape, devices, axis):
    assert shard_axis(shape, devices) == axis


@pytest.mark.parametrize("slots", [None, 3])
def test_axes_of_a_mesh_are_automatic(slots):
    """Those that JAX makes by default are explicit, and refuse what the training step does."""
    assert make_mesh(slots=slots).axis_types == (AxisType.Auto,) * 2
