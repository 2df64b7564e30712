"""Answers of `checklist.md` about claims, statistics, models and settings.

Each function takes the facts and returns sentences; none where nothing is recorded.
"""

from xception_jax.json_values import as_list, as_text
from xception_jax.report.checklist_data import samples
from xception_jax.report.checklist_facts import Facts, split_kind, tuned_settings
from xception_jax.report.claim_tables import claim_title, describe_pairing, endpoint_name
from xception_jax.report.tables import describe_counts, describe_scope
from xception_jax.statistics.json_types import ClaimVerdict


def claims(facts: Facts) -> list[str]:
    """The claims, when they were declared, and their verdicts."""
    return [
        f"{claim_title(claim)}: {claim['verdict']}, declared {claim['declared']}, grade "
        f"{claim['grade'] or 'none'}."
        for claim in facts.claims
    ]


def limits(facts: Facts) -> list[str]:
    """The scope of the numbers, and what lowers the grades."""
    reasons = dict.fromkeys(as_text(r) for claim in facts.claims for r in claim["grade_reasons"])
    return scope(facts) + [f"Lowers a grade: {reason}." for reason in reasons]


def scope(facts: Facts) -> list[str]:
    """The scope of the numbers: seeds, data set, model and budget."""
    if not facts.summary.statuses["done"]:
        return []
    return [f"The numbers are of {describe_scope(facts.sweep.runs, facts.summary.statuses)}."]


def errors(facts: Facts) -> list[str]:
    """The intervals and deviations that the report gives, and how they are computed."""
    sentences = [
        f"{claim_title(claim)}, {endpoint_name(endpoint['endpoint'])}: "
        f"{endpoint['confidence']:.0%} interval of the {_about(claim)} paired difference over "
        f"{claim['n']['pairs']} seeds, by inversion of its test ({endpoint['method']})."
        for claim, endpoint in facts.tested
        if endpoint["interval"] is not None
    ]
    if facts.summary.statuses["done"] > 1:
        sentences.append(
            "± in the tables is the sample standard deviation over the runs of an arm, of speeds "
            "over packs. Runs of an arm differ in their seed: initial values, order of the data, "
            f"augmentation, dropout; the split of the data is {split_kind(facts)}."
        )
    noise = facts.verdicts["noise"]
    if noise and sentences:
        sentences.append(
            f"The variance over seeds is split into that of seeds and that of a finite test set "
            f"for {len(noise)} arms and contrasts (verdicts.json, noise)."
        )
    return sentences


def tests(facts: Facts) -> list[str]:
    """Which tests were made, and what speaks against their assumptions."""
    sentences, bases = [], " on all bases" * bool(facts.sweep.bases)
    for claim, endpoint in facts.tested:
        skewed = "look skewed, which the test of a mean does not allow for"
        shape = skewed if endpoint.get("is_skewed") else "do not look skewed"
        kind = _about(claim)
        ending = "" if kind == "median" else f"; the differences {shape}"
        sentences.append(
            f"{claim_title(claim)}, {endpoint_name(endpoint['endpoint'])}: test of the {kind} "
            f"paired difference over {claim['n']['pairs']} seeds, p adjusted by Holm’s method over "
            f"the claims{bases}{ending}."
        )
    return sentences


def metrics(facts: Facts) -> list[str]:
    """The metrics in tables and claims."""
    if not facts.runs:
        return []
    sentences = [f"Headline metric: {facts.summary.metric_name}."]
    named = (as_list(claim["claim"].get("endpoints")) for claim in facts.claims)
    endpoints = dict.fromkeys(as_text(name) for names in named for name in names)
    if endpoints:
        names = ", ".join(map(endpoint_name, endpoints))
        sentences.append(f"Endpoints of the claims: {names}.")
    return sentences


def selection(facts: Facts) -> list[str]:
    """The statement that all runs count, and by which values."""
    if not facts.runs:
        return []
    return [
        f"No run is selected: {describe_counts(facts.summary.statuses)}. Values are those after "
        "the last step, never of a best epoch.",
        *tuned_settings(facts),
    ]


def baselines(facts: Facts) -> list[str]:
    """With what was compared, and how alike the arms are apart from that."""
    if not facts.claims:
        return []
    sentences = [f"{claim_title(claim)}." for claim in facts.claims]
    if facts.audit["shared_initial"]:
        sentences.append(f"Audit of the arms of each seed: {describe_pairing(facts.audit)}.")
    return sentences + tuned_settings(facts)


def elsewhere(facts: Facts) -> list[str]:
    """On how many data sets and models the runs are."""
    sets = list(dict.fromkeys(run.dataset for run in facts.runs if run.dataset))
    models = list(dict.fromkeys(run.model for run in facts.runs if run.model))
    return (
        [f"Data sets: {', '.join(sets)}; models: {', '.join(models)}."] if sets and models else []
    )


def models(facts: Facts) -> list[str]:
    """Architecture, size and arms."""
    sentences = []
    for arm in facts.summary.arms:
        runs = [run for run in facts.runs if run.arm == arm.arm and run.model]
        if runs:
            sizes = " or ".join(f"{count:,}" for count in arm.parameters) or "not recorded"
            overrides = facts.sweep.arms[arm.arm].items()
            sets = ", ".join(f"{as_text(k)} = {as_text(v)}" for k, v in overrides)
            sentences.append(
                f"{arm.arm}: {runs[0].model}, parameters: {sizes}; sets {sets or 'nothing'}."
            )
    return sentences


def settings(facts: Facts) -> list[str]:
    """Sizes of splits and the main hyperparameters."""
    names = (
        *("optimizer.name", "optimizer.learning_rate", "optimizer.weight_decay"),
        *("train.epochs", "train.batch_size", "model.dropout", "train.label_smoothing"),
    )
    values = [f"{name} = {value}" for name in names if (value := facts.setting(name))]
    if not values:
        return []
    return [
        *samples(facts),
        f"{', '.join(values)}; every other setting is in each run’s config.json.",
        *tuning(facts),
    ]


def tuning(facts: Facts) -> list[str]:
    """Bounds and budget of the tuning; or that there is no record of any."""
    if not facts.runs:
        return []
    return tuned_settings(facts) or [
        "No tuning is recorded in this directory: the arms share their settings, apart from what "
        "they set themselves."
    ]


def _about(claim: ClaimVerdict) -> str:
    return as_text(claim["claim"].get("test")) or "mean"
