"""How arms are drawn: a color, a dash pattern and a marker each, the same in figures and tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Okabe and Ito's colors, as in style.mplstyle; and the same hues, lighter, for a dark ground.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#e69f00", "#56b4e9")
DARK_COLORS = ("#4fa8e8", "#f58a4b", "#2fc59a", "#e6a3cb", "#e8e6e1", "#f7bc4a", "#8ed0f5")
# Dashes, in widths of the line, and markers tell arms apart in gray print.
DASHES = ((), (3.2, 1.4), (1, 1), (4, 1.3, 1, 1.3), (2.4, 1, 0.6, 1, 0.6, 1))
MARKERS = ("o", "s", "^", "D", "v", "P")
INK, QUIET, GRID, GROUND = "#1a1a1a", "#6b6b6b", "#e6e6e6", "#ffffff"

CSS_VARIABLES = {
    **{color: f"--color-{index}" for index, color in enumerate(COLORS)},
    **{INK: "--ink", QUIET: "--quiet", GRID: "--grid", GROUND: "--ground"},
}
"""The page's name of every color that a figure uses: the page gives it another in the dark."""


@dataclass(frozen=True)
class ArmStyle:
    """How one arm is drawn."""

    index: int
    color: str
    dashes: tuple[float, ...]
    marker: str

    @property
    def linestyle(self) -> Any:
        """The dash pattern as Matplotlib takes it."""
        return (0.0, self.dashes) if self.dashes else "-"

    @property
    def gid(self) -> str:
        """Part of the group id of every artist that belongs to the arm; the page selects by it."""
        return f"arm-{self.index}"


def arm_styles(arms: Sequence[str]) -> dict[str, ArmStyle]:
    """The style of every arm; no two of the first 35 arms are drawn alike."""
    return {
        arm: ArmStyle(
            index,
            COLORS[index % len(COLORS)],
            DASHES[(index + index // len(COLORS)) % len(DASHES)],
            MARKERS[(index + index // len(COLORS)) % len(MARKERS)],
        )
        for index, arm in enumerate(arms)
    }
