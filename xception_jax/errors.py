"""`InputError`, the error for input that the user can correct, and the exit codes of the CLI."""

import difflib
import errno
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

# Exit codes of a process. 75 is EX_TEMPFAIL: a scheduler may start the same command again.
DONE, FAILED, INVALID, STUCK, LOST_PEER, INTERRUPTED = 0, 1, 2, 70, 71, 75

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a full disk: nothing is wrong with what the user said, and later there may be space."""

# In URLs: a Path has one slash where its URL had two, and keys of AWS have slashes; a number before
# a slash is a port. And assignments, such as those in options of sbatch.
_PASSWORD = re.compile(
    r"\w:/{1,2}[^/\s:@]*:(?!\d{1,5}/)[^\s@]*@"
    r"|[A-Z_]*(?:SECRET|TOKEN|PASSWORD|API_KEY|ACCESS_KEY)[A-Z_]*=[^\s,'\"]"
)


class InputError(ValueError):
    """Invalid input that the user can correct: a config value, an argument or a file.

    The message is one line that names the field, the value and, if there is one, the nearest valid
    value. The command line prints it on standard error and exits with code 2. It is a ValueError,
    which is what callers of a library expect of a wrong value.
    """

    def __init__(self, field: str, value: object, reason: str, nearest: object = None) -> None:
        self.field, self.value, self.reason, self.nearest = field, value, reason, nearest
        assignment = "" if value is None else f"={shortened(_shown(value))}"
        hint = "" if nearest is None else f"; nearest valid value: {nearest!r}"
        line = f"{shortened(field)}{assignment}: {shortened(reason, 6000)}{hint}"
        super().__init__(" ".join(line.split()))


def _shown(value: object) -> str:
    """The value as Python writes it, also where it has too many digits for that."""
    try:
        return repr(value)
    except ValueError:
        return "a number of thousands of digits"


def shortened(text: str, most: int = 300) -> str:
    """The text with its middle left out where it has more characters than `most`."""
    if len(text) <= most:
        return text
    return f"{text[: most * 2 // 3]} ... {text[-most // 3 :]}"


def printable(text: str, other: str = "\ufffd") -> str:
    """The text with `other` for each character that could command a terminal, line ends too."""
    return "".join(character if character.isprintable() else other for character in text)


def one_line(error: BaseException) -> str:
    """Returns the type and message of an exception as one line of at most 300 characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


@contextmanager
def refused(field: str, value: object, reason: str) -> Iterator[None]:
    """Turns any exception raised inside it, as by a reader of files, into an `InputError`.

    Raises:
        InputError: with the type and message of the exception.
        OSError: the disk is full.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            raise
        raise InputError(field, value, f"{reason} ({one_line(error)})") from error


def require_no_password(field: str, text: str) -> None:
    """Raises `InputError` for a key or password in a URL or an assignment, without repeating it.

    Configs, commands and pages are recorded and shared with all that stands in them.
    """
    if _PASSWORD.search(text):
        reason = (
            "it holds a key or password, which records and pages would show: give it in the "
            "environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
        raise InputError(field, None, reason)


def last_words(text: str) -> None:
    """Writes one line on standard error at once, from any thread: the process is about to end.

    No character of it commands the terminal, whatever names stand in it.
    """
    line = " ".join(printable(text, " ").split())
    try:
        descriptor = sys.stderr.fileno()  # not always 2: see `commands.library_output`
    except (AttributeError, OSError, ValueError):
        descriptor = 2
    with suppress(OSError):
        os.write(descriptor, f"{line}\n".encode(errors="replace"))


def nearest_name(name: object, choices: Iterable[str]) -> str | None:
    """Returns the choice spelled most like `name`, in whatever case; None if none is similar."""
    text = name if isinstance(name, str) else _shown(name)
    by_spelling = {choice.casefold(): choice for choice in choices}
    matches = difflib.get_close_matches(text.casefold(), by_spelling, n=1, cutoff=0.5)
    return by_spelling[matches[0]] if matches else None


def require_choice(field: str, value: object, choices: Iterable[str]) -> None:
    """Raises `InputError` unless `value` is one of `choices`."""
    choices = list(choices)
    if value not in choices:
        nearest = nearest_name(value, choices)
        raise InputError(field, value, f"must be one of {', '.join(choices)}", nearest)
