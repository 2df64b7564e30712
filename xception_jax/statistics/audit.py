"""Checks that the runs of a seed differ in what their arms declare, and in nothing else.

Every pair of arms that is compared is checked seed by seed: the initial value of every parameter,
the data, the batches and the augmentation draws of every epoch, the pixels of the first batches,
the settings, the devices, the options of compilers, the versions and the code. The seeds of an arm
must have the same settings, data and code. What is not as it should be is a mismatch, named in one
line.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from xception_jax.json_values import as_list, as_mapping, as_text
from xception_jax.records import ENDED
from xception_jax.statistics.contrasts import Arms, has_begun, paired_runs, pairs
from xception_jax.statistics.declared import needed_runs
from xception_jax.statistics.json_types import (
    ArrayCounts,
    Audit,
    AuditedPair,
    AuditedSeed,
    EpochCounts,
    Stream,
)
from xception_jax.statistics.machines import (
    describe_batch_norm,
    describe_depthwise,
    describe_determinism,
    describe_devices,
    devices_of,
)
from xception_jax.statistics.provenance import (
    describe_code,
    describe_commit,
    describe_data,
    describe_drift,
    describe_options,
    describe_origins,
    describe_pixels,
    describe_unrecorded,
    describe_versions,
    describe_weights,
)
from xception_jax.statistics.recorded_tuning import tuning_faults
from xception_jax.statistics.results import Run, Sweep

SCHEMA = 1
STREAMS: tuple[Stream, ...] = get_args(Stream)
KINDS = (
    "initial",
    "data",
    *STREAMS,
    "pixels",
    "settings",
    "code",
    "devices",
    "deterministic",
    "options",
    "versions",
    "commit",
    "unrecorded",
    "tuning",
)
"""Kinds of mismatches, in the order in which they are reported."""
MISSING = "not set"


@dataclass(frozen=True)
class Mismatch:
    """One thing that differs and should not; `seed` is None where it is not of one seed alone."""

    kind: str
    arms: Arms
    seed: int | None
    text: str


def audit(sweep: Sweep) -> Audit:
    """Checks every compared pair of arms, seed by seed.

    Returns:
        `complete`: whether every run has ended and every arm has every seed.
        `seeds`: for each seed its runs by arm, and for each compared pair how much is identical.
        `mismatches`: kind (`KINDS`), arms, seed (null: every seed) and one line of text; empty
        when everything pairs.
        `settings`: for each arm the settings that are not the same in all arms.
        `shared_initial`: for each pair how many arrays start identical, of how many that have the
        same path and shape, of how many there are; the least over the seeds.
        `notes`: what limits the audit itself.
    """
    compared = pairs(sweep)
    mismatches = [
        mismatch
        for arms in compared
        for one, other in paired_runs(sweep, arms)
        for mismatch in _compare(sweep, arms, sweep.runs[one], sweep.runs[other])
    ]
    mismatches += [mismatch for arm in sweep.arms for mismatch in _drift(sweep, arm)]
    mismatches = _merged(sweep, mismatches)
    mismatches += [Mismatch(kind, arms, None, text) for kind, arms, text in tuning_faults(sweep)]
    ended = {(run.arm, run.seed) for run in sweep.runs if run.status in ENDED}
    return {
        "schema": SCHEMA,
        "complete": needed_runs(sweep) <= ended,
        "seeds": _audited_seeds(sweep, compared),
        "mismatches": [
            {"kind": row.kind, "arms": list(row.arms), "seed": row.seed, "text": row.text}
            for row in mismatches
        ],
        "settings": differing_settings(sweep),
        "shared_initial": {" vs ".join(arms): _shared(sweep, arms) for arms in compared},
        "notes": _notes(sweep),
    }


# -- one pair of runs --------------------------------------------------------------------------


def _compare(sweep: Sweep, arms: Arms, one: Run, other: Run) -> Iterator[Mismatch]:
    """The mismatches of two runs of a seed: everything in which they differ and should not."""
    if not (has_begun(one) and has_begun(other)):
        return
    texts = [
        ("initial", _initial_text(one, other)),
        ("initial", describe_weights(one, other)),
        ("data", describe_data(one, other)),
        *((stream, _stream_text(stream, one, other)) for stream in STREAMS),
        ("pixels", describe_pixels(one, other)),
        ("settings", _settings_text(sweep, arms, one, other)),
        ("code", describe_code(one, other)),
        ("devices", describe_devices(one, other)),
        ("devices", describe_depthwise(one, other)),
        ("devices", describe_batch_norm(one, other)),
        ("deterministic", describe_determinism(one, other)),
        ("options", describe_options(one, other)),
        ("versions", describe_versions(one, other)),
        ("commit", describe_commit(one, other)),
        ("unrecorded", _unrecorded_text(one, other)),
        ("unrecorded", describe_unrecorded(one, other)),
    ]
    for kind, text in texts:
        if text:
            yield Mismatch(kind, arms, one.seed, text)


def _unrecorded_text(one: Run, other: Run) -> str:
    missing = " and ".join(run.arm for run in (one, other) if not _initial(run))
    return missing and f"{missing} left no record of initial values and data order to compare"


def _initial(run: Run) -> dict[str, tuple[object, object]]:
    """Shape and hash of every array, by path."""
    recorded = as_mapping(as_mapping(run.pairing).get("initial"))
    return {
        path: (array.get("shape"), array.get("sha256"))
        for path, array in recorded.items()
        if isinstance(array, dict)
    }


def compare_initial(one: Run, other: Run) -> tuple[list[str], list[str], int]:
    """Paths whose arrays start identical, paths that should and do not, and number of all paths."""
    ours, theirs = _initial(one), _initial(other)
    alike = [path for path in ours if path in theirs and ours[path][0] == theirs[path][0]]
    same = [path for path in alike if ours[path] == theirs[path]]
    unlike = [path for path in alike if ours[path] != theirs[path]]
    return same, unlike, len({**ours, **theirs})


def _initial_text(one: Run, other: Run) -> str:
    same, unlike, _ = compare_initial(one, other)
    if not unlike:
        return ""
    more = f" and {len(unlike) - 1} more" if len(unlike) > 1 else ""
    return (
        f"{len(unlike)} of {len(unlike) + len(same)} arrays of the same path and shape start from "
        f"other values: {as_text(unlike[0])}{more}"
    )


def compare_stream(stream: Stream, one: Run, other: Run) -> tuple[list[int], int]:
    """Epochs that were not the same, of how many that both runs have recorded."""
    ours, theirs = (dict(_epochs(run, stream)) for run in (one, other))
    both = sorted(ours.keys() & theirs.keys())
    return [epoch for epoch in both if ours[epoch] != theirs[epoch]], len(both)


def _epochs(run: Run, stream: str) -> Iterator[tuple[int, str]]:
    for row in as_list(as_mapping(run.pairing).get("epochs")):
        if isinstance(row, dict) and isinstance(row.get("epoch"), int) and stream in row:
            yield row["epoch"], as_text(row[stream])


def _stream_text(stream: Stream, one: Run, other: Run) -> str:
    unlike, both = compare_stream(stream, one, other)
    if unlike:
        subject = "augmentation draws" if stream == "augmentation" else stream
        where = f"epoch {unlike[0]}" if len(unlike) == 1 else f"{len(unlike)} of {both} epochs"
        first = "" if len(unlike) == 1 else f", the first of them epoch {unlike[0]}"
        return f"other {subject} in {where}{first}"
    lengths = [sum(1 for _ in _epochs(run, stream)) for run in (one, other)]
    if one.status == other.status == "done" and lengths[0] != lengths[1]:
        return f"{stream} of {lengths[0]} and of {lengths[1]} epochs"
    return ""


# -- settings ----------------------------------------------------------------------------------


def _settings_text(sweep: Sweep, arms: Arms, one: Run, other: Run) -> str:
    """The settings that differ and that neither arm declares; or are not as an arm declares."""
    declared = {name for arm in arms for name in sweep.arms[arm]}
    names = {**one.determining, **other.determining}
    undeclared = [
        f"{name}={_shown(one.settings, name)} and {_shown(other.settings, name)}"
        for name in sorted(names)
        if name not in declared and one.settings.get(name) != other.settings.get(name)
    ]
    broken = [
        f"{run.arm} declares {name}={value} and ran with {_shown(run.settings, name)}"
        for run in (one, other)
        for name, value in sweep.arms[run.arm].items()
        if run.settings and run.settings.get(name) != value
    ]
    return "; ".join(
        [f"not declared by the arms: {', '.join(undeclared)}"] * bool(undeclared) + broken
    )


def _shown(settings: Mapping[str, Any], name: str) -> str:
    return as_text(settings[name]) if name in settings else MISSING


def differing_settings(sweep: Sweep) -> dict[str, dict[str, Any]]:
    """The settings that differ between the arms, for each arm from its first run that has any."""
    first = {run.arm: run.determining for run in reversed(sweep.runs) if run.settings}
    arms = {arm: first[arm] for arm in sweep.arms if arm in first}
    names = sorted({name for settings in arms.values() for name in settings})
    differ = [n for n in names if len({_shown(settings, n) for settings in arms.values()}) > 1]
    return {
        arm: {name: settings.get(name, MISSING) for name in differ}
        for arm, settings in arms.items()
    }


def _drift(sweep: Sweep, arm: str) -> Iterator[Mismatch]:
    """Settings, data and code that are not the same in every seed of an arm."""
    begun = [run for run in sweep.runs if run.arm == arm and has_begun(run)]
    for kind, text in describe_drift(begun):
        yield Mismatch(kind, (arm, arm), None, text)
    runs = [run for run in sweep.runs if run.arm == arm and run.settings]
    for run in runs[1:]:
        names = sorted({**runs[0].determining, **run.determining})
        text = ", ".join(
            f"{name}={_shown(run.settings, name)}, and {_shown(runs[0].settings, name)} "
            f"with seed {runs[0].seed}"
            for name in names
            if run.settings.get(name) != runs[0].settings.get(name)
        )
        if text:
            yield Mismatch("settings", (arm, arm), run.seed, text)


# -- all of them -------------------------------------------------------------------------------


def _merged(sweep: Sweep, mismatches: list[Mismatch]) -> list[Mismatch]:
    """Mismatches with those that repeat in every compared seed of a pair put into one."""
    compared = {
        pair: sum(
            has_begun(sweep.runs[one]) and has_begun(sweep.runs[other])
            for one, other in paired_runs(sweep, pair)
        )
        for pair in {mismatch.arms for mismatch in mismatches}
    }
    repeats = Counter((repeat.kind, repeat.arms, repeat.text) for repeat in mismatches)
    merged: dict[Mismatch, None] = {}
    for mismatch in mismatches:
        kind, arms = mismatch.kind, mismatch.arms
        is_everywhere = repeats[kind, arms, mismatch.text] == compared[arms] > 1
        seed = None if is_everywhere else mismatch.seed
        scope = ", every seed" if is_everywhere else "" if seed is None else f", seed {seed}"
        between = arms[0] if arms[0] == arms[1] else " and ".join(arms)
        merged[Mismatch(kind, arms, seed, f"{between}{scope}: {mismatch.text}")] = None
    return sorted(merged, key=lambda mismatch: KINDS.index(mismatch.kind))


def _audited_seeds(sweep: Sweep, compared: Sequence[Arms]) -> list[AuditedSeed]:
    """The runs and compared pairs of every seed, in order; each run and pair is looked at once."""
    statuses: dict[int, dict[str, str]] = {}
    for run in sweep.runs:
        if run.seed is not None:
            statuses.setdefault(run.seed, {})[run.arm] = run.status
    pairs_of: dict[int, list[AuditedPair]] = {seed: [] for seed in statuses}
    for arms in compared:
        for one, other in paired_runs(sweep, arms):
            runs = sweep.runs[one], sweep.runs[other]
            if runs[0].seed is not None and all(map(has_begun, runs)):
                pairs_of[runs[0].seed].append(_pair(arms, *runs))
    return [
        {"seed": seed, "runs": statuses[seed], "pairs": pairs_of[seed]} for seed in sorted(statuses)
    ]


def _pair(arms: Arms, one: Run, other: Run) -> AuditedPair:
    """The number of arrays and epochs that two runs recorded alike, of how many."""
    same, unlike, total = compare_initial(one, other)
    return {
        "arms": list(arms),
        "initial": _counts(len(same), len(unlike), total),
        "batches": _epochs_alike("batches", one, other),
        "augmentation": _epochs_alike("augmentation", one, other),
        "differ_from_the_start": unlike,
    }


def _epochs_alike(stream: Stream, one: Run, other: Run) -> EpochCounts:
    differing, epochs = compare_stream(stream, one, other)
    return {"identical": epochs - len(differing), "epochs": epochs}


def _counts(same: int, unlike: int, total: int) -> ArrayCounts:
    return {"identical": same, "same_path_and_shape": same + unlike, "arrays": total}


def _shared(sweep: Sweep, arms: Arms) -> ArrayCounts | None:
    """The counts of the seed that shares least; None where no seed has recorded any."""
    counts = []
    for one, other in paired_runs(sweep, arms):
        same, unlike, total = compare_initial(sweep.runs[one], sweep.runs[other])
        if same or unlike:
            counts.append(_counts(len(same), len(unlike), total))
    return min(counts, key=lambda of_seed: of_seed["identical"], default=None)


def _notes(sweep: Sweep) -> list[str]:
    runs = [run for run in sweep.runs if has_begun(run)]
    notes = list(describe_origins(runs))
    devices, versions = {devices_of(run) for run in runs}, {run.versions for run in runs}
    for name, values in (("devices", devices), ("versions", versions)):
        if len(values) > 1:
            notes.append(f"The {name} of all runs are not the same; what counts is within a seed.")
    return notes
