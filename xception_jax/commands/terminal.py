"""Consoles that print anything to anyone: foreign names, other encodings, readers that left.

Names of arms and classes, reasons and paths may come from somebody else's files. No character of
them may command the terminal. A terminal without UTF-8 gets plain letters for what it cannot show.
"""

import codecs
import errno
import os
import sys
from collections.abc import Iterable
from io import TextIOWrapper
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from xception_jax.errors import printable

_PLAIN = "plain letters"
_LETTERS = {
    "±": "+-", "×": "x", "−": "-", "–": "-", "—": "-", "→": "->", "≤": "<=", "≥": ">=",
    "≈": "~", "…": "...", "·": "*", "’": "'", "“": '"', "”": '"', "µ": "u", "μ": "u", "α": "alpha",
}  # fmt: skip

# What the system says of a terminal that was closed, or cut off with ssh; of a pipe Rich knows it.
_GONE = (errno.EIO, errno.ENXIO, errno.EBADF)


def _in_plain_letters(error: UnicodeError) -> tuple[str, int]:
    """The error handler of an encoding: what it lacks becomes plain letters, or a question mark."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(_LETTERS.get(letter, "?") for letter in lacking), error.end


codecs.register_error(_PLAIN, _in_plain_letters)


def open_standard_streams() -> None:
    """Opens /dev/null for each standard stream that the process was started without.

    Its number would otherwise go to the next file that is opened, and whatever is printed into it.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number


class SafeConsole(Console):
    """A console that prints no foreign control character, and goes on when its reader is gone.

    Training must not end because `| head` has seen enough, or because a terminal was closed.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Renders as Rich does; text is cleaned, Rich's own control codes are kept."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                lines = map(printable, segment.text.split("\n"))
                yield Segment("\n".join(lines), segment.style)

    def __exit__(self, *raised: Any) -> None:
        """Writes what has been printed; every way to print ends here."""
        try:
            super().__exit__(*raised)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """Prints nothing from now on."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def open_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """A console on standard output or standard error; one on a closed stream prints nothing."""
    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors=_PLAIN)
    # No markup and no emoji: brackets and colons in the printed text are part of it. In a file or a
    # pipe no line is cut: a table there is as wide as its content.
    width = None if stream is not None and stream.isatty() else 10_000
    return SafeConsole(
        stderr=stderr,
        quiet=quiet or stream is None,
        width=width,
        soft_wrap=True,
        markup=False,
        emoji=False,
        highlight=False,
    )
