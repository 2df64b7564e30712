"""Export of a model with its weights as one StableHLO artifact."""

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
    """Serializes a model as a function of images only, for `jax.export.deserialize` to read.

    The artifact takes float32 images [batch, *image_shape] of any batch size and returns logits
    [batch, classes].

    Args:
        function: the model.
        parameters: parameters of the model; they become constants of the artifact.
        batch_stats: batch statistics of the model; they become constants as well.
        image_shape: height, width and channels of an image.
        platforms: the platforms to compile for, each one of `PLATFORMS`.

    Raises:
        InputError: a platform does not exist, or the model does not take images of this shape.
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
    except InputError:
        raise
    except (ValueError, jax.errors.InconclusiveDimensionOperation) as error:
        raise InputError("weights", None, f"cannot be exported: {error}") from error
    return bytes(exported.serialize())
