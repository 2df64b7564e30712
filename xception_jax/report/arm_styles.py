"""How figures look: the arms' colors, the frame of a panel, and labels for the arms.

Whatever belongs to an arm lies in a group with the classes `arm` and `a<index>`: by them the page
selects arms, and by `c<index>` it gives them the colors that are light enough for a dark ground.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from xception_jax.report.axes import format_tick, spread_labels, ticks
from xception_jax.report.export import element, words

# Okabe and Ito's colors, which stay apart for color-blind eyes, without the yellow, which does
# not show on white. The dashes and the shapes tell arms apart in gray print.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
DASHES = ((1, 0), (7, 3), (2, 2), (9, 3, 2, 3), (5, 2, 1, 2, 1, 2))
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
INK, QUIET, GRID = "#1a1a1a", "#6b6b6b", "#e6e6e6"
WIDE, NARROW = 880, 360
"""Pixels that a figure is wide for a desktop, and for a phone."""
CHARACTER = 6.7
"""Pixels that a character of 12.5 pixels takes at most on average (Helvetica, lower case)."""


@dataclass(frozen=True)
class Style:
    """How one arm is drawn; the page's tables show the same."""

    index: int
    color: str
    dash: tuple[int, ...]
    shape: str

    @property
    def classes(self) -> str:
        """Of every group that belongs to the arm."""
        return f"arm a{self.index} c{self.index % len(COLORS)}"

    @property
    def dasharray(self) -> str | None:
        """The dashes, or None for a solid line."""
        return " ".join(map(str, self.dash)) if self.dash[1] else None


def arm_styles(arms: Sequence[str]) -> dict[str, Style]:
    """Color, dash and marker of every arm; no two of the first 35 arms are drawn alike."""
    return {
        arm: Style(
            index,
            COLORS[index % len(COLORS)],
            DASHES[(index + index // len(COLORS)) % len(DASHES)],
            SHAPES[(index + index // len(COLORS)) % len(SHAPES)],
        )
        for index, arm in enumerate(arms)
    }


@dataclass(frozen=True)
class Panel:
    """A rectangle of the drawing, and the values at its edges."""

    left: float
    top: float
    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]

    def at_x(self, value: float) -> float:
        """The pixel of a value."""
        return self.left + (value - self.x[0]) / (self.x[1] - self.x[0]) * self.width

    def at_y(self, value: float) -> float:
        """The pixel of a value."""
        return self.top + (self.y[1] - value) / (self.y[1] - self.y[0]) * self.height

    @property
    def right(self) -> float:
        """The pixel where the panel ends."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """The pixel where the panel ends."""
        return self.top + self.height


def text(said: str, x: float, y: float, *, size: float = 12.0, **attributes: object) -> str:
    """A line of text in ink; `anchor` and `fill` as in SVG."""
    anchor = attributes.pop("anchor", None)
    looks = {"fill": INK, "class_": "ink", **attributes}
    return element("text", words(said), x=x, y=y, font_size=size, text_anchor=anchor, **looks)


def rule(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> str:
    """A thin straight line."""
    looks = {"stroke": QUIET, "class_": "axis", **attributes}
    return element("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), **looks)


def frame(
    panel: Panel, *, x_title: str, y_title: str | None, x_ticks: int = 7, y_ticks: int = 6
) -> str:
    """Axes, ticks, grid and titles of a panel; no ticks: its height means nothing."""
    parts = []
    at = ticks(*panel.y, y_ticks) if y_ticks else []
    for value, said in zip(at, format_tick(at), strict=True):
        y = panel.at_y(value)
        parts.append(rule(panel.left, y, panel.right, y, stroke=GRID, class_="grid"))
        parts.append(text(said, panel.left - 7, y + 4, anchor="end"))
    at = ticks(*panel.x, x_ticks)
    for value, said in zip(at, format_tick(at), strict=True):
        x = panel.at_x(value)
        parts.append(rule(x, panel.bottom, x, panel.bottom + 4))
        parts.append(text(said, x, panel.bottom + 18, anchor="middle"))
    parts.append(rule(panel.left, panel.bottom, panel.right, panel.bottom))
    middle = panel.left + panel.width / 2
    parts.append(text(x_title, middle, panel.bottom + 38, size=13.0, anchor="middle"))
    if y_title:
        x, y = panel.left - 48, panel.top + panel.height / 2
        turned = f"translate({x:.1f},{y:.1f}) rotate(-90)"
        parts.append(text(y_title, 0.0, 0.0, size=13.0, anchor="middle", transform=turned))
    return "".join(parts)


def marker(shape: str, x: float, y: float, radius: float = 3.6, **attributes: object) -> str:
    """A filled mark in the arm's color."""
    looks = {"fill": "currentColor", **attributes}
    if shape == "circle":
        return element("circle", cx=x, cy=y, r=radius, **looks)
    outlines: Mapping[str, Sequence[tuple[float, float]]] = {
        "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        "triangle-up": ((0, -1.2), (1.1, 0.8), (-1.1, 0.8)),
        "triangle-down": ((0, 1.2), (1.1, -0.8), (-1.1, -0.8)),
        "diamond": ((0, -1.3), (1.1, 0), (0, 1.3), (-1.1, 0)),
        "cross": (
            (-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4),
            (0.4, 1.2), (-0.4, 1.2), (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4),
        ),
    }  # fmt: skip
    points = " ".join(f"{x + radius * a:.1f},{y + radius * b:.1f}" for a, b in outlines[shape])
    return element("polygon", points=points, **looks)


def swatch(style: Style, x: float, y: float) -> str:
    """A piece of the arm's line with its marker, 28 pixels long."""
    piece = element(
        "line", x1=x, y1=y, x2=x + 28, y2=y, stroke="currentColor", stroke_width=2.2,
        stroke_dasharray=style.dasharray,
    )  # fmt: skip
    return piece + marker(style.shape, x + 14, y)


def arm_group(style: Style, *children: str, **attributes: object) -> str:
    """What belongs to an arm; `currentColor` in it is the arm's."""
    return element("g", *children, class_=style.classes, color=style.color, **attributes)


def shorten(name: str, most: int) -> str:
    """A long name, cut in the middle."""
    half = most // 2 - 1
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"


def labels_beside(
    panel: Panel,
    labels: Mapping[str, str],
    ends: Mapping[str, float],
    styles: Mapping[str, Style],
    *,
    leaders: bool = True,
) -> str:
    """Labels to the right of a panel, each at the pixel where its arm's line ends, moved apart.

    Thin lines lead from these ends to the labels, unless `leaders` is false.
    """
    wanted = [min(max(ends[arm], panel.top), panel.bottom) for arm in labels]
    placed = spread_labels(wanted, gap=18, low=panel.top + 4, high=panel.bottom - 4)
    left = panel.right + 22
    parts = []
    for (arm, said), start, y in zip(labels.items(), wanted, placed, strict=True):
        leader = rule(panel.right + 3, start, left - 3, y, stroke="#b5b5b5", class_="leader")
        word = text(said, left + 35, y + 4, size=12.5)
        parts.append(arm_group(styles[arm], leader * leaders, swatch(styles[arm], left, y), word))
    return "".join(parts)


def label_width(labels: Iterable[str]) -> float:
    """Pixels that `labels_beside` takes at the right of a panel."""
    return 22 + 35 + CHARACTER * max(map(len, labels), default=0) + 6


def labels_below(
    left: float, top: float, width: float, labels: Mapping[str, str], styles: Mapping[str, Style]
) -> tuple[str, float]:
    """Labels in rows that fill `width`; and the pixels that the rows are high."""
    parts, x, y = [], left, top
    for arm, said in labels.items():
        needed = 35 + CHARACTER * len(said) + 18
        if x > left and x + needed > left + width:
            x, y = left, y + 20
        word = text(said, x + 35, y + 4, size=12.5)
        parts.append(arm_group(styles[arm], swatch(styles[arm], x, y), word))
        x += needed
    return "".join(parts), y - top + 20


def polylines(panel: Panel, lines: Sequence[Sequence[tuple[float, float]]]) -> list[str]:
    """The paths' `d` of lines given as (x, value) points."""
    return [
        "M" + "L".join(f"{panel.at_x(x):.1f},{panel.at_y(y):.1f}" for x, y in line)
        for line in lines
    ]


def zero_line(panel: Panel, *, vertical: bool = False) -> str:
    """The line of no difference."""
    looks = {"stroke": INK, "stroke_width": 1.2, "class_": "zero"}
    if vertical:
        x = panel.at_x(0)
        return rule(x, panel.top, x, panel.bottom, **looks)
    return rule(panel.left, panel.at_y(0), panel.right, panel.at_y(0), **looks)
