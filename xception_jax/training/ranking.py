"""Mean average precision of ranked classes, as the paper measures models trained on JFT.

The paper (section 4.2): on FastEval14k, "Mean Average Precision for top 100 predictions", the
contribution of each class weighted by how common it is. What that leaves open is chosen here:

* An image's classes are ranked by score. Of every class that the image shows and that is among the
  first `k`, the precision is the share of shown classes among those ranked no lower.
* The image's average precision is the mean of these, each weighted by its class's weight, over
  the shown classes; those beyond rank `k` count zero. Where an image shows more than `k`, the mean
  is over the `k` heaviest, so that a perfect ranking always scores one.
* The result is the plain mean over images. An image that shows no class, or only classes without
  weight, says nothing about a ranking and is left out.
* Classes of one score all take the last of their places: no order of the classes can help, and
  constant scores earn little. An image with a score that is not finite scores zero.

Without weights and with `k` at least the number of classes this is the label ranking average
precision of scikit-learn.
"""

import numpy as np

_ROWS = 1024  # at a time: 14,000 images of 17,000 classes would take gigabytes of ranks


def mean_average_precision(
    scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None, k: int = 100
) -> float:
    """The mean over images of `average_precision`; 0 where every image is left out.

    Args:
        scores: floating [n, classes].
        labels: [n, classes], nonzero for the classes shown.
        weights: at least 0, [classes]; None: all alike.
        k: predictions that count.
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
    """Of each image, as the module's docstring says, float64 [n]; NaN where it is left out."""
    from scipy.stats import rankdata  # a second to import, and few runs rank

    shown = labels != 0
    finite = np.isfinite(scores).all(axis=1, keepdims=True)
    costs = np.where(finite, -scores.astype(np.float64), 0.0)
    places = rankdata(costs, method="max", axis=1)
    # The same among the shown classes alone: the others are ranked after all of them.
    places_among_shown = rankdata(np.where(shown, costs, np.inf), method="max", axis=1)
    counted = shown & finite & (places <= k)
    gains = np.where(counted, weights * places_among_shown / places, 0.0)
    heaviest = -np.sort(-weights * shown, axis=1)[:, :k]
    attainable = heaviest.sum(axis=1)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that is promised
        return gains.sum(axis=1) / attainable
