"""The package's own source does nothing with other people's files that it must not do."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = sorted((ROOT / "xception_jax").rglob("*.py"))
# Modules whose readers run code that the file holds, and functions that do.
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNPICKLERS |= {"torch", "yaml", "jsonpickle", "pandas"}
RUNS_CODE = {"eval", "exec", "compile", "__import__"}
UNPACKS_ANYWHERE = {"extractall", "extract", "unpack_archive"}


def name_of(function: ast.expr) -> str:
    """`np.load` -> "np.load"; of what is no name, the empty text."""
    if isinstance(function, ast.Name):
        return function.id
    if isinstance(function, ast.Attribute):
        return f"{name_of(function.value)}.{function.attr}"
    return ""


def untrustworthy(source: str) -> Iterator[str]:
    """Every import and call in a program that can run what a file holds, or write outside."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names]
            modules = names if isinstance(node, ast.Import) else [str(node.module)]
            yield from (m for m in modules if m.partition(".")[0] in UNPICKLERS)
        elif isinstance(node, ast.Call):
            name = name_of(node.func)
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            # Of objects of our own, `.load` takes no file; NumPy's takes pickles if it is let.
            if name in {"np.load", "numpy.load"} and given.get("allow_pickle") != "False":
                yield f"line {node.lineno}: {name} without allow_pickle=False"
            if given.get("allow_pickle", "False") != "False":
                yield f"line {node.lineno}: {name} with allow_pickle"
            if name in RUNS_CODE or name.rpartition(".")[2] in UNPACKS_ANYWHERE:
                yield f"line {node.lineno}: {name}"


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_a_file_holds_is_run(path: Path):
    assert list(untrustworthy(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import torch.serialization",
        "np.load(path)",
        "numpy.load(path, allow_pickle=True)",
        "np.lib.format.read_array(file, allow_pickle=flag)",
        "eval(text)",
        "zipfile.ZipFile(path).extractall(home)",
        "shutil.unpack_archive(path)",
    ],
)
def test_the_scan_sees(source: str):
    assert len(list(untrustworthy(source))) >= 1


def test_only_config_files_are_run():
    """`runpy` runs the Python file that a person names; nothing else may."""
    users = [path for path in PACKAGE if "runpy" in path.read_text()]
    assert users == [ROOT / "xception_jax" / "config" / "loading.py"]
