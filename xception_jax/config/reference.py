"""The reference page of all settings, generated from their definitions.

`python -m xception_jax.config.reference > docs/settings.md` writes the page.
"""

import sys
from collections.abc import Iterator
from typing import Any

from xception_jax.config.fields import plain
from xception_jax.config.schema import SETTINGS

_IN_IDENTITY = {True: "yes", False: "", "unless_default": "yes, unless default"}
_IN_PACK = {"equal": "", "free": "yes", "free_above_zero": "yes, all zero or none"}
_HEADINGS = ("setting", "default", "values", "meaning", "in the run id", "may differ in a pack")


def shown(value: Any) -> str:
    """The value of a setting as a word of the command line: `true`, `null`, `0.9`, `[8,8]`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(plain(value)).replace(" ", "")


def reference_page() -> str:
    """The page of all settings in Markdown, with a table for each group."""
    lines = [
        "# Settings",
        "",
        "Every setting of a run, made from its definition in `xception_jax/config` by",
        "`python -m xception_jax.config.reference`. A config file sets what differs from the",
        "defaults; a `key=value` word of a command, such as `train.epochs=2`, overrides both.",
    ]
    return "\n".join([*lines, *_tables()]) + "\n"


def _tables() -> Iterator[str]:
    group = None
    for setting in SETTINGS.values():
        prefix = setting.name.rpartition(".")[0]
        if prefix != group:
            group = prefix
            yield from (
                "",
                f"## {group or 'seed'}",
                "",
                _row(_HEADINGS),
                _row("---" for _ in _HEADINGS),
            )
        identity = _IN_IDENTITY[setting.identity]
        yield _row(
            (
                f"`{setting.name}`",
                f"`{shown(setting.default)}`",
                setting.valid,
                setting.help,
                identity,
                _IN_PACK[setting.in_pack],
            )
        )


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.stdout.write(reference_page())
