"""Objects by name under a URL. The one module that imports fsspec, and only where there is a URL.

A URL may come as a `Path`, which has made `s3:/bucket` of `s3://bucket`: no command needs to know.
"""

import hashlib
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from xception_jax.cache import cache_directory
from xception_jax.errors import InputError, refused

_URL = re.compile(r"(gs|gcs|s3|s3a|abfs|az|memory|file):/+(.+)", re.DOTALL)
_EXTRAS = {"gs": "gcs", "gcs": "gcs", "s3": "s3", "s3a": "s3"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_AT_A_TIME = 16  # transfers; most objects are small


def url_of(place: Path | str) -> str | None:
    """The URL that `place` is; None: it is a directory of this machine."""
    match = _URL.fullmatch(str(place))
    if match is None:
        return None
    scheme, rest = match.groups()
    return f"{scheme}://{'/' if scheme == 'file' else ''}{rest.rstrip('/')}"


def require_local(field: str, place: Path | str, reason: str) -> None:
    """Raises `InputError` where `place` is in an object store."""
    if (url := url_of(place)) is not None:
        raise InputError(field, url, reason)


class Store:
    """The objects under a URL, by their names relative to it.

    Every method raises what the store's driver raises, of any kind.

    Args:
        url: with a scheme.

    Raises:
        InputError: the driver is not installed, or the URL is none.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = url
        try:
            self._files, root = fsspec.core.url_to_fs(
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
        self._has_folders = "file" in self._files.protocol

    def sizes(self) -> dict[str, int]:
        """Of every object, by name."""
        try:
            found = self._files.find(self._root, detail=True)
        except FileNotFoundError:
            return {}
        names = {path[len(self._root) + 1 :]: about["size"] for path, about in found.items()}
        # Consoles stand in for empty folders by objects whose names end with a slash.
        names = {name: size for name, size in names.items() if name and not name.endswith("/")}
        for name in names:
            self._require_safe(name)
        return names

    def read(self, name: str) -> bytes:
        """An object's content."""
        content: bytes = self._files.cat_file(f"{self._root}/{name}")
        return content

    def write(self, name: str, content: bytes) -> None:
        """Makes or replaces an object: whole, or not at all."""
        path = f"{self._root}/{name}"
        if not self._has_folders:
            self._files.pipe_file(path, content)
            return
        self._make_parent(name)
        self._files.pipe_file(f"{path}.partial", content)
        self._files.mv(f"{path}.partial", path)

    def get(self, names: Iterable[str], directory: Path) -> None:
        """Copies objects to files of the same names.

        Raises:
            InputError: a name is not of a file inside `directory`, be it through a link.
        """
        names = list(names)
        root = directory.resolve()
        for name in names:
            self._require_safe(name)
            if not (root / name).resolve().is_relative_to(root):
                raise self._leads_out(name)
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            list(pool.map(lambda name: self._get(name, directory / name), names))

    def put(self, names: Iterable[str], directory: Path) -> list[str]:
        """Copies files to objects of the same names; those that were still there."""
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            sent = pool.map(lambda name: name if self._put(name, directory / name) else "", names)
            return list(filter(None, sent))

    def delete(self, names: Iterable[str]) -> None:
        """Removes objects; it does not matter whether they are there."""
        for name in names:
            if self._files.exists(f"{self._root}/{name}"):
                self._files.rm_file(f"{self._root}/{name}")

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

    def _get(self, name: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._files.get_file(f"{self._root}/{name}", str(path))

    def _put(self, name: str, path: Path) -> bool:
        try:
            with path.open("rb"):
                pass
        except FileNotFoundError:  # an old checkpoint, removed meanwhile
            return False
        self._make_parent(name)
        self._files.put_file(str(path), f"{self._root}/{name}")
        return True

    def _make_parent(self, name: str) -> None:
        if self._has_folders:
            self._files.makedirs(f"{self._root}/{name}".rpartition("/")[0], exist_ok=True)


def kept_for(url: str, purpose: str) -> Path:
    """The directory of this machine, below its cache, for what is at a URL."""
    digest = hashlib.sha256(url.encode()).hexdigest()[:16]
    return cache_directory() / purpose / digest / (PurePosixPath(url).name or "store")


def fetched(field: str, place: str) -> Path:
    """A copy on this machine of what lies at a URL and does not change: a data set.

    What has been fetched before is taken as it is, if names and sizes are those in the store.

    Args:
        field: whose value the URL is.
        place: the URL.

    Raises:
        InputError: the store cannot be read, or there is nothing.
    """
    url = str(url_of(place))
    directory = kept_for(url, "fetched")
    with refused(field, url, "cannot be read"):
        store = Store(url)
        sizes = store.sizes()
        if not sizes:
            raise InputError(field, url, "there is nothing")
        missing = [name for name, size in sizes.items() if _size(directory / name) != size]
        partial = directory.with_name(f"{directory.name}.partial")
        store.get(missing, partial)
        for name in missing:
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).replace(directory / name)
    return directory


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
