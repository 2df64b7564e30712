"""What the tests of figures look up in a Matplotlib figure."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text


def texts(figure: Figure) -> list[str]:
    """Every text that shows, over one line."""
    shown = [text.get_text() for text in figure.findobj(Text) if text.get_visible()]
    return [" ".join(text.split()) for text in shown if text]


def artists(figure: Figure, start: str) -> dict[str, Artist]:
    """The artists whose group id begins with `start`, by that id."""
    found = [each for each in figure.findobj() if (each.get_gid() or "").startswith(start)]
    ids = [each.get_gid() for each in found]
    assert len(set(ids)) == len(ids)
    return dict(zip(ids, found, strict=True))


def points(line: Artist) -> tuple[np.ndarray, np.ndarray]:
    assert isinstance(line, Line2D)
    return np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
