"""The report's tables: one frame of all runs for the data files, rows of text for people."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from xception_jax.report.summary import ArmSummary, RunSummary, Summary
from xception_jax.statistics.contrasts import Contrast, contrasts
from xception_jax.statistics.descriptive import Crossing, Mean
from xception_jax.statistics.results import Run, Sweep
from xception_jax.statistics.sentences import signed, significant
from xception_jax.statistics.speed import Speed, measurements

NOT_KNOWN = "—"
_RESULT_COLUMNS = pl.Schema({
    "arm": pl.String(), "seed": pl.Int64(), "status": pl.String(), "reason": pl.String(),
    "steps": pl.Int64(), "last_step": pl.Int64(), "epochs": pl.Float64(),
    "valid_step": pl.Int64(), "valid_top1": pl.Float64(), "valid_loss": pl.Float64(),
    "test_top1": pl.Float64(), "test_top5": pl.Float64(), "test_loss": pl.Float64(),
    "target": pl.Float64(), "steps_to_target": pl.Float64(), "target_crossing": pl.String(),
    "parameters": pl.Int64(), "images_per_second": pl.Float64(), "compile_seconds": pl.Float64(),
    "dataset": pl.String(), "model": pl.String(), "batch_size": pl.Int64(),
    "train_examples": pl.Int64(), "valid_examples": pl.Int64(), "test_examples": pl.Int64(),
    "started": pl.String(), "ended": pl.String(), "devices": pl.String(),
    "jax_version": pl.String(), "commit": pl.String(), "id": pl.String(),
    "directory": pl.String(), "metric": pl.String(), "valid_map100": pl.Float64(),
    "test_map100": pl.Float64(), "macs": pl.Int64(), "pack": pl.Int64(),
    "speed_measurement": pl.Int64(), "device_seconds": pl.Float64(),
})  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Rows of text under column names; `numeric` tells which columns to align to the right."""

    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]

    def kind(self, column: int) -> str:
        """What a column holds: `number`, `words`, or `reason`, which may be long."""
        if self.columns[column] == "reason":
            return "reason"
        return "number" if self.numeric[column] else "words"


def results_frame(summary: Summary) -> pl.DataFrame:
    """One row per run: what it was, how it ended, what it reached. Goes to `results.*`."""
    measured = measurements(outcome.run for outcome in summary.runs)
    rows = [
        _result(outcome) | {"speed_measurement": number}
        for outcome, number in zip(summary.runs, measured, strict=True)
    ]
    return pl.DataFrame(rows, schema=_RESULT_COLUMNS)


def _result(outcome: RunSummary) -> dict[str, object]:
    run, crossing, target = outcome.run, outcome.crossing, outcome.target
    return {
        **vars(run),  # of which the frame takes the columns that it has
        "devices": ", ".join(run.devices) or None,
        "jax_version": dict(run.versions).get("jax"),
        "device_seconds": None if run.spent is None else run.spent.kept + run.spent.lost,
        "last_step": outcome.last_step,
        "valid_step": outcome.valid_step,
        "valid_top1": outcome.valid_top1,
        "valid_loss": outcome.valid_loss,
        "valid_map100": outcome.valid_map100,
        "target": target,
        "steps_to_target": crossing.steps,
        "target_crossing": crossing.kind if target is not None else None,
    }


def arm_table(summary: Summary) -> Table:
    """One row per arm: what the terminal and the page show first."""
    return Table(
        columns=(
            "arm",
            "runs",
            f"final validation {summary.metric_name}",
            f"test {summary.metric_name}",
            f"steps to {summary.target_name}",
            "parameters",
            "images/s",
        ),
        numeric=(False, False, True, True, True, True, True),
        rows=tuple(
            (
                arm.arm,
                describe_counts(arm.statuses),
                _mean(arm.valid_metric, 4, arm.statuses["done"]),
                _mean(arm.test_metric, 4, arm.statuses["done"]),
                _steps_to_target(arm),
                " or ".join(f"{count:,}" for count in arm.parameters) or NOT_KNOWN,
                _speed(arm.speed, arm.statuses["done"]),
            )
            for arm in summary.arms
        ),
    )


def run_table(summary: Summary) -> Table:
    """One row per run, the columns of reasons and packs only where a run has one."""
    main = summary.metric_name
    columns = ["arm", "seed", "status", "reason", "step", f"validation {main}", "validation loss"]
    columns += [f"test {main}", "test top-5", "steps to target", "images/s", "packed with"]
    numeric = [False, True, False, False, *[True] * 8]
    rows = [_run_row(outcome) for outcome in summary.runs]
    kept = [
        index
        for index, column in enumerate(columns)
        if column not in ("reason", "packed with") or any(row[index] for row in rows)
    ]
    return Table(
        columns=tuple(columns[index] for index in kept),
        numeric=tuple(numeric[index] for index in kept),
        rows=tuple(tuple(row[index] for index in kept) for row in rows),
    )


def _run_row(outcome: RunSummary) -> tuple[str, ...]:
    run = outcome.run
    return (
        run.arm,
        NOT_KNOWN if run.seed is None else str(run.seed),
        run.status,
        run.reason or "",
        f"{_number(outcome.last_step, 0)} of {_number(run.steps, 0)}",
        _number(outcome.valid_metric, 4),
        _number(outcome.valid_loss, 4),
        _number(run.final_metric, 4),
        _number(run.test_top5, 4),
        _crossing(outcome.crossing),
        _number(run.images_per_second, 0),
        f"{run.pack - 1} other{'s' * (run.pack > 2)}" if run.pack and run.pack > 1 else "",
    )


def seed_table(sweep: Sweep, summary: Summary) -> Table:
    """One row per seed: the test metric of every arm, and the paired differences."""
    compared = contrasts(sweep)
    reached = {
        (outcome.run.arm, outcome.run.seed): outcome.run.final_metric
        for outcome in summary.runs
        if outcome.run.status == "done"
    }
    ended = {(run.arm, run.seed): run.status for run in sweep.runs}
    seeds = sorted({run.seed for run in sweep.runs if run.seed is not None})

    def value(arm: str, seed: int) -> str:
        metric = reached.get((arm, seed))
        status = ended.get((arm, seed), "planned")
        return status if metric is None and status != "planned" else _number(metric, 4)

    def difference(contrast: Contrast, seed: int) -> str:
        values = [reached.get((arm, seed)) for arm in contrast.arms]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return NOT_KNOWN
        difference_of_seed = float(contrast.of(np.array(known)))
        if contrast.scores:
            return significant(difference_of_seed)
        return signed(difference_of_seed, "accuracy")

    columns = ("seed", *sweep.arms, *(contrast.name for contrast in compared))
    rows = [
        (
            str(seed),
            *(value(arm, seed) for arm in sweep.arms),
            *(difference(contrast, seed) for contrast in compared),
        )
        for seed in seeds
    ]
    return Table(columns, (True,) * len(columns), tuple(rows))


def describe_counts(statuses: Counter[str]) -> str:
    """`4 of 5 done, 1 diverged`."""
    others = [
        f"{count} {'not started' if status == 'planned' else status}"
        for status, count in statuses.items()
        if status != "done"
    ]
    return ", ".join([f"{statuses['done']} of {statuses.total()} done", *others])


def headline(sweep: Sweep, summary: Summary) -> str:
    """`nonlinearity: 12 of 15 runs done, 3 running`."""
    return f"{sweep.name}: {describe_counts(summary.statuses).replace(' done', ' runs done', 1)}"


def describe_spread(values: list[str]) -> str:
    """One value, or each value with the number of runs that have it: `a (12 runs), b (3 runs)`."""
    counts = Counter(values)
    if len(counts) <= 1:
        return next(iter(counts), NOT_KNOWN)
    return ", ".join(
        f"{value} ({count} run{'s' * (count != 1)})" for value, count in counts.most_common()
    )


def describe_devices(run: Run) -> str:
    """`2 × cpu`: the devices of a run, those of one kind counted."""
    counts = Counter(run.devices)
    names = [name if count == 1 else f"{count} × {name}" for name, count in counts.items()]
    return ", ".join(names) or "not known"


def describe_versions(runs: Iterable[Run]) -> dict[str, str]:
    """The version of each package that runs recorded, or each with the number of its runs."""
    versions: dict[str, list[str]] = {}
    for run in runs:
        for name, number in run.versions:
            versions.setdefault(name, []).append(number)
    return {name: describe_spread(numbers) for name, numbers in versions.items()}


def describe_scope(runs: tuple[Run, ...], statuses: Counter[str]) -> str:
    """What the numbers are of: seeds, data set, model, budget. It claims nothing beyond them."""
    seeds = len({run.seed for run in runs if run.status == "done"})
    started = [run for run in runs if run.status != "planned"]
    parts = [f"{statuses['done']} finished runs with {seeds} seed{'s' * (seeds != 1)}"]
    if statuses["done"] == 1:
        parts = ["one finished run"]
    datasets = [f"{run.dataset}{_train_size(run)}" for run in started if run.dataset]
    models = [run.model for run in started if run.model]
    budgets = [f"{run.steps:,} steps{_epochs(run)}" for run in started if run.steps]
    parts += [f"on {describe_spread(datasets)}"] if datasets else []
    parts += [f"model {describe_spread(models)}"] if models else []
    parts += [f"a budget of {describe_spread(budgets)}"] if budgets else []
    return ", ".join(parts)


def _train_size(run: Run) -> str:
    return f" ({run.train_examples:,} training images)" if run.train_examples else ""


def _epochs(run: Run) -> str:
    return f" ({run.epochs:g} epoch{'s' * (run.epochs != 1)})" if run.epochs else ""


def _number(value: float | None, decimals: int) -> str:
    return NOT_KNOWN if value is None else f"{value:,.{decimals}f}"


def _mean(mean: Mean, decimals: int, expected: int) -> str:
    """`0.8731 ± 0.0042`, and n where fewer runs than `expected` have the value."""
    text = _number(mean.mean, decimals)
    if mean.deviation is not None:
        text += f" ± {_number(mean.deviation, decimals)}"
    return text if mean.n in (0, expected) else f"{text} (n = {mean.n})"


def _speed(speed: Speed, expected: int) -> str:
    """`190 (1 pack)`, `190 ± 5 (3 packs)`, `190 ± 5 (3 packs, 2 runs alone)`, or as `_mean`."""
    if not speed.packs:
        return _mean(speed.images_per_second, 0, expected)
    parts = [f"{speed.packs} pack{'s' * (speed.packs > 1)}"]
    parts += [f"{speed.alone} run{'s' * (speed.alone > 1)} alone"] * (speed.alone > 0)
    return f"{_mean(speed.images_per_second, 0, speed.images_per_second.n)} ({', '.join(parts)})"


def _crossing(crossing: Crossing) -> str:
    if crossing.kind == "not_reached":
        return "not reached"
    return ("≤ " if crossing.kind == "first" else "") + _number(crossing.steps, 0)


def _steps_to_target(arm: ArmSummary) -> str:
    """`1,234 ± 56 (5 of 5)`; `≥` or `≤` where some runs only bound the mean."""
    ended = arm.crossings.total()
    if arm.crossings["open"] == ended:  # none has ended, or there is no target
        return NOT_KNOWN
    reached = ended - arm.crossings["not_reached"]
    counts = f"({reached} of {ended})"
    if not reached:
        return f"not reached {counts}"
    steps = _number(arm.steps_to_target.mean, 0)
    below, above = arm.crossings["not_reached"], arm.crossings["first"]
    if below and above:
        return f"{NOT_KNOWN} {counts}"
    if below or above:
        return f"{'≥' if below else '≤'} {steps} {counts}"
    return f"{_mean(arm.steps_to_target, 0, ended)} {counts}"
