"""The noise of final accuracies: what comes from the seeds, and what from a finite test set.

Let c[s, e] say whether the run of seed s classifies test example e correctly (of a contrast: the
arm's minus the baseline's), with S seeds and N examples, a[s] its mean over examples, which is the
accuracy, b[e] its mean over seeds, and m that of all. With seeds and examples as independent draws,
c = mean + seed + example + rest, the variance of the accuracies over seeds is expected to be

    variance(seed) + variance(rest) / N.

The second term is what a finite test set adds: each run is right on other examples, and with N of
them that does not average out. It is estimated, without bias, from the residuals:

    of_examples = sum (c[s, e] - a[s] - b[e] + m)^2 / ((S - 1) (N - 1)) / N
    of_seeds    = sum (a[s] - m)^2 / (S - 1) - of_examples

which is the analysis of variance of two crossed random factors. `of_seeds` can come out negative
where seeds differ by little. The example effect is the same for all seeds, and no part of their
variance; but another test set would move the mean of all of them, by a standard error of about
sqrt(sum (b[e] - m)^2 / ((N - 1) N)).
"""

import numpy as np
from jaxtyping import Float

from xception_jax.statistics.contrasts import Arms, contrasts
from xception_jax.statistics.json_types import Noise, NoiseRow
from xception_jax.statistics.predictions import Predictions
from xception_jax.statistics.runs import Runs


def separate(correct: Float[np.ndarray, "seeds examples"]) -> Noise:
    """Splits the variance over seeds; of at least two seeds and two examples."""
    seeds, examples = correct.shape
    accuracies, of_example, mean = correct.mean(axis=1), correct.mean(axis=0), correct.mean()
    residuals = correct - accuracies[:, None] - of_example + mean
    rest = float((residuals**2).sum() / ((seeds - 1) * (examples - 1)))
    variance = float(accuracies.var(ddof=1))
    return {
        "seeds": seeds,
        "examples": examples,
        "mean": float(mean),
        "variance": variance,
        "of_examples": rest / examples,
        "of_seeds": variance - rest / examples,
        "error_of_seeds": float(np.sqrt(variance / seeds)),
        "error_of_examples": float(of_example.std(ddof=1) / np.sqrt(examples)),
    }


def noise_rows(runs: Runs) -> list[NoiseRow]:
    """The noise of every arm, then of every contrast, as plain data for `verdicts.json`.

    Left out is what has fewer than two seeds whose runs are done and left the predictions of the
    same examples.
    """
    named: list[tuple[str, Arms, tuple[float, ...]]]
    named = [(arm, (arm,), (1.0,)) for arm in runs.sweep.arms]
    named += [(c.name, c.arms, c.weights) for c in contrasts(runs.sweep)]
    rows: list[NoiseRow] = []
    for name, arms, weights in named:
        correct = _correct(runs, arms, weights)
        if correct is not None:
            rows.append({"of": name, "arms": list(arms), **separate(correct)})
    return rows


def _correct(
    runs: Runs, arms: Arms, weights: tuple[float, ...]
) -> Float[np.ndarray, "seeds examples"] | None:
    """Correctness on each example by seed: the weighted sum over the arms."""
    by_seed: list[list[Predictions]] = []
    for seed in runs.seeds(arms):
        keys = [(arm, seed) for arm in arms]
        if all(runs[key].status == "done" for key in keys):
            read = [runs.predictions(key) for key in keys]
            known = [predictions for predictions in read if predictions is not None]
            by_seed += [known] * (len(known) == len(arms))
    if len(by_seed) < 2 or by_seed[0][0].correct.size < 2:
        return None
    first = by_seed[0][0]
    if not all(of_arm.has_same_examples(first) for known in by_seed for of_arm in known):
        return None
    correct = np.array([[of_arm.correct for of_arm in known] for known in by_seed], float)
    return np.tensordot(weights, correct, axes=(0, 1))
