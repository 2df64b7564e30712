"""How arrays lie on devices."""

import pytest

from xception_jax.training.sharding import shard_axis


@pytest.mark.parametrize(
    ("shape", "devices", "axis"),
    [((3, 3, 64, 128), 4, 3), ((8, 6), 4, 0), ((6, 10), 4, None), ((), 2, None), ((0, 4), 4, 1)],
)
def test_the_longest_axis_that_divides_is_dealt_out(shape, devices, axis):
    assert shard_axis(shape, devices) == axis
