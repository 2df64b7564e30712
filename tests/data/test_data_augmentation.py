"""Tests of the data path inside the compiled step, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from xception_jax.data import augment, gather, normalize
from xception_jax.errors import InputError


def shifted(image: np.ndarray, padding: int) -> dict[bytes, tuple[int, int, bool]]:
    """Returns (down, right, flipped) of every allowed outcome of shift_flip, by its content."""
    height, width, _ = image.shape
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    outcomes = {}
    for down in range(2 * padding + 1):
        for right in range(2 * padding + 1):
            crop = padded[down : down + height, right : right + width]
            outcomes[crop.tobytes()] = (down, right, False)
            outcomes[crop[:, ::-1].tobytes()] = (down, right, True)
    return outcomes


@pytest.mark.parametrize(("shape", "padding"), [((9, 7, 3), 2), ((8, 8, 1), 3), ((5, 5, 2), 0)])
def test_shift_flip_takes_every_allowed_outcome(
    rng: np.random.Generator, shape: tuple[int, int, int], padding: int
) -> None:
    count = 60 * 2 * (2 * padding + 1) ** 2
    image = rng.integers(1, 256, shape, np.uint8)
    images = jnp.asarray(np.broadcast_to(image, (count, *shape)))
    keys = jax.random.split(jax.random.key(int(rng.integers(2**31))), count)
    out = np.asarray(augment(images, keys, augmentation="shift_flip", padding=padding))
    assert out.dtype == np.uint8
    allowed = shifted(image, padding)
    seen = [allowed[result.tobytes()] for result in out]
    # Each is expected 60 times: that one of at most 98 never comes has a probability below 1e-24.
    assert len(set(seen)) == len(allowed)
    flips = np.mean([flip for _, _, flip in seen])
    assert abs(flips - 0.5) < 5 * 0.5 / np.sqrt(count)


def test_result_depends_on_the_example_not_on_the_batch(rng: np.random.Generator) -> None:
    images = jnp.asarray(rng.integers(0, 256, (8, 12, 12, 3), np.uint8))
    keys = jax.random.split(jax.random.key(1), 8)

    def shift_flip(images: jax.Array, keys: jax.Array) -> jax.Array:
        return augment(images, keys, augmentation="shift_flip", padding=3)

    whole = np.asarray(jax.jit(shift_flip)(images, keys))
    parts = [shift_flip(images[i : i + 2], keys[i : i + 2]) for i in range(0, 8, 2)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    per_seed = jax.vmap(shift_flip)(images.reshape(2, 4, 12, 12, 3), keys.reshape(2, 4))
    np.testing.assert_array_equal(per_seed.reshape(whole.shape), whole)
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    spec = PartitionSpec("data")
    sharded = jax.shard_map(shift_flip, mesh=mesh, in_specs=(spec, spec), out_specs=spec)
    np.testing.assert_array_equal(jax.jit(sharded)(images, keys), whole)


def test_none_changes_nothing_and_typos_are_named(rng: np.random.Generator) -> None:
    images = jnp.asarray(rng.integers(0, 256, (2, 4, 4, 1), np.uint8))
    keys = jax.random.split(jax.random.key(0), 2)
    for name in ("none", "random_resized_crop"):
        np.testing.assert_array_equal(augment(images, keys, augmentation=name, padding=2), images)
    with pytest.raises(InputError, match=r"data\.augmentation='shift_flop'.*'shift_flip'"):
        augment(images, keys, augmentation="shift_flop", padding=2)


def test_gather_from_either_pipeline(rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (10, 3, 3, 1), np.uint8)
    labels = rng.integers(0, 5, 10).astype(np.int32)
    index = rng.integers(0, 10, 6).astype(np.int32)
    out = jax.jit(gather)({"image": images, "label": labels}, {"index": index})
    np.testing.assert_array_equal(out[0], images[index])
    np.testing.assert_array_equal(out[1], labels[index])
    streamed = {"image": images[:4], "label": labels[:4], "index": index[:4]}
    out = jax.jit(gather)({}, streamed)
    np.testing.assert_array_equal(out[0], images[:4])
    np.testing.assert_array_equal(out[1], labels[:4])


def test_normalize_covers_minus_one_to_one() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    out = np.asarray(normalize(jnp.asarray(pixels)))
    assert out.dtype == np.float32
    # A quotient and a difference in float32, 6e-8 each, of numbers up to 2.
    np.testing.assert_allclose(out, np.linspace(-1, 1, 256).reshape(out.shape), atol=1e-6)
