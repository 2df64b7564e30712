"""The effects and interactions of an experiment's factors: a table and an interaction plot."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xception_jax.report.arm_styles import COLORS, MARKERS
from xception_jax.report.canvas import (
    CHARACTER,
    ReportFigure,
    house_style,
    is_wide,
    shorten,
    zero_line,
)
from xception_jax.report.costs import OUTCOMES
from xception_jax.report.tables import NOT_KNOWN, Table
from xception_jax.statistics.claims import RecordedClaim
from xception_jax.statistics.contrasts import TIMES, Contrast
from xception_jax.statistics.endpoints import measure
from xception_jax.statistics.factorial import arm_name, combinations, factorial_weights
from xception_jax.statistics.location import LocationTest
from xception_jax.statistics.paired import t_interval
from xception_jax.statistics.results import Sweep
from xception_jax.statistics.runs import Runs
from xception_jax.statistics.sentences import signed

MOST_PAIRS = 3
MOST_ROWS = 60
TAIL = 0.025
READING = (
    "Left: what every combination of levels reached on average, with Student’s 95% interval over "
    "seeds, which holds for one point by itself. Right: the effect of one factor at each level of "
    "the other, paired by seed, with the 95% interval that inverts the sign-flip test (none below "
    "six seeds). Where the points at the right are not at one height, the factors interact. "
    "Levels of other factors are averaged. Intervals are not adjusted for their number, and decide "
    "nothing: that is what verdicts are for."
)


@dataclass(frozen=True)
class Factorial:
    """The factors of a sweep, and what the seeds that all arms have ended in reached.

    Attributes:
        levels: names of the levels of each factor, the first of them its baseline.
        values: the final test metric, one row an arm, in the order of `arms`, one column a seed.
        notes: what a reader of the values must know.
    """

    levels: Mapping[str, tuple[str, ...]]
    values: Float[np.ndarray, "arms seeds"]
    notes: tuple[str, ...]

    @cached_property
    def arms(self) -> tuple[str, ...]:
        """The arms, one for each combination of levels."""
        return tuple(map(arm_name, combinations(self.levels)))

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return int(self.values.shape[1])

    def mean_at(self, at: Mapping[str, str]) -> Float[np.ndarray, " seeds"]:
        """The mean of the arms with the levels `at`, seed by seed."""
        chosen = [at.items() <= levels.items() for levels in combinations(self.levels)]
        return np.asarray(self.values[np.array(chosen)].mean(axis=0))

    def effect(
        self, compared: Mapping[str, tuple[str, str]], at: Mapping[str, str]
    ) -> LocationTest:
        """The test of an effect or an interaction, see `factorial_weights`."""
        weights = factorial_weights(self.levels, compared, at)
        row = np.array([weights.get(arm, 0.0) for arm in self.arms])
        return LocationTest(row @ self.values)


def read_factorial(sweep: Sweep) -> Factorial | None:
    """The factors of a sweep; None where it has none, or fewer than two seeds to compare."""
    of_arms = sweep.levels_of_arms
    if not of_arms:
        return None
    arms, levels = tuple(of_arms), factor_levels(of_arms)
    everything = Contrast(arms, (0.0,) * len(arms), ())  # its values alone are of use
    endpoint = f"final_{sweep.metric}"
    claim = RecordedClaim({}, post_hoc=False, contrast=everything, endpoints=(endpoint,))
    outcome = measure(Runs(sweep), claim, with_examples=False)
    if len(outcome.seeds) < 2:
        return None
    return Factorial(levels, outcome.endpoints[0].values, outcome.notes)


def factor_levels(of_arms: Mapping[str, Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    """The levels of every factor in order, of the levels of every arm."""
    first = next(iter(of_arms.values()), {})
    return {name: tuple(dict.fromkeys(at[name] for at in of_arms.values())) for name in first}


# -- table -------------------------------------------------------------------------------------


def factor_table(factorial: Factorial) -> Table:
    """One row per effect of a level against its factor's first, and per interaction of two.

    It has at most `MOST_ROWS`; `factor_notes` says where that leaves any out.
    """
    rows = []
    for compared in _comparisons(factorial.levels)[:MOST_ROWS]:
        test = factorial.effect(compared, {})
        ends = test.interval(TAIL)
        shown = " to ".join(signed(end, "accuracy") for end in ends)
        interval = shown if np.isfinite(ends).all() else NOT_KNOWN
        kind = "effect" if len(compared) == 1 else "interaction"
        rows.append(
            (
                " × ".join(_leaf(name) for name in compared),
                _name(compared),
                kind,
                signed(test.estimate, "accuracy"),
                interval,
            )
        )
    columns = ("factor", "contrast", "kind", "difference", "95% interval")
    return Table(columns, (False, False, False, True, True), tuple(rows))


def factor_notes(factorial: Factorial) -> list[str]:
    """A note on the rows that the table of factors leaves out; none where it has them all."""
    count = len(_comparisons(factorial.levels))
    if count <= MOST_ROWS:
        return []
    return [
        f"The first {MOST_ROWS} of {count} effects and interactions are shown, "
        "effects before interactions."
    ]


def _comparisons(levels: Mapping[str, tuple[str, ...]]) -> list[dict[str, tuple[str, str]]]:
    """The levels that each effect, and then each interaction, compares, by factor."""
    single = [
        {name: (level, level_names[0])}
        for name, level_names in levels.items()
        for level in level_names[1:]
    ]
    double = [one | other for one, other in itertools.combinations(single, 2) if [*one] != [*other]]
    return [*single, *double]


def _name(compared: Mapping[str, tuple[str, str]]) -> str:
    """`relu − none`, or `(relu − none) × (wide − narrow)`, as claims about them are called."""
    return Contrast((), (), tuple(compared.values()), TIMES).name


def _leaf(factor: str) -> str:
    return factor.rpartition(".")[2].replace("_", " ")


# -- figure ------------------------------------------------------------------------------------


def factor_figure(sweep: Sweep, factorial: Factorial | None) -> ReportFigure | None:
    """A pair of panels for each pair of factors; None where there are fewer than two factors."""
    if factorial is None or len(factorial.levels) < 2:
        return None
    pairs = list(itertools.combinations(factorial.levels, 2))
    ordered = [
        (one, other) if len(factorial.levels[one]) > len(factorial.levels[other]) else (other, one)
        for one, other in pairs[:MOST_PAIRS]
    ]
    frames = [factor_frames(factorial, along, lines) for along, lines in ordered]

    def draw(width: float) -> Figure:
        return draw_factors(frames, outcome=OUTCOMES[sweep.metric], width=width)

    notes = [f"n = {factorial.seeds} seeds.", *(f"{note}." for note in factorial.notes)]
    if len(pairs) > MOST_PAIRS:
        notes.append(f"Of {len(pairs)} pairs of factors, {MOST_PAIRS} are drawn.")
    title = "Levels of the factors, and how their effects depend on each other"
    return ReportFigure("G", "Factors", "factors", title, (READING, *notes), draw)


def factor_frames(
    factorial: Factorial, along: str, lines: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What two factors' levels reached, and the effects of the second at levels of the first.

    Args:
        factorial: factors and values.
        along: the factor on the horizontal axis.
        lines: the factor that has a line for each of its levels.

    Returns:
        Two frames with the columns along, level, lines, line, value, low, high; the ends are null
        where there are too few seeds. The second has no row for the first level of `lines`, with
        which the others are compared.
    """
    means, effects = [], []
    base = factorial.levels[lines][0]
    for line, level in itertools.product(factorial.levels[lines], factorial.levels[along]):
        names = {"along": along, "level": level, "lines": lines, "line": line}
        values = factorial.mean_at({along: level, lines: line})
        means.append({**names, "value": float(values.mean()), **_ends(t_interval(values))})
        if line != base:
            test = factorial.effect({lines: (line, base)}, {along: level})
            ends = _ends(test.interval(TAIL))
            effects.append({**names, "value": test.estimate, **ends})
    schema = dict.fromkeys(("along", "level", "lines", "line"), pl.String)
    numbers = dict.fromkeys(("value", "low", "high"), pl.Float64)
    return (
        pl.DataFrame(means, schema={**schema, **numbers}),
        pl.DataFrame(effects, schema={**schema, **numbers}),
    )


def _ends(interval: tuple[float, float]) -> dict[str, float | None]:
    low, high = interval
    return {"low": low, "high": high} if np.isfinite([low, high]).all() else {}


def draw_factors(
    frames: Sequence[tuple[pl.DataFrame, pl.DataFrame]], *, outcome: str, width: float
) -> Figure:
    """Draws two panels for each pair of factors: what levels reached, and their effects.

    Args:
        frames: as `factor_frames` makes them.
        outcome: label of the values.
        width: inches; above 5, the two panels stand beside each other, else below.

    Returns:
        A figure with two axes per pair.
    """
    columns = 2 if is_wide(width) else 1
    rows = 2 * len(frames) // columns
    ticks = [_level_ticks(means, width / columns - 0.8) for means, _ in frames]
    high = 2.6 + max(height for _, height in ticks)
    with house_style():
        figure = Figure((width, high * rows))
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for number, (means, effects) in enumerate(frames):
            left, right = grid[2 * number : 2 * number + 2]
            styles = {line: at for at, line in enumerate(means["line"].unique(maintain_order=True))}
            lines, base = _leaf(means["lines"][0]), next(iter(styles))
            _draw_panel(left, means, styles, f"means-{number}")
            left.set_ylabel(outcome)
            left.legend(
                title=lines, loc="lower left", bbox_to_anchor=(0, 1), alignment="left",
                ncols=min(len(styles), 3),
            )  # fmt: skip
            zero_line(right)
            _draw_panel(right, effects, styles, f"effects-{number}")
            right.set_ylabel(f"Difference from {shorten(base, 20)}")
            for axes in (left, right):
                axes.set_xticks(**ticks[number][0])
    return figure


def _level_ticks(frame: pl.DataFrame, room: float) -> tuple[dict[str, Any], float]:
    """The ticks of a factor's levels on so many inches, and the inches that they need below.

    Names that do not fit beside each other are turned.
    """
    names = [shorten(level, 24) for level in frame["level"].unique(maintain_order=True)]
    long = CHARACTER * max(map(len, names))
    ticks: dict[str, Any] = {"ticks": range(len(names)), "labels": names}
    if long * len(names) <= room:
        return ticks, 0.0
    turned = {"rotation": 40, "rotation_mode": "anchor", "horizontalalignment": "right"}
    return ticks | turned, 0.65 * long


def _draw_panel(axes: Axes, frame: pl.DataFrame, styles: Mapping[str, int], name: str) -> None:
    """A line of points with intervals for each level, moved apart so that none hides another."""
    levels = list(frame["level"].unique(maintain_order=True))
    for line, at in styles.items():
        rows = frame.filter(line=line)
        if not len(rows):
            continue
        color = COLORS[at % len(COLORS)]
        x = np.arange(len(levels)) + 0.12 * (at - (len(styles) - 1) / 2)
        axes.plot(
            x, rows["value"], color=color, marker=MARKERS[at % len(MARKERS)], markersize=5.5,
            label=shorten(line, 20), gid=f"{name}-{at}",
        )  # fmt: skip
        known = rows["low"].is_not_null().to_numpy()
        axes.vlines(
            x[known], rows["low"].drop_nulls(), rows["high"].drop_nulls(), color=color,
            linewidth=1.2, gid=f"interval-{name}-{at}",
        )  # fmt: skip
    axes.set_xlim(-0.5, len(levels) - 0.5)
    axes.set_xlabel(_leaf(frame["along"][0]))
