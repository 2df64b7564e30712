"""Objects in a store by their names relative to a URL, and data sets that are fetched from one.

This is the one module that imports fsspec, and it does so only for a URL. A URL may come as a
`Path`, which turns `s3://bucket` into `s3:/bucket`; no command needs to know.
"""

import hashlib
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from xception_jax.cache import FETCHED, cache_directory
from xception_jax.checksums import digest
from xception_jax.errors import InputError, nearest_name, refused, require_no_password
from xception_jax.lock import locked

_SCHEMES = ("gs", "gcs", "s3", "s3a", "abfs", "az", "memory", "file")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/+(.*)", re.DOTALL)
_EXTRAS = {"gs": "gcs", "gcs": "gcs", "s3": "s3", "s3a": "s3"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONCURRENT_TRANSFERS = 16  # most objects are small


def url_of(location: Path | str) -> str | None:
    """The URL that `location` is; None: it is a directory of this machine.

    Raises:
        InputError: the URL has a scheme that is not supported, or is none of a directory.
    """
    match = _URL.fullmatch(str(location))
    if match is None:
        return None
    require_no_password("directory", match[0])
    scheme, rest = match.groups()
    if scheme not in _SCHEMES:  # as a directory of this machine it would be mirrored nowhere
        nearest = nearest_name(scheme, _SCHEMES)
        schemes = ", ".join(f"{known}://" for known in _SCHEMES)
        hint = None if nearest is None else f"{nearest}://{rest}"
        raise InputError("directory", match[0], f"must begin with one of {schemes}", hint)
    if not rest:
        raise InputError("directory", match[0], "is no URL of a directory: it names none")
    if ".." in rest.split("/"):  # as a directory of this machine it would be another one
        raise InputError("directory", match[0], "is no URL of a directory: it holds '..'")
    return f"{scheme}://{'/' if scheme == 'file' else ''}{rest.rstrip('/')}"


def as_typed(location: Path | str) -> str:
    """The location as messages and commands name it: its URL, or its path on this machine."""
    return url_of(location) or str(location)


def require_local(field: str, location: Path | str, reason: str) -> None:
    """Raises `InputError` if `location` is in an object store."""
    if (url := url_of(location)) is not None:
        raise InputError(field, url, reason)


class Store:
    """The objects under a URL, by their names relative to it.

    Every method may raise any exception of the store's driver.

    Args:
        url: the URL, with its scheme.

    Raises:
        InputError: the driver is not installed, or the URL is not valid.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = url
        try:
            self._filesystem, root = fsspec.core.url_to_fs(
                url, use_listings_cache=False, skip_instance_cache=True
            )
        except ImportError as error:
            scheme = url.partition("://")[0]
            extra = _EXTRAS.get(scheme)
            hint = f"pip install 'xception-jax[{extra}]'" if extra else str(error)
            reason = f"needs a driver for {scheme}:// that is not installed: {hint}"
            raise InputError("directory", url, reason) from error
        except ValueError as error:
            raise InputError("directory", url, f"is no URL of a directory: {error}") from error
        self._root = root.rstrip("/")
        self._is_local = "file" in self._filesystem.protocol
        if self._is_local:
            self._filesystem.auto_mkdir = True

    def sizes(self) -> dict[str, int]:
        """The size in bytes of every object, by name.

        Raises:
            InputError: a name is unsafe to use as that of a file.
        """
        try:
            entries = self._filesystem.find(self._root, detail=True)
        except FileNotFoundError:
            return {}
        sizes = {path[len(self._root) + 1 :]: entry["size"] for path, entry in entries.items()}
        # Consoles stand in for empty folders by objects whose names end with a slash.
        sizes = {name: size for name, size in sizes.items() if name and not name.endswith("/")}
        for name in sizes:
            self._require_safe(name)
        return sizes

    def read(self, name: str) -> bytes:
        """The content of an object."""
        content: bytes = self._filesystem.cat_file(self._path(name))
        return content

    def write(self, name: str, content: bytes) -> None:
        """Creates or replaces an object: whole, or not at all."""
        with self._whole(name) as target:
            self._filesystem.pipe_file(target, content)

    def get(self, names: Iterable[str], directory: Path) -> None:
        """Copies objects to files of the same names.

        Raises:
            InputError: a name is not that of a file inside `directory` once links are resolved.
        """
        names = list(names)
        root = directory.resolve()
        for name in names:
            self._require_safe(name)
            if not (root / name).resolve().is_relative_to(root):
                raise self._leads_out(name)
        with ThreadPoolExecutor(_CONCURRENT_TRANSFERS) as pool:
            list(pool.map(lambda name: self._get(name, directory / name), names))

    def put(self, names: Iterable[str], directory: Path) -> None:
        """Copies files to objects of the same names, each created whole or not at all."""
        with ThreadPoolExecutor(_CONCURRENT_TRANSFERS) as pool:
            list(pool.map(lambda name: self._put(name, directory / name), names))

    def delete(self, names: Iterable[str]) -> None:
        """Deletes objects; names of objects that do not exist are ignored."""
        for name in names:
            if self._filesystem.exists(self._path(name)):
                self._filesystem.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _get(self, name: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._filesystem.get_file(self._path(name), str(path))

    def _put(self, name: str, path: Path) -> None:
        with self._whole(name) as target:
            self._filesystem.put_file(str(path), target)

    @contextmanager
    def _whole(self, name: str) -> Iterator[str]:
        """The path to write an object to, such that nobody reads a part of it."""
        path = self._path(name)
        if not self._is_local:  # stores do that by themselves
            yield path
            return
        yield f"{path}.partial"
        self._filesystem.mv(f"{path}.partial", path)

    def _require_safe(self, name: str) -> None:
        """Raises `InputError` unless a name is relative, stays inside and can be printed.

        Whoever can write to a store chooses its names. Of two slashes in a row the second would
        begin an absolute path, and control characters would reach the terminal. Unusual spaces are
        fine: macOS puts them into the names of images.
        """
        if not {"", ".", ".."}.isdisjoint(name.split("/")):
            raise self._leads_out(name)
        if _CONTROL.search(name):
            reason = f"holds a name with control characters: {name!a}"
            raise InputError("directory", self.url, reason)

    def _leads_out(self, name: str) -> InputError:
        shown = ascii(name) if _CONTROL.search(name) else name
        return InputError("directory", self.url, f"holds a name that leads out of it: {shown}")


def kept_for(url: str, directory: Path) -> Path:
    """The directory below another one that is kept for a URL."""
    digest = hashlib.sha256(url.encode()).hexdigest()[:16]
    return directory / digest / (PurePosixPath(url).name or "store")


def fetched(field: str, url: str) -> Path:
    """A copy on this machine of a data set in a store.

    There is one copy for all names and sizes of files that the store has had: what is there does
    not change under a run that reads it. Of processes that start at once the first one fetches, and
    the others wait.

    Args:
        field: the setting that holds the URL, for error messages.
        url: the URL, also as text of a `Path`.

    Raises:
        InputError: the store cannot be read, has nothing at the URL, or changes meanwhile.
    """
    url = str(url_of(url))
    with refused(field, url, "cannot be read"):
        store = Store(url)
        sizes = store.sizes()
        if not sizes:
            raise InputError(field, url, "there is nothing")
        directory = kept_for(url, cache_directory() / FETCHED / digest(sizes)[:16])
        if _missing(sizes, directory):
            with locked(directory.parent, field=field, wait=True):
                _fetch(store, _missing(sizes, directory), directory)
                if _missing(sizes, directory):
                    raise InputError(field, url, "changed while it was fetched; start again")
    return directory


def _missing(sizes: Mapping[str, int], directory: Path) -> list[str]:
    return [name for name, size in sizes.items() if _size(directory / name) != size]


def _fetch(store: Store, names: Sequence[str], directory: Path) -> None:
    """Copies objects to files, each of which appears when it is whole."""
    partial = directory.with_name(f"{directory.name}.partial")
    store.get(names, partial)
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (partial / name).replace(directory / name)
    shutil.rmtree(partial, ignore_errors=True)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
