"""Loss, top-k accuracy and mean average precision of each example.

Average precision is measured as the paper measures models trained on JFT (section 4.2): on
FastEval14k, "Mean Average Precision for top 100 predictions", the contribution of each class
weighted by how common it is. What that leaves open is chosen here:

* The classes of an image are ranked by score. For every class that the image shows and that is
  among the first `k`, the precision is the share of shown classes among those ranked no lower.
* The average precision of an image is the mean of these, each weighted by the weight of its class,
  over the shown classes; those beyond rank `k` count zero. Where an image shows more than `k`, the
  mean is over the `k` heaviest, so that a perfect ranking always scores one.
* The result is the plain mean over images. An image that shows no class, or only classes without
  weight, says nothing about a ranking and is left out.
* Classes of equal score all take the last of their ranks: no order of the classes can help, and
  constant scores earn little. An image with a score that is not finite scores zero.

Without weights and with `k` at least the number of classes this is the label ranking average
precision of scikit-learn.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, UInt8

# Rows that are ranked at a time: 14,000 images of 17,000 classes would take gigabytes of ranks.
_ROWS = 1024


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
    of_label = jnp.take_along_axis(logits, labels[:, None], axis=-1)
    rivals = jnp.sum(~(logits < of_label), axis=-1) - 1
    return (rivals < k) & jnp.isfinite(of_label[:, 0])


def sigmoid_cross_entropy(
    logits: Float[Array, "batch classes"], labels: UInt8[Array, "batch classes"]
) -> Float[Array, " batch"]:
    """Negative log-likelihood of each image's set of classes, which count as independent.

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


def mean_average_precision(
    scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None, k: int = 100
) -> float:
    """The mean over images of `average_precision`; 0 where every image is left out.

    Args:
        scores: floating-point scores [n, classes].
        labels: labels [n, classes], nonzero for the classes shown.
        weights: weights of the classes, at least 0, [classes]; None: all equal.
        k: number of predictions that count.
    """
    weights = np.ones(scores.shape[1]) if weights is None else np.asarray(weights, np.float64)
    parts = [
        average_precision(scores[first : first + _ROWS], labels[first : first + _ROWS], weights, k)
        for first in range(0, len(scores), _ROWS)
    ]
    precisions = np.concatenate(parts) if parts else np.zeros(0)
    counted = precisions[~np.isnan(precisions)]
    return float(counted.mean()) if counted.size else 0.0


def average_precision(
    scores: np.ndarray, labels: np.ndarray, weights: np.ndarray, k: int
) -> np.ndarray:
    """The average precision of each image, float64 [n]; NaN where the image is left out.

    The module's docstring defines it, and `mean_average_precision` the arguments.
    """
    from scipy.stats import rankdata  # a second to import, and few runs rank

    shown = labels != 0
    finite = np.isfinite(scores).all(axis=1, keepdims=True)
    costs = np.where(finite, -scores.astype(np.float64), 0.0)
    ranks = rankdata(costs, method="max", axis=1)
    # The same among the shown classes alone: the others are ranked after all of them.
    ranks_among_shown = rankdata(np.where(shown, costs, np.inf), method="max", axis=1)
    counted = shown & finite & (ranks <= k)
    gains = np.where(counted, weights * ranks_among_shown / ranks, 0.0)
    heaviest = -np.sort(-weights * shown, axis=1)[:, :k]
    attainable = heaviest.sum(axis=1)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that is promised
        return gains.sum(axis=1) / attainable
