"""Writes SVG: elements as text, escaped; paths; and drawings as files of their own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import vl_convert

_MOST_PIXELS = 4e6
FONT = "Helvetica, Arial, Liberation Sans, sans-serif"


@dataclass(frozen=True)
class Drawing:
    """The inside of a picture, in pixels.

    Attributes:
        label: what it shows, for those who do not see it.
    """

    width: float
    height: float
    body: str
    label: str


@dataclass(frozen=True)
class Figure:
    """A figure, drawn twice: wide, for a paper and a desktop, and narrow, for a phone.

    Attributes:
        name: file name without suffix.
        title: what it shows, for a heading.
        notes: what a reader has to know of it, one sentence each.
    """

    name: str
    title: str
    notes: tuple[str, ...]
    wide: Drawing
    narrow: Drawing


def element(name: str, *children: str, **attributes: object) -> str:
    """An element; `stroke_width` becomes stroke-width, `class_` class; None leaves one out.

    Args:
        name: of the element.
        children: elements, as this function returns them, and `words`.
        attributes: escaped; numbers are rounded to a hundredth of a pixel.
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(children)
    return f"<{name}{said}>{inside}</{name}>" if inside else f"<{name}{said}/>"


def words(said: str) -> str:
    """Text inside an element, escaped."""
    return escape(said, quote=False)


def _value(value: object) -> str:
    return number(value) if isinstance(value, float) else escape(str(value), quote=True)


def number(value: float) -> str:
    """At most two decimals, and none that are zero."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def line_path(x: Iterable[float], y: Iterable[float]) -> str:
    """The `d` of a path through points, to a tenth of a pixel."""
    return "M" + "L".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def area_path(x: Sequence[float], low: Sequence[float], high: Sequence[float]) -> str:
    """The `d` of a band between two lines."""
    there = line_path(x, high)
    return f"{there}L{line_path(list(reversed(x)), list(reversed(low)))[1:]}Z"


def inline(drawing: Drawing, kind: str) -> str:
    """The drawing as a part of a page, which lends it its font and its ground."""
    return element(
        "svg",
        element("title", words(drawing.label)),
        drawing.body,
        class_=kind,
        viewBox=f"0 0 {number(drawing.width)} {number(drawing.height)}",
        width=float(drawing.width),
        height=float(drawing.height),
        role="img",
        aria_label=drawing.label,
        font_family=FONT,
    )


def standalone(drawing: Drawing) -> str:
    """The drawing as a file: on white, whatever surrounds it."""
    size = {"width": float(drawing.width), "height": float(drawing.height)}
    return element(
        "svg",
        element("title", words(drawing.label)),
        element("rect", **size, fill="#ffffff"),
        drawing.body,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {number(drawing.width)} {number(drawing.height)}",
        **size,
        font_family=FONT,
    )


def export(drawing: Drawing) -> dict[str, bytes]:
    """The drawing as `svg`, as `pdf` with its text as text, and as `png`.

    The image has two pixels a unit, or as many as make four million of it.
    """
    text = standalone(drawing)
    scale = min(2.0, (_MOST_PIXELS / (drawing.width * drawing.height)) ** 0.5)
    return {
        "svg": text.encode(),
        "pdf": bytes(vl_convert.svg_to_pdf(text)),
        "png": bytes(vl_convert.svg_to_png(text, scale=scale)),
    }
