"""The parts that the page is made of: text, tables, figures, and the choice of arms.

Every text that came from a file goes through `escaped`.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from xception_jax.json_values import as_text
from xception_jax.records import ENDPOINT_NAMES
from xception_jax.report.arm_styles import COLORS, Style, swatch
from xception_jax.report.export import element, inline
from xception_jax.report.figures import Plate
from xception_jax.report.tables import Table, endpoint_name

# On a dark ground; in the order of `drawing.COLORS`.
DARK_COLORS = ("#4FA8E8", "#F58A4B", "#2FC59A", "#E6A3CB", "#E8E6E1", "#F7BC4A", "#8ED0F5")


def escaped(value: object) -> str:
    """Text that came from a file, as HTML."""
    return escape(str(value), quote=True)


def notes(lines: Iterable[str]) -> str:
    """A quiet list of remarks."""
    items = "".join(f"<li>{escaped(line)}</li>" for line in lines)
    return f'<ul class="notes">{items}</ul>' if items else ""


def definitions(rows: Iterable[tuple[str, str]]) -> str:
    """Terms of our own words, with what is already HTML; rows without any are left out."""
    said = "".join(f"<dt>{escaped(term)}</dt><dd>{row}</dd>" for term, row in rows if row)
    return f"<dl>{said}</dl>" if said else ""


def code(said: str | None) -> str:
    """A command or a commit."""
    return f"<code>{escaped(said)}</code>" if said else ""


def table(
    content: Table, name: str, styles: Mapping[str, Style] | None = None, *, of_arms: bool = True
) -> str:
    """A table in a box that scrolls by itself.

    Args:
        content: rows of text; the first column heads its row.
        name: for those who do not see it.
        styles: of the arms, to show beside their names.
        of_arms: whether the first column is an arm, by which rows can be chosen.
    """
    known = styles or {}
    kinds = ["number" if numeric else "words" for numeric in content.numeric]
    if "reason" in content.columns:
        kinds[content.columns.index("reason")] = "reason"
    heads = "".join(
        f'<th scope="col" class="{kind}">{_looks(known, column)}{escaped(column)}</th>'
        for column, kind in zip(content.columns, kinds, strict=True)
    )
    rows = []
    for first, *cells in content.rows:
        body = "".join(
            f'<td class="{kind}">{escaped(cell)}</td>'
            for cell, kind in zip(cells, kinds[1:], strict=True)
        )
        style = known.get(first) if of_arms else None
        chosen = f' class="a{style.index}"' if style else ""
        head = f'<th scope="row" class="{kinds[0]}">{_looks(known, first)}{escaped(first)}</th>'
        rows.append(f"<tr{chosen}>{head}{body}</tr>")
    return (
        f'<div class="box" role="region" aria-label="{escaped(name)}" tabindex="0"><table>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _looks(styles: Mapping[str, Style], arm: str) -> str:
    return _swatch(styles[arm]) if arm in styles else ""


def _swatch(style: Style) -> str:
    kind = f"swatch c{style.index % len(COLORS)}"
    drawn = swatch(style, 1, 6)
    return element(
        "svg", drawn, class_=kind, width=30, height=12, aria_hidden="true", color=style.color
    )


def plate(content: Plate) -> str:
    """A figure as a part of the page, in its two layouts, with its caption and its files."""
    figure = content.figure
    caption = " ".join((content.reading, *figure.notes))
    files = " ".join(
        f'<a href="{escaped(figure.name)}.{kind}" download>{kind.upper()}</a>'
        for kind in ("svg", "pdf", "png")
    )
    return (
        f'<figure id="{figure.name}">{inline(figure.wide, "wide")}{inline(figure.narrow, "narrow")}'
        f"<figcaption><b>{content.letter}. {escaped(figure.title)}.</b> {escaped(caption)} "
        f'<span class="files">{files}</span></figcaption></figure>'
    )


def arm_choice(styles: Mapping[str, Style]) -> str:
    """A box to tick for every arm; `choice_rules` has what it does."""
    if len(styles) < 2:
        return ""
    chips = "".join(
        f'<label class="chip"><input type="checkbox" id="s{style.index}" checked>'
        f"{_swatch(style)}<span>{escaped(arm)}</span></label>"
        for arm, style in styles.items()
    )
    many = " many" if len(styles) > 6 else ""
    return f'<fieldset class="arms{many}"><legend>Arms shown</legend>{chips}</fieldset>'


def choice_rules(styles: Mapping[str, Style]) -> str:
    """The style rules by which the choice of arms works, without a script, and the dark colors.

    An arm that is not ticked fades from every figure and leaves every table; while the pointer is
    on an arm in a figure, the others fade.
    """
    rules = []
    for each in styles.values():
        own = f"a{each.index}"
        rules.append(f"main:has(#s{each.index}:not(:checked)) figure .{own}{{opacity:.07}}")
        rules.append(f"main:has(#s{each.index}:not(:checked)) tr.{own}{{display:none}}")
        rules.append(f"main:has(figure .{own}:hover) figure .arm:not(.{own}){{opacity:.15}}")
    dark = "".join(f".c{i}{{color:{color}}}" for i, color in enumerate(DARK_COLORS))
    return "\n".join([*rules, f"@media screen and (prefers-color-scheme:dark){{{dark}}}"])


# -- verdicts ----------------------------------------------------------------------------------


def verdict_list(claims: Sequence[Mapping[str, Any]]) -> str:
    """Every claim as the sentence that a paper could print, and what it rests on."""
    items = "".join(_verdict(claim) for claim in claims)
    return f'<ol class="verdicts" aria-label="Verdicts">{items}</ol>' if items else ""


def _verdict(claim: Mapping[str, Any]) -> str:
    verdict = escaped(claim.get("verdict", "not tested"))
    n = claim.get("n") or {}
    facts = [f'<span class="badge">{verdict}</span>']
    if claim.get("grade"):
        facts.append(f'<span class="grade">grade {escaped(claim["grade"])}</span>')
    if n:
        said = f"{n.get('pairs')} pairs of {n.get('planned')} planned"
        lost = f", {n['diverged']} diverged" if n.get("diverged") else ""
        facts.append(f"<span>{escaped(said + lost)}</span>")
    facts.append(f"<span>declared {escaped(claim.get('declared', ''))}</span>")
    reasons = notes(claim.get("grade_reasons") or [])
    return (
        f'<li class="verdict v-{verdict.replace(" ", "-")}">'
        f'<p class="claim">{escaped(_title(claim))}</p><p class="facts">{" ".join(facts)}</p>'
        f'<p class="sentence">{escaped(claim.get("sentence", ""))}</p>'
        f"{reasons}{_endpoints(claim)}</li>"
    )


def _title(claim: Mapping[str, Any]) -> str:
    """The claim's title, its endpoints in the words of people."""
    title = as_text(claim.get("title"))
    for endpoint in ENDPOINT_NAMES:
        title = title.replace(endpoint, endpoint_name(endpoint))
    return title


def _endpoints(claim: Mapping[str, Any]) -> str:
    """The numbers behind a verdict, folded away."""
    columns = {
        "endpoint": "endpoint",
        "effect": "difference",
        "interval": "interval",
        "method": "interval by",
        "p": "p",
        "p_adjusted": "p, adjusted",
        "probability_of_improvement": "P(improvement)",
        "correlation": "correlation of the pair",
        "minimum_detectable_effect": "smallest detectable",
        "needed_n": "n that would decide",
    }
    endpoints = claim.get("endpoints") or []
    if not endpoints:
        return ""
    rows = tuple(
        tuple(
            endpoint_name(row.get(key)) if key == "endpoint" else _cell(row.get(key))
            for key in columns
        )
        for row in endpoints
    )
    numeric = tuple(key not in ("endpoint", "method") for key in columns)
    content = Table(tuple(columns.values()), numeric, rows)
    shown = table(content, "Endpoints", of_arms=False)
    return f"<details><summary>Numbers</summary>{shown}</details>"


def _cell(value: object) -> str:
    if value is None:
        return "—"
    if isinstance(value, list):
        return " to ".join(_cell(end) for end in value)
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−")
    return str(value).replace("_", " ")
