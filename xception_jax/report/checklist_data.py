"""Answers of `checklist.md` about code, computers and data.

Each function takes the facts and returns sentences; none where nothing is recorded.
"""

from collections.abc import Iterator

from xception_jax.json_values import as_list, as_mapping, as_text, as_whole
from xception_jax.report.checklist_facts import Facts, seeds, split_kind
from xception_jax.report.compute_tables import compute_notes, describe_compute
from xception_jax.report.tables import describe_devices, describe_spread, describe_versions
from xception_jax.statistics.results import Run

_DIGITS = 12  # of a digest
_TYPE = "str:"


def reproduction(facts: Facts) -> list[str]:
    """All that is needed to train the runs again."""
    return [*script(facts), *seeds(facts), *_determinism(facts), *code(facts), *data(facts)]


def script(facts: Facts) -> list[str]:
    """The command, and the record that can be trained from."""
    sweep = facts.sweep
    sentences = [f"The sweep was made with: {sweep.command}"] if sweep.command else []
    if as_mapping(sweep.record.get("base")):
        sentences.append(
            f"sweep.json holds the settings of its {len(sweep.runs)} runs, and trains them again "
            "(xception-jax sweep sweep.json --workdir DIR)."
        )
    return sentences


def code(facts: Facts) -> list[str]:
    """Commit, digest and changes that are in no commit."""
    commits = [run.commit for run in facts.runs if run.commit]
    packages = [as_text(package) for run in facts.runs if (package := run.code.get("package"))]
    sentences = [f"Commit: {describe_spread(commits)}."] if commits else []
    if packages:
        digests = describe_spread([package[:_DIGITS] for package in packages])
        sentences.append(f"SHA-256 of the package’s sources: {digests}.")
    if patches := sorted(
        {as_text(change) for r in facts.runs if (change := r.code.get("changes"))}
    ):
        names = ", ".join(f"changes-{patch[:_DIGITS]}.patch" for patch in patches)
        sentences.append(f"Changes that are in no commit: {names}.")
    return sentences


def code_and_data(facts: Facts) -> list[str]:
    """Versions of the code and the data."""
    return [*code(facts), *data(facts)]


def infrastructure(facts: Facts) -> list[str]:
    """Devices and versions."""
    devices = [describe_devices(run) for run in facts.runs if run.devices]
    sentences = [f"Devices of a run: {describe_spread(devices)}."] if devices else []
    if versions := describe_versions(facts.runs):
        software = ", ".join(f"{name} {number}" for name, number in versions.items())
        sentences.append(f"Software: {software}.")
    return sentences


def compute(facts: Facts) -> list[str]:
    """Device-seconds of all runs and of each verdict."""
    spent = facts.verdicts["compute"]
    described = describe_compute(spent)
    if not described:
        return []
    seconds = [run.spent.kept + run.spent.lost for run in facts.runs if run.spent is not None]
    sentences = [f"All runs in the directory: {described}."]
    if seconds:
        mean = sum(seconds) / len(seconds)
        count = f"{len(seconds)} run{'s' * (len(seconds) != 1)}"
        sentences.append(f"A run took {mean:,.1f} device-seconds on average ({count}).")
    return sentences + compute_notes(spent)


def data(facts: Facts) -> list[str]:
    """Names and digests of the data."""
    lines: dict[str, None] = {}
    for run in facts.runs:
        for split, digests in as_mapping(run.data.get("splits")).items():
            images = as_text(as_mapping(digests).get("images"))[:_DIGITS]
            labels = as_text(as_mapping(digests).get("labels"))[:_DIGITS]
            lines[f"{run.dataset}, {split}: SHA-256 of images {images}, of labels {labels}."] = None
    if len(lines) > 3 * len({run.dataset for run in facts.runs}):
        return ["Digests of the splits, which are not the same in all runs, are in run.json."]
    return list(lines)


def licences(facts: Facts) -> list[str]:
    """Licences of the data that the runs recorded."""
    known = {run.dataset: _licence(run) for run in facts.runs}
    return [f"Data set {name}: {licence}." for name, licence in known.items() if licence]


def _licence(run: Run) -> str:
    """The licence that a run recorded; versions before put the name of Python's type first."""
    return as_text(run.data.get("licence")).removeprefix(_TYPE).strip()


def samples(facts: Facts) -> list[str]:
    """Sizes of the splits."""
    sizes = dict.fromkeys(
        f"{run.dataset}: {run.train_examples:,} training, {run.valid_examples:,} validation and "
        f"{run.test_examples:,} test images."
        for run in facts.runs
        if None not in (run.train_examples, run.valid_examples, run.test_examples)
    )
    return list(sizes)


def outcome(facts: Facts) -> list[str]:
    """The quantity that models predict."""
    classes = [f"{run.classes:,}" for run in facts.runs if run.classes]
    if not classes:
        return []
    which = "The sets of classes" if facts.sweep.metric == "map100" else "The class"
    return [f"{which} of an image, of {describe_spread(classes)}."]


def missing(facts: Facts) -> list[str]:
    """Images that could not be read, and examples without labels."""
    of_runs = (as_list(run.data.get("notes")) for run in facts.runs)
    notes = dict.fromkeys(as_text(note) for of_run in of_runs for note in of_run)
    return _skipped(facts) + [f"{note}." for note in notes if "no label" in note]


def excluded(facts: Facts) -> list[str]:
    """Training examples that were not used."""
    kept = facts.setting("data.train_examples")
    answers = {"": [], "null": ["All training examples were used."]}
    return answers.get(kept, [f"Training examples used (data.train_examples): {kept}."])


def corrupt(facts: Facts) -> list[str]:
    """The treatment of images that cannot be decoded."""
    policy = facts.setting("data.corrupt_images")
    return [f"Images that cannot be decoded: {policy}.", *_skipped(facts)] if policy else []


def transformed(facts: Facts) -> list[str]:
    """Size, orientation and augmentation."""
    names = ("data.image_size", "data.upright", "data.augmentation", "data.padding")
    values = [f"{name} = {value}" for name in names if (value := facts.setting(name))]
    return [f"{', '.join(values)}."] if values else []


def duplicates(facts: Facts) -> list[str]:
    """Images that stand in two splits."""
    sentences: dict[str, None] = {}
    for run in facts.runs:
        repeated = run.data.get("repeated")
        if run.data.get("method") != "pixels" or not isinstance(repeated, list):
            continue
        counts = []
        for entry in map(as_mapping, repeated):
            splits = " and ".join(map(as_text, as_list(entry.get("splits"))))
            counts.append(f"{as_whole(entry.get('images'))} in {splits}")
        listed = ", ".join(counts) or "none"
        sentences[f"{run.dataset}, images with the same pixels in two splits: {listed}."] = None
    return list(sentences)


def separation(facts: Facts) -> list[str]:
    """Whether splits overlap, and which one chose settings."""
    chosen = ["The tuned settings were chosen by validation."] if facts.tuned else []
    return [*duplicates(facts), *chosen]


def evaluation(facts: Facts) -> list[str]:
    """Splits, and when they are used."""
    sizes = samples(facts)
    return (
        [*sizes, f"The split of the data is {split_kind(facts)}.", *seeds(facts)] if sizes else []
    )


def _skipped(facts: Facts) -> list[str]:
    counts = [run.skipped_images for run in facts.runs if run.skipped_images is not None]
    if not counts:
        return []
    return [f"Images left out since they could not be decoded: at most {max(counts)} in a run."]


def _determinism(facts: Facts) -> Iterator[str]:
    known = [run.deterministic for run in facts.runs if run.deterministic is not None]
    if known:
        yield f"Deterministic operations: in {sum(known)} of {len(facts.runs)} runs."
