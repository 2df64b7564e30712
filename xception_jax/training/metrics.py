"""Loss and accuracy of each example."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, UInt8


def cross_entropy(
    logits: Float[Array, "batch classes"], labels: Int[Array, " batch"], smoothing: float = 0.0
) -> Float[Array, " batch"]:
    """Loss per example; `smoothing` is the probability spread evenly over all classes."""
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
    return optax.softmax_cross_entropy(logits, targets)


def in_top(
    logits: Float[Array, "batch classes"], labels: Int[Array, " batch"], k: int
) -> Bool[Array, " batch"]:
    """Whether fewer than `k` classes score at least as high as the label's, other than itself.

    A tie counts against the model, so that constant logits score zero, and so do NaNs.
    """
    hparams = jnp.take_along_axis(logits, labels[:, None], axis=-1)
    rivals = jnp.sum(~(logits < hparams), axis=-1) - 1
    return (rivals < k) & jnp.isfinite(hparams[:, 0])


def sigmoid_cross_entropy(
    logits: Float[Array, "batch classes"], labels: UInt8[Array, "batch classes"]
) -> Float[Array, " batch"]:
    """Negative log-likelihood of each image's set of classes, every class for itself.

    The sum over classes, not their mean: a class's gradient is then as large as in
    `cross_entropy`, however many others there are, and so the weight decay, the bound on the
    gradient and RMSprop's epsilon keep their meaning from 10 classes to the paper's 17,000.
    """
    losses = optax.sigmoid_binary_cross_entropy(logits, labels.astype(logits.dtype))
    return jnp.sum(losses, axis=-1)


def any_in_top(
    logits: Float[Array, "batch classes"], labels: UInt8[Array, "batch classes"], k: int
) -> Bool[Array, " batch"]:
    """Whether one of the `k` best-scoring classes is among the labels.

    With one label it is `in_top`: ties count against the model, NaNs and no label score zero.
    """
    shown = labels != 0
    best = jnp.max(logits, axis=-1, keepdims=True, where=shown, initial=-jnp.inf)
    rivals = jnp.sum(~shown & ~(logits < best), axis=-1)
    return (rivals < k) & jnp.isfinite(best[:, 0])
