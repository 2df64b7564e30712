"""Loading of config files, and their resolution to the whole, checked config of a run.

A config file (`configs/*.py`) returns its settings as an `ml_collections.ConfigDict`. `resolve`
lays them over the defaults of `schema.py`, lays `key=value` overrides over both, and checks every
setting by name, type and range before anything heavy is imported. From then on a config is typed.
"""

import ast
import hashlib
import math
import re
import runpy
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from xception_jax.config.fields import Options, assemble
from xception_jax.config.schema import SETTINGS, Config
from xception_jax.errors import InputError, nearest_name
from xception_jax.json_values import parse_json
from xception_jax.regular_files import read_regular

_MOST = 1 << 26  # bytes of a JSON file

_DIGESTS: dict[Path, str] = {}


def files_run() -> dict[Path, str]:
    """The SHA-256 of every config and experiment file that this process has run, by path."""
    return dict(_DIGESTS)


@contextmanager
def _running(path: Path) -> Iterator[None]:
    """Raises any error of the user's own code as an `InputError` of the file it is in."""
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        reason = f"fails with {type(error).__name__}: {error}"
        raise InputError("file", str(path), reason, _nearest_keyword(error)) from error


def _nearest_keyword(error: BaseException) -> str | None:
    """The parameter that was meant by a keyword argument that does not exist; None: another error.

    Functions that the user's file can call are looked up where it called them.
    """
    unexpected = r"(\w+)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'"
    found = re.match(unexpected, str(error))
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    if found is None or at is None:
        return None
    called = {**at.tb_frame.f_globals, **at.tb_frame.f_locals}.get(found[1])
    return nearest_name(found[2], signature(called).parameters) if callable(called) else None


def load_function(path: str | Path, *names: str) -> Callable[..., Any]:
    """Runs the Python file `path` and returns the first of the functions `names` that it defines.

    Its `__name__` is that one, whatever the file's own function is called.

    Raises:
        InputError: the file is missing, fails, or defines none of them; the returned function
            raises it too, if its own code fails.
    """
    path = Path(path)
    with _running(path):
        if not path.is_file():
            siblings = map(str, path.parent.glob("*.py"))
            raise InputError("file", str(path), "no such file", nearest_name(path, siblings))
        _DIGESTS[path.resolve()] = hashlib.sha256(path.read_bytes()).hexdigest()
        namespace = runpy.run_path(str(path))
        defined = [name for name in names if name in namespace]
        if not defined:
            raise InputError("file", str(path), f"does not define {'() or '.join(names)}()")
    function = namespace[defined[0]]

    @wraps(function)
    def call(**arguments: Any) -> Any:
        with _running(path):
            return function(**arguments)

    call.__name__ = defined[0]
    return call


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file that holds an object.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        content = parse_json(read_regular(path, _MOST))
    except FileNotFoundError:
        raise InputError("file", str(path), "no such file") from None
    except (OSError, ValueError) as error:
        raise InputError("file", str(path), f"cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise InputError("file", str(path), "does not hold a JSON object")
    return content


def load_config(path: str | Path) -> dict[str, Any]:
    """The settings that a config file's `get_config()` returns, by dotted name, not checked yet.

    Args:
        path: path of a config file; or of a JSON file that holds the settings, such as a run's
            `config.json`: no code is run then.

    Raises:
        InputError: the file is missing, fails, or returns something else.
    """
    if Path(path).suffix == ".json":
        return flatten(read_json(Path(path)))
    settings = load_function(path, "get_config")()
    if not isinstance(settings, (Mapping, ConfigDict)):
        kind = type(settings).__name__
        raise InputError("file", str(path), f"get_config() returns {kind}, not a ConfigDict")
    try:
        return flatten(settings)
    except RecursionError as error:
        raise InputError("file", str(path), "its settings hold themselves") from error


def parse_override(word: str) -> tuple[str, Any]:
    """The name and value in a word: `"train.epochs=3"` -> `("train.epochs", 3)`.

    A value that is no Python or JSON literal is text.

    Raises:
        InputError: the word has no such form.
    """
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise InputError("override", word, "must have the form key=value")
    literals = {"true": True, "false": False, "null": None, "nan": math.nan, "inf": math.inf}
    if text.lower() in literals:
        return key, literals[text.lower()]
    try:
        with warnings.catch_warnings(action="ignore"):  # of Python, of escapes in text
            return key, ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return key, text


def flatten(settings: Mapping[str, Any] | ConfigDict | Config, prefix: str = "") -> dict[str, Any]:
    """Settings by dotted name: `{"a": {"b": 1}}` -> `{"a.b": 1}`.

    A mapping that is the value of a setting, such as `optimizer.options`, is kept as it is.

    Args:
        settings: nested or dotted settings, or a config.
        prefix: start of the dotted names.
    """
    if isinstance(settings, Config):
        return settings.flat()
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, (Mapping, ConfigDict)) and name not in SETTINGS:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def resolve(
    *layers: Mapping[str, Any] | ConfigDict | Config, overrides: Iterable[str] = ()
) -> Config:
    """The whole checked config: the defaults, each layer over them, then `key=value` words.

    Args:
        layers: nested (`{"model": {"order": …}}`) or dotted (`{"model.order": …}`) settings, or a
            config; later ones win.
        overrides: words of the command line, such as `model.order=pointwise_first`.

    Raises:
        InputError: a field does not exist, or a value is not valid for it.
    """
    values: dict[str, Any] = {}
    for layer in (*layers, *(dict([parse_override(word)]) for word in overrides)):
        for name, value in flatten(layer).items():
            group, _, argument = name.rpartition(".")
            if name in SETTINGS:
                values[name] = SETTINGS[name].check(name, value)
            elif isinstance(_default(group), Options):
                given = dict(values.get(group, ())) | {argument: value}
                values[group] = SETTINGS[group].check(group, given)
            else:
                raise InputError(name, None, "unknown field", nearest_name(name, SETTINGS))
    config: Config = assemble(Config, values)
    return config


def _default(name: str) -> Any:
    return SETTINGS[name].default if name in SETTINGS else None
