"""A checkpoint holds the state at the call of `save`, on however many devices it is.

The devices keep no copy for it: the state may be used up while it is saved.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xception_jax.training.checkpoint import Checkpoints
from xception_jax.training.sharding import Layout, make_mesh, replicate


@pytest.fixture
def checkpoints(tmp_path):
    opened = Checkpoints(tmp_path / "kept", keep_last=1, keep_best=0, metric="top1", run="r")
    yield opened
    opened.close()


def drawn(rng, *leading):
    return {
        "step": np.asarray(rng.integers(99, size=leading), np.int32),
        "kernel": np.asarray(rng.normal(size=(*leading, 3, 3, 1, 8)), np.float32),
        "rounded": np.asarray(rng.normal(size=(*leading, 8)), jnp.bfloat16),
    }


@partial(jax.jit, donate_argnums=0)
def use_up(state):
    return jax.tree.map(lambda x: x + 1, state)


def assert_saved(checkpoints, expected, mesh):
    checkpoints.wait()
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), expected)
    restored = checkpoints.restore(5, shapes, mesh, lambda _: b"")
    jax.tree.map(np.testing.assert_array_equal, restored, expected)


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.usefixtures("unchecked_types")
def test_a_state_may_be_used_up_while_it_is_saved(devices, checkpoints, rng):
    mesh = make_mesh(jax.devices()[:devices])
    expected = drawn(rng)
    state = replicate(expected, mesh)
    checkpoints.save(5, state, None, b"")
    use_up(state)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    assert_saved(checkpoints, expected, mesh)


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.usefixtures("unchecked_types")
def test_a_slot_of_a_pack_may_be_used_up_while_it_is_saved(devices, checkpoints, rng):
    mesh = make_mesh(jax.devices()[:devices], slots=4)
    layout = Layout(mesh, 4)
    expected = drawn(rng, 4)
    slots = [jax.tree.map(lambda x, slot=slot: x[slot], expected) for slot in range(4)]
    state = layout.stack(slots)
    checkpoints.save(5, layout.take(state, 2), None, b"")
    use_up(state)
    assert_saved(checkpoints, slots[2], mesh)
