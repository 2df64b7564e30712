"""The tuning that a sweep records: read, checked against the tuning runs, and put into words."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xception_jax.checksums import has_valid_checksum
from xception_jax.json_values import as_list, as_mapping, as_real, as_text, as_whole
from xception_jax.records import METRICS, TUNING
from xception_jax.statistics.contrasts import has_begun
from xception_jax.statistics.declared import is_late, read_time
from xception_jax.statistics.provenance import describe_data
from xception_jax.statistics.results import UNREADABLE, Run, Sweep
from xception_jax.statistics.selection import Point, best_point

_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_CLOSE = 1e-9  # scores are copied, not computed again
Fault = tuple[str, tuple[str, ...], str]
"""Kind, arms (none: it is of all claims) and text of what is wrong with a tuning."""


@dataclass(frozen=True)
class Tuning:
    """A tuning as `sweep.json` records it, or `tuning.json` while it goes on.

    Attributes:
        settings: dotted names of the tuned settings.
        seeds: number of seeds of each value.
        epochs: epochs of a tuning run; None: those of the verdict's runs.
        metric: headline metric of the validation that it is judged by.
        scores: for each arm the scores of every point that was tried, one a seed.
        chosen: for each arm what was chosen; those that are not tuned are left out.
        at_edge: for each arm the settings whose chosen value is at the "lower" or "upper" edge.
        is_elsewhere: whether the tuning runs are in another sweep.
    """

    settings: tuple[str, ...]
    seeds: int
    epochs: float | None
    metric: str
    scores: Mapping[str, Mapping[Point, Sequence[float]]]
    chosen: Mapping[str, Point]
    at_edge: Mapping[str, Mapping[str, str]]
    is_elsewhere: bool = False

    @property
    def tried(self) -> int:
        """The number of points that an arm has tried; the largest, should they differ."""
        return max(map(len, self.scores.values()), default=0)

    def names(self) -> list[str]:
        """The settings as people call them: `learning rate`."""
        return [name.rpartition(".")[2].replace("_", " ") for name in self.settings]


def read_tuning(sweep: Sweep) -> Tuning | None:
    """The tuning of a sweep; None where nothing is tuned, or the record cannot be understood."""
    record = _record(sweep)
    tune = as_mapping(record.get("tune"))
    settings = tuple(as_text(name) for name in as_list(tune.get("settings")))
    if not settings:
        return None
    scores: dict[str, dict[Point, list[float]]] = {}
    metrics: Counter[str] = Counter()
    for row in map(as_mapping, as_list(record.get("runs"))):
        point, value = _point(as_list(row.get("values")), settings), as_real(row.get("score"))
        if point is not None and value is not None:
            scores.setdefault(as_text(row.get("arm")), {}).setdefault(point, []).append(value)
            metrics[as_text(row.get("metric"))] += as_text(row.get("arm")) in sweep.arms
    entries = {as_text(arm): as_mapping(e) for arm, e in as_mapping(record.get("arms")).items()}
    values = {
        arm: [as_mapping(entry.get("chosen")).get(name) for name in settings]
        for arm, entry in entries.items()
    }
    return Tuning(
        settings=settings,
        seeds=as_whole(tune.get("seeds")) or 0,
        epochs=as_real(tune.get("epochs")),
        metric=max(METRICS, key=lambda metric: metrics[metric]),
        scores=scores,
        chosen={arm: p for arm, of_arm in values.items() if (p := _point(of_arm, settings))},
        at_edge={
            arm: {as_text(k): as_text(v) for k, v in as_mapping(entry.get("at_edge")).items()}
            for arm, entry in entries.items()
        },
        is_elsewhere=sweep.record.get("tuned_elsewhere") is True,
    )


def _record(sweep: Sweep) -> dict[str, Any]:
    """The record in `sweep.json`; before there is one, that in `tuning.json`."""
    return as_mapping(_experiment(sweep).get("tuned")) or as_mapping(sweep.tuning)


def _experiment(sweep: Sweep) -> dict[str, Any]:
    return as_mapping(sweep.record.get("experiment"))


def _point(values: Sequence[object], settings: Sequence[str]) -> Point | None:
    numbers = [as_real(value) for value in values]
    known = tuple(number for number in numbers if number is not None)
    return known if len(known) == len(numbers) == len(settings) else None


# -- in words ----------------------------------------------------------------------------------


def describe_tuning(sweep: Sweep, arms: Sequence[str]) -> str:
    """The tuning of a claim's arms in words, for its sentence; empty where they were not tuned.

    `, each at its own learning rate, chosen among five by validation over two seeds (a 0.1, b 0.2)`
    """
    tuning = read_tuning(sweep)
    if tuning is None or not all(arm in tuning.chosen for arm in arms):
        return ""
    kind = "" if len(tuning.settings) == 1 else " pairs"
    seeds = f"{in_words(tuning.seeds)} seed{'s' * (tuning.seeds != 1)}"
    distinct = dict.fromkeys(arms)
    details = [", ".join(_describe_arm(tuning, arm) for arm in distinct)]
    if tuning.epochs is not None:
        details.append(f"in runs of {tuning.epochs:g} epoch{'s' * (tuning.epochs != 1)}")
    if tuning.is_elsewhere:
        details.append("in another sweep")
    return (
        f", each at its own {' and '.join(tuning.names())}, chosen among "
        f"{in_words(tuning.tried)}{kind} by validation over {seeds} ({'; '.join(details)})"
    )


def _describe_arm(tuning: Tuning, arm: str) -> str:
    values = " and ".join(f"{value:g}" for value in tuning.chosen[arm])
    edges = tuning.at_edge.get(arm, {})
    if not edges:
        return f"{arm} {values}"
    if len(tuning.settings) == 1:
        return f"{arm} {values} at the {next(iter(edges.values()))} edge of what was tried"
    names = " and ".join(
        f"the {edges[setting]} edge of the {name}s"
        for setting, name in zip(tuning.settings, tuning.names(), strict=True)
        if setting in edges
    )
    return f"{arm} {values} at {names} that were tried"


def in_words(number: int) -> str:
    """`five`, and digits above ten."""
    return _WORDS[number] if 0 <= number < len(_WORDS) else f"{number:,}"


# -- is it as recorded, and was it in time -----------------------------------------------------


def tuning_faults(sweep: Sweep) -> Iterator[Fault]:
    """Everything that is not as a tuning should be; kinds are those of the audit."""
    if not as_mapping(_experiment(sweep).get("tune")):
        return
    is_tuned, begun = bool(_experiment(sweep).get("tuned")), any(map(has_begun, sweep.runs))
    if not is_tuned and not begun:  # it goes on
        return
    yield from (("tuning", (), text) for text in _record_faults(sweep))
    tuning = read_tuning(sweep)
    if tuning is None:
        return
    for arm in sweep.arms:
        for text in (*_choice_faults(sweep, tuning, arm), *_lateness(sweep, arm)):
            yield "tuning", (arm, arm), text
        if not tuning.is_elsewhere:
            yield from _run_faults(sweep, tuning, arm)


def _record_faults(sweep: Sweep) -> Iterator[str]:
    tuned = as_mapping(_experiment(sweep).get("tuned"))
    if sweep.tuning is None:
        yield f"{TUNING}, which records how the settings were chosen, is gone"
    elif not has_valid_checksum(sweep.tuning):
        yield f"{TUNING} was changed after it was written"
    elif tuned and sweep.tuning != tuned and sweep.tuning.get("complete") is not False:
        yield f"{TUNING} is not the one of which sweep.json holds a copy"
    if not tuned:
        yield "sweep.json does not record what was chosen for the arms"
    elif not has_valid_checksum(tuned):
        yield "the record of the tuning in sweep.json was changed after it was written"
    elif tuned.get("tune") != _experiment(sweep).get("tune"):
        yield "sweep.json declares another tuning than the one that it records"
    tuning_seeds = {as_whole(seed) for seed in as_list(_record(sweep).get("seeds"))}
    if shared := {
        run.seed for run in sweep.runs if run.seed in tuning_seeds and run.seed is not None
    }:
        yield f"seed {min(shared)} served for tuning, and for the verdict too"


def _choice_faults(sweep: Sweep, tuning: Tuning, arm: str) -> Iterator[str]:
    """Faults in the choice for an arm, going by the scores of the record."""
    scores, chosen = tuning.scores.get(arm), tuning.chosen.get(arm)
    if not scores or chosen is None:
        yield f"{arm} was not tuned"
        return
    if (best := best_point(scores)) != chosen:
        yield f"{arm}: {_shown(chosen)} is recorded as chosen, and {_shown(best)} is the best"
    ran = _point([sweep.arms[arm].get(name) for name in tuning.settings], tuning.settings)
    if ran != chosen:
        yield f"{arm} is declared with {_shown(ran)}, and tuning chose {_shown(chosen)}"
    budget = {point: len(of_point) for point, of_point in scores.items()}
    for other, of_other in tuning.scores.items():
        if budget != {point: len(of_point) for point, of_point in of_other.items()}:
            yield f"{arm} and {other} were not tuned over the same values and seeds"
            return


def _shown(point: Point | None) -> str:
    return "other values" if point is None else " and ".join(f"{value:g}" for value in point)


def _lateness(sweep: Sweep, arm: str) -> Iterator[str]:
    entry = as_mapping(as_mapping(_record(sweep).get("arms")).get(arm))
    if not entry:
        return
    known = as_mapping(entry.get("known"))
    starts = (run.started for run in sweep.runs if has_begun(run))
    if known.get("begun", True) or known.get("reported", True):
        yield f"{arm} was tuned when runs of the verdict had begun: post hoc"
    elif read_time(entry.get("at")) is None or is_late(entry, starts):
        yield f"runs of the verdict had begun before {arm} was tuned: post hoc"


def _run_faults(sweep: Sweep, tuning: Tuning, arm: str) -> Iterator[Fault]:
    """Faults of the record, going by what the tuning runs of an arm left themselves."""
    rows = [as_mapping(row) for row in as_list(_record(sweep).get("runs"))]
    runs = {run.directory: run for run in sweep.tuning_runs}
    faults: dict[tuple[str, str], int] = {}
    for row in rows:
        if as_text(row.get("arm")) == arm:
            run = runs.get(as_text(row.get("directory")))
            if fault := _run_fault(run, row, tuning):
                faults[fault] = faults.get(fault, 0) + 1
    for (kind, text), count in faults.items():
        subject = "1 tuning run" if count == 1 else f"{count} tuning runs"
        yield kind, (arm, arm), f"{subject} of {arm} {text}"
    tried = next((run for run in sweep.tuning_runs if run.arm == arm and has_begun(run)), None)
    judged = next((run for run in sweep.runs if run.arm == arm and has_begun(run)), None)
    if tried and judged and (text := describe_data(tried, judged)):
        yield "tuning", (arm, arm), f"{arm} was tuned on other data: {text}"


def _run_fault(run: Run | None, row: Mapping[str, Any], tuning: Tuning) -> tuple[str, str] | None:
    if run is None or run.status == "planned":
        return "unrecorded", "left no files: how it came out cannot be checked"
    if run.status == UNREADABLE:
        return "tuning", "cannot be read, or was changed afterwards"
    if any(run.settings.get(name) != value for name, value in _settings(row, tuning).items()):
        return "tuning", f"did not run with the settings that {TUNING} says"
    if run.status == "done" and run.result_split != "valid":
        return "tuning", "was evaluated on the test split"
    score, recorded = _score(run), as_real(row.get("score"))
    if score is None or recorded is None or abs(score - recorded) > _CLOSE:
        return "tuning", f"came out otherwise than {TUNING} says"
    return None


def _settings(row: Mapping[str, Any], tuning: Tuning) -> dict[str, Any]:
    """The settings of a run by its row in the record, with the point by which it is counted."""
    values = dict(zip(tuning.settings, as_list(row.get("values")), strict=False))
    return {**as_mapping(row.get("settings")), **values, "seed": row.get("seed")}


def _score(run: Run) -> float | None:
    """The score of a run by its own record, as `sweep.tuning_runs.score` has it."""
    if run.status == "diverged":
        return 1 / run.classes if run.metric == "top1" and run.classes else 0.0
    return run.final_metric
