"""Writes figures as SVG, PDF and PNG, and as SVG that is a part of a page."""

import io
import re
import warnings
from collections.abc import Callable
from xml.etree import ElementTree

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from xception_jax.report.arm_styles import CSS_VARIABLES
from xception_jax.report.canvas import house_style

_MOST_PIXELS = 4e6
_SHAPE_OR_TEXT = re.compile(rb"<(?:path|text|use) [^>]*>")
_DECIMALS = re.compile(rb"(\.\d\d)\d+")
_IDLE = re.compile(rb'\n *<g id="line2d_\d+"/>| transform="rotate\(-0 [^"]*\)"|(?<=\n) +(?=<)')
_NAMESPACE = re.compile(r"\{[^}]*\}")
_REFERENCE = re.compile(r"#([\w.-]+)")
# Neither the date nor the version of what drew it: the same figure is the same file.
_CANVASES: dict[str, Callable[[Figure, io.BytesIO], None]] = {
    "svg": lambda figure, file: FigureCanvasSVG(figure).print_svg(
        file, metadata={"Date": None, "Creator": None}
    ),
    "pdf": lambda figure, file: FigureCanvasPdf(figure).print_pdf(
        file, metadata={"CreationDate": None, "Creator": None, "Producer": None}
    ),
    "png": lambda figure, file: FigureCanvasAgg(figure).print_png(
        file, metadata={"Software": None}
    ),
}


def export(figure: Figure) -> dict[str, bytes]:
    """The figure as `svg` and `pdf`, with its text as text, and as `png`.

    The image has 300 dots an inch, or as many as make four million of it.
    """
    return _save(figure, "svg", "pdf", "png")


def export_svg(figure: Figure) -> bytes:
    """The figure as SVG alone."""
    return _save(figure, "svg")["svg"]


def _save(figure: Figure, *kinds: str) -> dict[str, bytes]:
    width, height = figure.get_size_inches()
    dpi, engine = figure.dpi, figure.get_layout_engine()
    contents = {}
    with house_style(), warnings.catch_warnings():
        # A name in a script that DejaVu does not have shows as boxes, which needs no warning on
        # the terminal of someone who asked for a report; the SVG has the name itself.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        # Laid out once, and drawn once a file: savefig would do both again for every one.
        if engine is not None:
            engine.execute(figure)
        figure.set_layout_engine("none")
        for kind in kinds:
            buffer = io.BytesIO()
            figure.set_dpi(min(300.0, (_MOST_PIXELS / (width * height)) ** 0.5))
            _CANVASES[kind](figure, buffer)
            drawn = buffer.getvalue()
            contents[kind] = _compact(drawn) if kind == "svg" else drawn
        figure.set_dpi(dpi)
        figure.set_layout_engine(engine)
    return contents


def _compact(svg: bytes) -> bytes:
    """The same drawing in fewer bytes.

    Positions keep a hundredth of a point; empty groups, turns by nothing and indentation go.
    """
    return _IDLE.sub(b"", _SHAPE_OR_TEXT.sub(lambda tag: _DECIMALS.sub(rb"\1", tag[0]), svg))


def tooltips(figure: Figure) -> dict[str, str]:
    """The label of every artist that has a label and a group id, by that id."""
    return {
        gid: label
        for artist in figure.findobj()
        if (gid := artist.get_gid())
        and (label := str(artist.get_label() or ""))
        and not label.startswith("_")
    }


def inline_svg(svg: bytes, *, name: str, label: str, layout: str, titles: dict[str, str]) -> str:
    """Matplotlib's SVG as a part of a page, which lends it its font, its ground and its colors.

    Styles become attributes, since the page's security policy allows no inline styles; colors
    become the page's variables; group ids that name arms become classes, and all other ids that
    nothing refers to go, so that no two figures of a page share one.

    Args:
        svg: as `export` makes it.
        name: name of the figure.
        label: what the figure shows, for those who do not see it.
        layout: class of the element: `wide` or `narrow`.
        titles: tooltips, by group id.
    """
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            kind = _NAMESPACE.sub("", child.tag)
            if kind in ("metadata", "style") or child.get("id") == "patch_1":
                parent.remove(child)  # patch_1 is the white ground
    referred = set(_REFERENCE.findall(" ".join(_references(root))))
    prefix = f"{name}-{layout}-"
    for element in root.iter():
        element.tag = _NAMESPACE.sub("", element.tag)
        for key, value in list(element.attrib.items()):
            del element.attrib[key]
            if key == "style":
                element.attrib.update(_attributes(value))
            else:
                plain = _NAMESPACE.sub("", key)
                element.set(plain, _REFERENCE.sub(rf"#{prefix}\1", value))
        _identify(element, referred, prefix, titles)
    root.attrib = {"viewBox": root.attrib["viewBox"], "class": layout, "role": "img"}
    root.set("aria-label", label)
    return ElementTree.tostring(root, encoding="unicode")


def _references(root: ElementTree.Element) -> list[str]:
    return [
        value
        for element in root.iter()
        for key, value in element.attrib.items()
        if key.endswith("href") or "url(" in value
    ]


def _attributes(style: str) -> dict[str, str]:
    """`fill: #1a1a1a; font: 8px 'DejaVu Sans'` as attributes, the font's family left out."""
    attributes: dict[str, str] = {}
    for declaration in filter(None, map(str.strip, style.split(";"))):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key == "font":
            size = re.search(r"([\d.]+)px", value)
            attributes |= {"font-size": size[1]} if size else {}
            attributes |= {"font-weight": "600"} if re.search(r"bold|[67]00", value) else {}
        elif key != "white-space":
            color = CSS_VARIABLES.get(value.lower())
            attributes[key] = f"var({color})" if color else value
    return attributes


def _identify(
    element: ElementTree.Element, referred: set[str], prefix: str, titles: dict[str, str]
) -> None:
    """Puts classes and a tooltip in the place of a group id."""
    identity = element.attrib.pop("id", "")
    if identity in referred:
        element.set("id", prefix + identity)
    if arms := re.findall(r"arm-(\d+)", identity):
        element.set("class", " ".join(["arm", *(f"a{arm}" for arm in arms)]))
    if identity in titles:
        title = ElementTree.Element("title")
        title.text = titles[identity]
        element.insert(0, title)
