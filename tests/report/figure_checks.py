"""Look-ups in a Matplotlib figure, for the tests of figures."""

from typing import TypeVar

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

A = TypeVar("A", bound=Artist)


def texts(figure: Figure) -> list[str]:
    """Every text that shows, over one line."""
    shown = [text.get_text() for text in figure.findobj(Text) if text.get_visible()]
    return [" ".join(text.split()) for text in shown if text]


def artists(figure: Figure, start: str, kind: type[A]) -> dict[str, A]:
    """The artists whose group id begins with `start`, by that id; each of them is a `kind`."""
    found: dict[str, A] = {}
    for artist in figure.findobj():
        group = artist.get_gid() or ""
        if group.startswith(start):
            assert isinstance(artist, kind)
            assert group not in found
            found[group] = artist
    return found


def outline(band: Collection) -> np.ndarray:
    """Corners of a band, [n, 2]."""
    (path,) = band.get_paths()
    return np.asarray(path.vertices)


def points(line: Line2D) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
