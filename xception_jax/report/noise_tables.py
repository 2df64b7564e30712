"""A table of how much final accuracies scatter over seeds, and why."""

from xception_jax.json_values import as_text
from xception_jax.report.tables import Table
from xception_jax.statistics.json_types import Verdicts

NOISE_NOTES = (
    "Every run is right on other examples, and a finite test set does not average that out: that "
    "part of the scatter over seeds (by examples) would shrink with a larger test set, the other "
    "(by seeds) would not. Their squares add up: variance over seeds = variance by seeds + "
    "residual variance of runs × examples ÷ number of examples (two crossed random factors).",
    "± of mean: its standard error, for other seeds on this test set, and for these seeds on "
    "another test set of that size. A verdict’s p and interval take this test set as given.",
)


def noise_table(verdicts: Verdicts) -> Table | None:
    """One row per arm and contrast: how much seeds and examples scatter; None where none is known.

    Standard deviations and standard errors, in accuracy.
    """
    rows = [
        (
            as_text(row["of"]),
            str(row["seeds"]),
            f"{row['examples']:,}",
            _number(row["mean"]),
            *(_number(max(part, 0.0) ** 0.5) for part in (row["variance"], row["of_examples"])),
            _number(row["of_seeds"] ** 0.5) if row["of_seeds"] > 0 else "none seen",
            _number(row["error_of_seeds"]),
            _number(row["error_of_examples"]),
        )
        for row in verdicts["noise"]
    ]
    columns = (
        *("final top-1 of", "seeds", "test examples", "mean", "SD over seeds"),
        *("of it by examples", "of it by seeds", "± of mean, seeds", "± of mean, examples"),
    )
    return Table(columns, (False, *[True] * 8), tuple(rows)) if rows else None


def _number(value: float) -> str:
    """Four decimals, or three digits where these would be too few, as of a slope over scores."""
    return f"{value:{'.3g' if 0 < abs(value) < 1e-3 else '.4f'}}".replace("-", "−")
