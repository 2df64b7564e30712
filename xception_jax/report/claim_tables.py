"""Tables of what the claims came to, and of the pairing that they rest on."""

from collections.abc import Mapping, Sequence
from typing import Any

from xception_jax.json_values import as_list, as_mapping, as_text
from xception_jax.records import ENDPOINT_NAMES
from xception_jax.report.tables import NOT_KNOWN, Table
from xception_jax.statistics.paired import CONFIDENCE


def endpoint_name(name: object) -> str:
    """An endpoint as people call it."""
    return ENDPOINT_NAMES.get(as_text(name), as_text(name).replace("_", " "))


def claim_title(claim: Mapping[str, Any]) -> str:
    """The title of a judged claim, its endpoints as people call them."""
    title = as_text(claim.get("title"))
    for endpoint, name in ENDPOINT_NAMES.items():
        title = title.replace(endpoint, name)
    return title


def verdict_table(claims: Sequence[Mapping[str, Any]]) -> Table:
    """One row per claim and endpoint, of several bases on each; one for a claim without any."""
    first_columns = ("claim", "verdict", "grade", "pairs", "endpoint")
    columns = (*first_columns, "effect", "interval", "p", "adjusted p", "P(improvement)")
    rows = []
    for number, claim in enumerate(claims, 1):
        grade = (claim["grade"] or "") + " post hoc" * (claim["declared"] == "post hoc")
        pairs = f"{claim['n']['pairs']} of {claim['n']['planned']}"
        if added := claim["added_seeds"]:
            pairs += f" + {len(added)} added"
        first = (f"{number}. {claim['title']}", claim["verdict"], grade, pairs)
        endpoints = [("", row) for row in claim["endpoints"] or [{}]]
        for judged in claim.get("bases", ()):
            on_base = f" on {judged['base']}: {judged['verdict']}"
            endpoints += [(on_base, row) for row in judged["endpoints"]]
        for on_base, row in endpoints:
            values = [row.get(name) for name in ("effect", "p", "p_adjusted")]
            effect, *p = ["" if value is None else short_number(value) for value in values]
            name = row.get("endpoint", "") + on_base
            rows.append((*first, name, effect, _interval(row), *p, describe_improvement(row) or ""))
            first = ("",) * 4
    numeric = tuple(column in ("effect", "interval", "p", "adjusted p") for column in columns)
    return Table(columns, numeric, tuple(rows))


def _interval(endpoint: Mapping[str, Any]) -> str:
    """`0.0115 to 0.0197`, with its confidence where that is not 95%."""
    if endpoint.get("interval") is None:
        return "" if endpoint.get("effect") is None else "infinite"
    low, high = endpoint["interval"]
    confidence = endpoint["confidence"]
    other = "" if round(confidence, 6) == CONFIDENCE else f" ({confidence:.0%})"
    return f"{short_number(low)} to {short_number(high)}{other}"


def endpoint_table(claim: Mapping[str, Any]) -> Table:
    """One row per endpoint of a judged claim, for several bases on each, with all its numbers."""
    columns = {
        "endpoint": "endpoint",
        "effect": "difference",
        "interval": "interval",
        "confidence": "its confidence",
        "method": "interval by",
        "p": "p",
        "p_adjusted": "p, adjusted",
        "probability_of_improvement": "P(improvement)",
        "correlation": "correlation of the pair",
        "minimum_detectable_effect": "smallest detectable",
        "needed_n": "n that would decide",
    }
    on_bases = [(judged, f", {judged['base']}") for judged in claim.get("bases") or ()]
    overall = ", over all bases" * bool(on_bases)
    endpoints = [
        {**row, "probability_of_improvement": describe_improvement(row), "suffix": suffix}
        for judged, suffix in [*on_bases, (claim, overall)]
        for row in judged["endpoints"]
    ]
    rows = tuple(
        (
            endpoint_name(row.get("endpoint")) + row["suffix"],
            *(_cell(row.get(key)) for key in list(columns)[1:]),
        )
        for row in endpoints
    )
    numeric = tuple(key not in ("endpoint", "method") for key in columns)
    return Table(tuple(columns.values()), numeric, rows)


def describe_improvement(row: Mapping[str, Any]) -> str | None:
    """`0.9375 (0.70 to 1.00)`: the share of seeds that gain, its 95% interval, and any draws."""
    value, ends = row.get("probability_of_improvement"), row.get("improvement_interval")
    if value is None or not ends:
        return None
    draws = f", {count} draw{'s' * (count > 1)}" if (count := row.get("draws")) else ""
    return f"{short_number(value)} ({ends[0]:.2f} to {ends[1]:.2f}{draws})"


def replication_table(claim: Mapping[str, Any]) -> Table:
    """One row per endpoint of a claim: the first sweep, the fresh seeds, and both together."""
    replication = claim["replication"]
    original = as_mapping(replication["original"])
    first = {
        as_text(row.get("endpoint")): row
        for row in map(as_mapping, as_list(original.get("endpoints")))
    }
    both = {as_text(row["endpoint"]): row for row in replication["combined"]}
    rows = []
    for row in claim["endpoints"]:
        name = as_text(row.get("endpoint"))
        sides = (as_mapping(first.get(name)), row, as_mapping(both.get(name)))
        cells = [_cell(side.get(key)) for side in sides for key in ("effect", "interval")]
        rows.append((endpoint_name(name), *cells))
    columns = [f"{side}{what}" for side in _SIDES for what in ("", ", interval")]
    return Table(("endpoint", *columns), (False, *(True for _ in columns)), tuple(rows))


_SIDES = ("first sweep", "fresh seeds", "all seeds")


def short_number(value: float) -> str:
    """A number to four digits, with a minus sign."""
    return f"{value:.4g}".replace("-", "−")


def _cell(value: object) -> str:
    if value is None:
        return NOT_KNOWN
    if isinstance(value, list):
        return " to ".join(_cell(end) for end in value)
    if isinstance(value, float):
        return short_number(value)
    return str(value).replace("_", " ")


def audit_table(audit: Mapping[str, Any]) -> Table:
    """One row per compared pair of arms: how much of its seeds is identical."""
    rows = []
    for name, shared in audit["shared_initial"].items():
        checked = [
            pair
            for seed in audit["seeds"]
            for pair in seed["pairs"]
            if " vs ".join(pair["arms"]) == name
        ]
        start = NOT_KNOWN
        if shared:
            start = f"{shared['identical']} of {shared['same_path_and_shape']} in both"
            start += f" ({shared['arrays']} in all)"
        streams = [_identical(checked, stream) for stream in ("batches", "augmentation")]
        problems = sum(" vs ".join(row["arms"]) == name for row in audit["mismatches"])
        rows.append((name, str(len(checked)), start, *streams, str(problems)))
    return Table(
        ("pair", "seeds", "initial arrays alike", "batches", "augmentation", "mismatches"),
        (False, True, False, False, False, True),
        tuple(rows),
    )


def describe_pairing(audit: Mapping[str, Any]) -> str:
    """`everything pairs`, or how much does not."""
    count = len(audit["mismatches"])
    result = f"{count} mismatches" if count > 1 else "1 mismatch" if count else "everything pairs"
    return result if audit["complete"] else f"{result} in what there is: the sweep is not complete"


def _identical(pairs: Sequence[Mapping[str, Any]], stream: str) -> str:
    epochs = sum(pair[stream]["epochs"] for pair in pairs)
    same = sum(pair[stream]["identical"] for pair in pairs)
    if not epochs:
        return NOT_KNOWN
    return f"{'all' if same == epochs else same} of {epochs} epochs alike"


def settings_table(audit: Mapping[str, Any]) -> Table:
    """One row per arm, one column per setting that is not the same in all arms."""
    settings = audit["settings"]
    names = list(next(iter(settings.values()), {}))
    rows = tuple(
        (arm, *(as_text(values[name]) for name in names)) for arm, values in settings.items()
    )
    return Table(("arm", *names), (False,) * (len(names) + 1), rows)
