"""Tables of what the claims came to, and of the pairing that they rest on."""

from collections.abc import Callable, Sequence

from xception_jax.json_values import as_list, as_mapping, as_text
from xception_jax.records import ENDPOINT_NAMES
from xception_jax.report.tables import NOT_KNOWN, Table
from xception_jax.statistics.audit import STREAMS
from xception_jax.statistics.json_types import (
    Audit,
    AuditedPair,
    ClaimVerdict,
    EndpointVerdict,
    Stream,
)
from xception_jax.statistics.paired import CONFIDENCE

_ROUNDING = 1e-12  # of means of differences of accuracies or steps


def endpoint_name(name: object) -> str:
    """An endpoint as people call it."""
    return ENDPOINT_NAMES.get(as_text(name), as_text(name).replace("_", " "))


def claim_title(claim: ClaimVerdict) -> str:
    """The title of a judged claim, its endpoints as people call them."""
    title = as_text(claim["title"])
    for endpoint, name in ENDPOINT_NAMES.items():
        title = title.replace(endpoint, name)
    return title


def verdict_table(claims: Sequence[ClaimVerdict]) -> Table:
    """One row per claim and endpoint, of several bases on each; one for a claim without any."""
    first_columns = ("claim", "verdict", "grade", "pairs", "endpoint")
    columns = (*first_columns, "effect", "interval", "p", "adjusted p", "P(improvement)")
    rows = []
    for number, claim in enumerate(claims, 1):
        grade = (claim["grade"] or "") + " post hoc" * (claim["declared"] == "post hoc")
        pairs = f"{claim['n']['pairs']} of {claim['n']['planned']}"
        if added := claim["added_seeds"]:
            pairs += f" + {len(added)} added"
        first = (f"{number}. {claim_title(claim)}", claim["verdict"], grade, pairs)
        cells = [_endpoint_cells(row) for row in claim["endpoints"]] or [("",) * 6]
        for judged in claim.get("bases", ()):
            on_base = f" on {judged['base']}: {judged['verdict']}"
            cells += [_endpoint_cells(row, on_base) for row in judged["endpoints"]]
        for of_endpoint in cells:
            rows.append((*first, *of_endpoint))
            first = ("",) * 4
    numeric = tuple(column in ("effect", "interval", "p", "adjusted p") for column in columns)
    return Table(columns, numeric, tuple(rows))


def _endpoint_cells(row: EndpointVerdict, on_base: str = "") -> tuple[str, ...]:
    """The last six cells of a row of `verdict_table`."""
    effect = "" if row["effect"] is None else _difference(row["effect"])
    p = map(_p, (row["p"], row["p_adjusted"]))
    name, improvement = endpoint_name(row["endpoint"]) + on_base, describe_improvement(row) or ""
    return (name, effect, _interval(row), *p, improvement)


def _interval(endpoint: EndpointVerdict) -> str:
    """`0.0115 to 0.0197`, with its confidence where that is not 95%."""
    if endpoint.get("interval_is_empty"):
        return "empty"
    if endpoint["interval"] is None:
        return "" if endpoint["effect"] is None else "infinite"
    low, high = endpoint["interval"]
    confidence = endpoint["confidence"]
    other = "" if round(confidence, 6) == CONFIDENCE else f" ({confidence:.0%})"
    return f"{_difference(low)} to {_difference(high)}{other}"


def _difference(value: float) -> str:
    """A difference to four digits; what rounding leaves of none is none."""
    return short_number(value if abs(value) > _ROUNDING else 0.0)


def _p(value: float | None) -> str:
    """A p-value to four digits, however small; empty where there is none."""
    return "" if value is None else short_number(value)


def endpoint_table(claim: ClaimVerdict) -> Table:
    """One row per endpoint of a judged claim, for several bases on each, with all its numbers.

    Detectable effects and numbers of seeds are those of a fixed number of seeds, as their headings
    say where looks are declared: these take more.
    """
    fixed = ", if fixed" * (claim["look"] is not None)
    columns: dict[str, Callable[[EndpointVerdict], object]] = {
        "difference": lambda row: row["effect"],
        "interval": lambda row: _interval(row) or None,
        "interval by": lambda row: row["method"],
        "p": lambda row: _p(row["p"]) or None,
        "p, adjusted": lambda row: _p(row["p_adjusted"]) or None,
        "P(improvement)": describe_improvement,
        "correlation of the pair": lambda row: row.get("correlation"),
        f"smallest detectable{fixed}": lambda row: row.get("minimum_detectable_effect"),
        f"n that would decide{fixed}": lambda row: row.get("needed_n"),
    }
    endpoints = [
        (row, f", {judged['base']}")
        for judged in claim.get("bases", ())
        for row in judged["endpoints"]
    ]
    endpoints += [(row, ", over all bases" * ("bases" in claim)) for row in claim["endpoints"]]
    rows = tuple(
        (endpoint_name(row["endpoint"]) + suffix, *(_cell(read(row)) for read in columns.values()))
        for row, suffix in endpoints
    )
    numeric = (False, *(heading != "interval by" for heading in columns))
    return Table(("endpoint", *columns), numeric, rows)


def describe_improvement(row: EndpointVerdict) -> str | None:
    """`0.9375 (0.70 to 1.00)`: the share of seeds that gain, its 95% interval, and any draws."""
    value, ends = row.get("probability_of_improvement"), row.get("improvement_interval")
    if value is None or not ends:
        return None
    draws = f", {count} draw{'s' * (count > 1)}" if (count := row.get("draws")) else ""
    return f"{short_number(value)} ({ends[0]:.2f} to {ends[1]:.2f}{draws})"


def replication_table(claim: ClaimVerdict) -> Table:
    """One row per endpoint of a claim: the first sweep, the fresh seeds, and both together."""
    replication = claim["replication"]
    original = as_mapping(replication["original"])
    first = {
        as_text(row.get("endpoint")): row
        for row in map(as_mapping, as_list(original.get("endpoints")))
    }
    both = {row["endpoint"]: row for row in replication["combined"]}
    rows = []
    for row in claim["endpoints"]:
        name = row["endpoint"]
        before, after = first.get(name, {}), both.get(name)
        values = [before.get("effect"), before.get("interval"), row["effect"]]
        values.append(_interval(row) or None)
        values += [None, None] if after is None else [after["effect"], after["interval"]]
        rows.append((endpoint_name(name), *map(_cell, values)))
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
        return _difference(value)
    return str(value).replace("_", " ")


def audit_table(audit: Audit) -> Table:
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
        streams = [_identical(checked, stream) for stream in STREAMS]
        problems = sum(" vs ".join(row["arms"]) == name for row in audit["mismatches"])
        rows.append((name, str(len(checked)), start, *streams, str(problems)))
    return Table(
        ("pair", "seeds", "initial arrays alike", "batches", "augmentation", "mismatches"),
        (False, True, False, False, False, True),
        tuple(rows),
    )


def describe_pairing(audit: Audit) -> str:
    """`everything pairs`, or how much does not, or that there are no pairs."""
    count = len(audit["mismatches"])
    fine = "everything pairs" if audit["shared_initial"] else "no pairs to compare"
    result = f"{count} mismatches" if count > 1 else "1 mismatch" if count else fine
    return result if audit["complete"] else f"{result} in what there is: the sweep is not complete"


def _identical(pairs: Sequence[AuditedPair], stream: Stream) -> str:
    epochs = sum(pair[stream]["epochs"] for pair in pairs)
    same = sum(pair[stream]["identical"] for pair in pairs)
    if not epochs:
        return NOT_KNOWN
    return f"{'all' if same == epochs else same} of {epochs} epochs alike"


def settings_table(audit: Audit) -> Table:
    """One row per arm, one column per setting that is not the same in all arms."""
    settings = audit["settings"]
    names = list(next(iter(settings.values()), {}))
    rows = tuple(
        (arm, *(as_text(values[name]) for name in names)) for arm, values in settings.items()
    )
    return Table(("arm", *names), (False,) * (len(names) + 1), rows)
