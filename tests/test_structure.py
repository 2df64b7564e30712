"""The project's shape: what files import, how long they get, and what they must not name.

The import rules inside the package are import-linter's (`pyproject.toml`, run by `make check`).
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

from tests.programs import run_program

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = sorted((ROOT / "xception_jax").rglob("*.py"))
LONGEST_FILE = 350
LONGEST_FUNCTION = 60


def imported_modules(source: str) -> set[str]:
    """The modules named by every import statement, wherever it stands; "." is a relative one."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add("." if node.level else str(node.module))
    return modules


def imported_names(source: str) -> set[str]:
    """Every dotted name in an import statement: of modules, and of what is taken from them."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def functions(source: str) -> Iterator[tuple[str, int]]:
    """(name, lines) of every function, its decorators and docstring left out."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            end = node.end_lineno or node.lineno
            docstring = ast.get_docstring(node) is not None
            yield node.name, end - node.lineno + 1 - docstring * length(first)


def length(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def tracked_files() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is no list of the project's own files")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize(
    ("folder", "allowed"), [("configs", "ml_collections"), ("experiments", "xception_jax.sweep")]
)
def test_settings_files_import_one_module(folder: str, allowed: str):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        assert imported_modules(path.read_text()) <= {allowed}, path.relative_to(ROOT)


def test_no_test_file_imports_another():
    """What several of them need lies in files of its own, or in `conftest.py`."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        words = {word for name in imported_names(path.read_text()) for word in name.split(".")}
        assert not [word for word in words if word.startswith("test_")], path


def test_files_and_functions_are_short_enough_to_read():
    long_files = {
        str(path.relative_to(ROOT)): lines
        for path in PACKAGE
        if (lines := len(path.read_text().splitlines())) >= LONGEST_FILE
    }
    long_functions = {
        f"{path.relative_to(ROOT)}:{name}": lines
        for path in PACKAGE
        for name, lines in functions(path.read_text())
        if lines >= LONGEST_FUNCTION
    }
    assert not long_files
    assert not long_functions


def test_transforms_are_those_of_jax():
    """A model with batch normalization that `nnx.vmap` broadcasts leaks tracers (flax#4760)."""
    of_flax = {
        "checkify", "cond", "custom_vjp", "fori_loop", "grad", "jit", "jvp", "pmap",
        "remat", "scan", "shard_map", "switch", "value_and_grad", "vjp", "vmap", "while_loop",
        "Dropout", "ModelAndOptimizer", "Optimizer",
    }  # fmt: skip
    used = {
        f"{path.relative_to(ROOT)}:{node.lineno}: nnx.{node.attr}"
        for path in PACKAGE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if node.value.id == "nnx" and node.attr in of_flax
    }
    assert not used
    # By `from flax.nnx import …` they would have other names.
    assert not [
        path.relative_to(ROOT)
        for path in PACKAGE
        if any(f"{name}.".startswith("flax.nnx.") for name in imported_modules(path.read_text()))
    ]


@pytest.mark.parametrize(
    "module",
    [
        "xception_jax",
        "xception_jax.config",
        "xception_jax.statistics.verdicts",
        "xception_jax.report",
    ],
)
def test_import_leaves_jax_alone(module: str):
    heavy = ("jax", "flax", "optax", "orbax", "grain", "tensorflow_datasets", "wandb")
    answer = run_program("find_imports", module, *heavy)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == []


def test_no_tracked_file_names_a_path_of_one_machine():
    # Spelt in parts, so that this file does not name one.
    machine_path = re.compile(
        r"(?<![\w.~$}])/(?:" + "|".join(["home", "root", "work", "Users"]) + r")/\w"
    )
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
            for number, line in enumerate(text.splitlines(), 1)
            if machine_path.search(line)
        ]
    assert not found


def test_lock_holds_versions_and_hashes_only():
    lock = (ROOT / "requirements.lock").read_text()
    requirement = re.compile(
        r"(?P<name>[a-z0-9-]+)==(?P<version>[a-z0-9.]+)(?: ; [\w .<>=!']+)?"  # 1.0+local is none
        r"(?: --hash=sha256:[0-9a-f]{64})+"
    )
    logical_lines = re.sub(r" \\\n +", " ", lock).splitlines()
    assert logical_lines
    assert [line for line in logical_lines if not requirement.fullmatch(line)] == []
    names = {line.partition("==")[0] for line in logical_lines}
    assert names.isdisjoint({"torch", "tensorflow", "ray"})  # optional, and large
    assert {"hatchling", "editables", "setuptools"} <= names  # nothing else is fetched to build


def test_no_circle_of_imports_also_not_inside_functions():
    graph = grimp.build_graph("xception_jax", cache_dir=None)
    imported = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    tuple(TopologicalSorter(imported).static_order())  # raises CycleError, which names the circle
