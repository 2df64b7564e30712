"""Comparison of what runs record of their data, code and libraries, for the audit."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xception_jax.json_values import as_list, as_mapping, as_text, as_whole
from xception_jax.records import data_differences
from xception_jax.statistics.results import Run

_ALL = ("examples", "images", "labels", "class names")
# Settings by which the data of two runs may differ, and what of a split does. Where the settings
# differ, either the arms declare it, or that is a mismatch of its own.
_EXPLAINED = {
    "data.name": _ALL,
    "data.validation_fraction": _ALL[:3],
    "data.split_seed": _ALL[:3],
    "data.train_examples": _ALL[:3],  # of the train split
    "data.image_size": ("images",),
    "data.corrupt_images": ("images", "labels"),
}
_SHOWN = 3


def describe_data(one: Run, other: Run) -> str:
    """Says which splits two runs read that are not the same, though by their settings they are."""
    differing = [name for name in _EXPLAINED if _setting(one, name) != _setting(other, name)]
    by_seed = _drawn_by_seed(one, other)
    parts = []
    pools = [run.data.get("pool") for run in (one, other)]
    if by_seed and all(pools) and pools[0] != pools[1]:
        parts.append("other images or labels in what the splits were drawn from")
    for split, fields in data_differences(one.data, other.data).items():
        explained = set(_ALL[1:3]) if split in by_seed else set()
        explained |= {
            field
            for name in differing
            if name != "data.train_examples" or split == "train"
            for field in _EXPLAINED[name]
        }
        if unlike := [field for field in fields if field not in explained]:
            parts.append(f"other {' and '.join(unlike)} in the {split} split")
    return "; ".join(parts)


def _drawn_by_seed(one: Run, other: Run) -> list[str]:
    """The splits that two runs of different seeds drew by their seeds, each its own."""
    if one.seed == other.seed:
        return []
    ours, theirs = (as_list(run.data.get("drawn")) for run in (one, other))
    return ours if ours == theirs else []


def describe_pixels(one: Run, other: Run) -> str:
    """Says in which first batches two runs of a seed were given other pixels or labels.

    Where their settings of the data differ, so may the pixels; where the data do, that says it.
    """
    names = [name for name in {**one.determining, **other.determining} if name.startswith("data.")]
    names.append("train.batch_size")
    if any(_setting(one, name) != _setting(other, name) for name in names):
        return ""
    if data_differences(one.data, other.data):
        return ""
    ours, theirs = _first_batches(one), _first_batches(other)
    parts = []
    for field in ("pixels", "labels"):
        steps = [
            str(step)
            for step in ours.keys() & theirs.keys()
            if ours[step].get(field) != theirs[step].get(field)
        ]
        if steps:
            parts.append(f"other {field} in the batch of step {' and '.join(sorted(steps))}")
    return "; ".join(parts)


def describe_unrecorded(one: Run, other: Run) -> str:
    """Says whose data cannot be compared."""
    missing = [run.arm for run in (one, other) if not run.data]
    if missing:
        return f"{' and '.join(missing)} left no record of the data to compare"
    methods = [as_text(run.data.get("method")) for run in (one, other)]
    if methods[0] != methods[1]:
        return f"data recorded by {methods[0]} and by {methods[1]}, which cannot be compared"
    return ""


def describe_weights(one: Run, other: Run) -> str:
    """Says that two runs started from other weights, though by their settings from the same."""
    if _setting(one, "train.initial_weights") != _setting(other, "train.initial_weights"):
        return ""
    digests = {run.initial_weights_sha256 for run in (one, other)} - {None}
    return "other content of train.initial_weights" if len(digests) > 1 else ""


def describe_code(one: Run, other: Run) -> str:
    """Says which code of two runs is not the same.

    The package at two commits, or of two versions, is not meant: see `describe_commit`, and the
    audit of versions. A file of which only one run knows is none that both could share: a worker
    of a launcher does not run the experiment's file.
    """
    parts = []
    if files := _unlike_files(one, other):
        more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
        parts.append(f"other content of {', '.join(files[:_SHOWN])}{more}")
    if _differs(one, other, "package") and not _is_committed(one, other):
        parts.append("other sources of xception-jax, by changes that are in no commit")
    return "; ".join(parts)


def describe_commit(one: Run, other: Run) -> str:
    """Says that two runs came from two commits, unless all sources in them were the same."""
    if one.commit == other.commit:
        return ""
    packages = [run.code.get("package") for run in (one, other)]
    if all(packages) and (packages[0] == packages[1] or not _is_committed(one, other)):
        return ""
    return f"commit: {one.commit or 'not known'} and {other.commit or 'not known'}"


def describe_versions(one: Run, other: Run) -> str:
    """Says which versions of Python and the libraries two runs had, where they differ."""
    return _differences(dict(one.versions), dict(other.versions), "not known")


def describe_options(one: Run, other: Run) -> str:
    """Says which options of JAX and of compilers two runs had, where they differ.

    Runs of versions that did not record them are not compared.
    """
    if not one.options or not other.options:
        return ""
    return _differences(one.options, other.options, "not set")


def describe_difference(name: str, one: object, other: object, missing: str = "not known") -> str:
    """Names something with its values in two runs, if they differ; else returns no text."""
    return "" if one == other else f"{name}: {one or missing} and {other or missing}"


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any], missing: str) -> str:
    texts = (
        describe_difference(n, ours.get(n), theirs.get(n), missing) for n in {**ours, **theirs}
    )
    return "; ".join(as_text(text) for text in texts if text)


def describe_drift(runs: Sequence[Run]) -> Iterator[tuple[str, str]]:
    """Kind and text of each difference in weights, data or code between the seeds of an arm."""
    for kind, field, describe in (
        ("initial", "initial_weights_sha256", describe_weights),
        ("data", "data", describe_data),
        ("code", "code", describe_code),
    ):
        first = next((run for run in runs if getattr(run, field)), None)
        texts: dict[str, list[str]] = {}
        for run in runs:
            if first is not None and getattr(run, field) and (text := describe(first, run)):
                texts.setdefault(text, []).append(str(run.seed))
        for text, seeds in texts.items():
            which = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(seeds)}"
            yield kind, f"{which}, compared with seed {first.seed if first else None}: {text}"


def describe_origins(runs: Sequence[Run]) -> Iterator[str]:
    """Notes on runs whose commit does not say what their code was."""
    changed = [run for run in runs if "+" in (run.commit or "")]
    unproved = [run for run in changed if not run.code]
    if kept := sorted({as_text(run.code["changes"]) for run in changed if run.code.get("changes")}):
        patches = ", ".join(f"changes-{digest[:12]}.patch" for digest in kept)
        yield (
            f"{len(changed) - len(unproved)} runs came from a checkout with changes that are in no "
            f"commit: {patches} in the directory of the sweep."
        )
    if unproved:
        yield (
            f"{len(unproved)} runs came from a checkout with changes that are in no commit: that "
            "their code was the same cannot be checked."
        )
    if unknown := sum(run.commit is None and not run.code for run in runs):
        yield (
            f"{unknown} runs do not know their commit: that their code was the same follows from "
            "their versions alone."
        )


def _setting(run: Run, name: str) -> Any:
    return run.settings.get(name)


def _first_batches(run: Run) -> dict[int, Mapping[str, Any]]:
    rows = [as_mapping(row) for row in as_list(as_mapping(run.pairing).get("first_batches"))]
    return {step: row for row in rows if (step := as_whole(row.get("step"))) is not None}


def _unlike_files(one: Run, other: Run) -> list[str]:
    ours, theirs = (as_mapping(run.code.get("files")) for run in (one, other))
    return [as_text(name) for name in ours if name in theirs and ours[name] != theirs[name]]


def _differs(one: Run, other: Run, field: str) -> bool:
    ours, theirs = one.code.get(field), other.code.get(field)
    return bool(ours and theirs and ours != theirs)


def _is_committed(one: Run, other: Run) -> bool:
    """Whether two commits, or two versions, say that the code of two runs is not the same."""
    commits = [run.commit or "" for run in (one, other)]
    if all(commits) and not any("+" in commit for commit in commits):
        return commits[0] != commits[1]
    versions = [dict(run.versions).get("xception-jax") for run in (one, other)]
    return versions[0] != versions[1]
