"""The code that a run came from: digests of its files, and changes that are in no commit.

The commit alone does not tell it: a wheel has none, a checkout may have changes, and an experiment
file and what it imports lie anywhere.
"""

import hashlib
import os
import subprocess
import sys
import sysconfig
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from xception_jax.config.loading import files_run

PACKAGE = Path(__file__).resolve().parents[1]
# Beside an open file Emacs keeps a hidden link that leads nowhere.
_SOURCES = ("[!.]*.py", "[!.]*.cc", "[!.]*.h")
_INSTALLED = ("site-packages", "dist-packages")
# By these a hook, or a command of git that runs another, names a repository: not the package's.
_REPOSITORY = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"
)  # fmt: skip


def describe_code() -> dict[str, Any]:
    """What `run.json` records of the code.

    Returns:
        `package`: SHA-256 of all sources of this package.
        `files`: SHA-256 of every other Python file that this process has run or imported, but for
            Python's own and installed packages, by the end of its path.
        `changes`: SHA-256 of the checkout's difference from its commit; null: there is none.
    """
    changes = uncommitted_changes()
    return {
        "package": package_digest(),
        "files": _name_files(_files_of_user()),
        "changes": None if changes is None else hashlib.sha256(changes).hexdigest(),
    }


@cache
def commit() -> str | None:
    """The commit of this package, `…+changes` if files differ from it; None: it is no checkout."""
    if not (PACKAGE.parent / ".git").exists():
        return None
    try:
        name = _git("rev-parse", "HEAD").decode().strip()
        changes = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):  # no git, or it may not read the checkout
        return None
    return name + ("+changes" if changes.strip() else "")


@cache
def uncommitted_changes() -> bytes | None:
    """The checkout's difference from its commit as a patch, when first asked for; None: none.

    It holds files that git tracks, and no others.
    """
    if not (commit() or "").endswith("+changes"):
        return None
    prefixes = ("--src-prefix=a/", "--dst-prefix=b/")  # whatever the user's git is set to
    return _git(
        "diff", "HEAD", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", *prefixes
    )


@cache
def package_digest() -> str:
    """The SHA-256 of the names and contents of the package's sources when first asked for."""
    sources = sorted(path for pattern in _SOURCES for path in PACKAGE.rglob(pattern))
    digest = hashlib.sha256()
    for path in sources:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(PACKAGE).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def _files_of_user() -> dict[Path, str]:
    """The digests of all files of the user's that took part, by path."""
    files = {}
    for module in list(sys.modules.values()):
        name = getattr(module, "__dict__", {}).get("__file__")  # `getattr` may import lazily
        if isinstance(name, str) and name.endswith(".py") and _is_of_user(name):
            digest = _file_digest(name)
            if digest is not None:
                files[Path(name).resolve()] = digest
    return files | files_run()


@cache
def _is_of_user(name: str) -> bool:
    path = Path(name).resolve()
    if path.is_relative_to(PACKAGE) or any(part in _INSTALLED for part in path.parts):
        return False
    folders = {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "scripts")}
    return not any(path.is_relative_to(Path(folder).resolve()) for folder in folders)


@cache
def _file_digest(name: str) -> str | None:
    """The SHA-256 of a module's file when first asked for: later edits do not take part."""
    try:
        return hashlib.sha256(Path(name).read_bytes()).hexdigest()
    except OSError:
        return None


def _name_files(files: dict[Path, str]) -> dict[str, str]:
    """Digests by folder and name of the file, by more of its path where that is not unique.

    So the same file has the same name wherever the command was typed, and the folder was copied.
    """
    paths = sorted(files)
    ends = Counter(path.parts[-n:] for path in paths for n in range(2, len(path.parts) + 1))
    return {_shortest_end(path, ends): files[path] for path in paths}


def _shortest_end(path: Path, ends: Counter[tuple[str, ...]]) -> str:
    for count in range(2, len(path.parts)):
        if ends[path.parts[-count:]] == 1:
            return "/".join(path.parts[-count:])
    return path.as_posix()


def _git(*arguments: str) -> bytes:
    command = ["git", "-C", str(PACKAGE.parent), *arguments]
    own = {name: value for name, value in os.environ.items() if name not in _REPOSITORY}
    return subprocess.run(command, env=own, check=True, capture_output=True).stdout
