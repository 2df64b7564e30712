"""Tables as LaTeX: every character of a cell stays text, and a row has a cell for each column."""

import re
from collections.abc import Callable

import pytest

from tests.synthetic_sweep import SweepWriter
from xception_jax.report import write_report
from xception_jax.report.claim_tables import claim_title
from xception_jax.report.latex import latex_table
from xception_jax.report.tables import Table
from xception_jax.sweep import Claim

MEANINGS = {
    r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^",
    r"\textless{}": "<", r"\textgreater{}": ">", r"\textbar{}": "|",
    r"$\pm$": "±", "$-$": "−", r"$\times$": "×", r"$\leq$": "≤", r"$\geq$": "≥", "---": "—",
    "{[}": "[", "{*}": "*", **{f"\\{character}": character for character in "&%$#_{}"},
}  # fmt: skip
TOKEN = re.compile("|".join(map(re.escape, sorted(MEANINGS, key=len, reverse=True))) + "|.", re.S)


def cells(line: str) -> list[str]:
    """The cells of a row, read token by token as LaTeX does."""
    assert line.endswith(r" \\")
    cells = [""]
    for token in TOKEN.findall(line.removesuffix(r" \\")):
        if token == "&":
            cells.append("")
            continue
        # A character that means something to LaTeX stands nowhere by itself.
        assert token in MEANINGS or token not in "\\%$#_{}~^<>|[*"
        cells[-1] += MEANINGS.get(token, token)
    return [cell.strip() for cell in cells]


def rows_of(text: str) -> list[list[str]]:
    _, begin, top, header, middle, *rows, bottom, end, rest = text.split("\n")
    assert begin.startswith(r"\begin{tabular}{")
    assert (top, middle, bottom) == (r"\toprule", r"\midrule", r"\bottomrule")
    assert (end, rest) == (r"\end{tabular}", "")
    return [cells(header), *map(cells, rows)]


@pytest.mark.parametrize(
    "text",
    [
        r"\input{/etc/passwd} \\ \hline % & $x_1^2$ # ~ {}",
        "[2pt] *none* <b>|</b>",
        r"^^5cinput{x} \csname input\endcsname \catcode`\%=12",
        "0.8920 ± 0.0020, −1 × 2, ≤ 3, ≥ 4, —",
        "größe",
    ],
)
def test_every_character_of_a_cell_stays_text(text: str):
    table = Table(("arm", text), (False, True), ((text, "1"), ("[", text)))
    assert rows_of(latex_table(table).decode()) == [["arm", text], [text, "1"], ["[", text]]


def test_what_cannot_be_printed_is_a_space():
    table = Table(("arm",), (False,), (("a\n\nb\x00\x1b[0m\ud800",),))
    assert rows_of(latex_table(table).decode()) == [["arm"], ["a b [0m"]]


def test_long_texts_have_lines_and_numbers_stand_on_the_right():
    table = Table(("a", "b", "c"), (False, True, False), (("x" * 50, "1", "y"),))
    assert r"\begin{tabular}{p{5cm}rl}" in latex_table(table).decode()


@pytest.mark.usefixtures("undrawn_figures")
def test_a_report_has_its_arms_and_verdicts_as_latex(new_sweep: Callable[..., SweepWriter]):
    claims = [Claim("none", "relu_6").describe(), Claim("relu_6", "none").describe()]
    sweep = new_sweep(arms={"none": {}, "relu_6": {}}, seeds=tuple(range(8)), claims=claims)
    for arm, value in (("none", 0.9), ("relu_6", 0.8)):
        for seed in sweep.seeds:
            sweep.add_run(arm, seed, test_top1=value + 0.001 * seed * (arm == "none"))
    written = write_report(sweep.directory)
    folder = sweep.directory / "report"
    arms = rows_of((folder / "results.tex").read_text())
    assert arms == [list(written.columns), *map(list, written.rows)]
    header, *verdicts = rows_of((folder / "verdicts.tex").read_text())
    judged = written.verdicts["claims"]
    assert [row[:2] for row in verdicts] == [
        [f"{number}. {claim_title(claim)}", claim["verdict"]]
        for number, claim in enumerate(judged, 1)
    ]
    assert {row[header.index("endpoint")] for row in verdicts} == {"final top-1"}
    assert [row[1] for row in verdicts] == ["supported", "opposite"]
    assert header[-2:] == ["adjusted p", "P(improvement)"]
