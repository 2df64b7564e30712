"""A model with its values as one StableHLO artifact."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import export

from xception_jax.errors import InputError, require_choice
from xception_jax.models.functional import ModelFunction, Params
from xception_jax.ops import native

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def export_model(
    function: ModelFunction,
    parameters: Params,
    batch_stats: Params,
    *,
    image_shape: tuple[int, int, int],
    platforms: Sequence[str],
) -> bytes:
    """What `jax.export.deserialize` reads: a function of images alone, for batches of any size.

    Args:
        function: the model.
        parameters: its parameters; they become constants of the artifact.
        batch_stats: its batch statistics, likewise.
        image_shape: height, width and channels.
        platforms: that it can run on, of `PLATFORMS`.

    Raises:
        InputError: a platform that does not exist, or images that the model does not take.
    """
    for platform in platforms:
        require_choice("--platforms", platform, PLATFORMS)

    def logits(images: jax.Array) -> jax.Array:
        with native.portable():
            return function.apply(parameters, batch_stats, images, train=False)[0]

    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *image_shape), jnp.float32)
    try:
        exported = export.export(jax.jit(logits), platforms=list(platforms))(images)
    except ValueError as error:
        raise InputError("weights", None, f"cannot be exported: {error}") from error
    return bytes(exported.serialize())
