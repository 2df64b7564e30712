"""Tables of the report as LaTeX, for papers."""

from xception_jax.errors import printable
from xception_jax.report.tables import Table

_WIDEST = 40  # characters of a cell; a column with longer ones has lines of 5 cm
_ESCAPES = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        **{character: f"{{{character}}}" for character in "[*"},  # `\\[` and `\\*` mean something
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "—": "---",
        "±": r"$\pm$",
        "−": "$-$",
        "×": r"$\times$",
        "≤": r"$\leq$",
        "≥": r"$\geq$",
    }
)


def latex_table(table: Table) -> bytes:
    r"""A table as a `tabular` with the rules of booktabs, to be `\input` in UTF-8."""
    columns = zip(table.numeric, zip(table.columns, *table.rows, strict=True), strict=True)
    lines = [
        r"% Needs \usepackage{booktabs}.",
        rf"\begin{{tabular}}{{{''.join(_alignment(*column) for column in columns)}}}",
        r"\toprule",
        _row(table.columns),
        r"\midrule",
        *map(_row, table.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def _alignment(is_numeric: bool, cells: tuple[str, ...]) -> str:
    return "r" if is_numeric else "p{5cm}" if max(map(len, cells)) > _WIDEST else "l"


def _row(cells: tuple[str, ...]) -> str:
    return rf"{' & '.join(map(_escaped, cells))} \\"


def _escaped(text: str) -> str:
    return " ".join(printable(text, " ").split()).translate(_ESCAPES)
