"""What README.md and docs/experiments.md show runs: every command, and every piece of code.

A command's directories are moved to a temporary one, sweeps get few images and one seed, and what
installs packages or trains for minutes is checked without doing it.
"""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.programs import Call
from tests.shrunk import SHRUNK

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", "docs/experiments.md"]
TEXTS = [(ROOT / page).read_text() for page in PAGES]
COMMAND = Path(sys.executable).with_name("xception-jax")
# The programs of other tests, which are compiled once for all; W&B stays as the commands have it.
SMALL = [word for word in SHRUNK if not word.startswith("wandb.")]
SHALLOW = ["model.middle_modules=0", "model.width=0.1"]


def blocks(language: str) -> list[str]:
    text = "\n".join(TEXTS)
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [content for name, content in fences if name == language]


def shell_lines() -> list[str]:
    lines = [line.strip() for block in blocks("") for line in block.splitlines()]
    starts = ("xception-jax ", ".venv/bin/", "make ", "$ ")
    return [line.split("  #")[0].strip() for line in lines if line.startswith(starts)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with configs, experiments, the README's among them, and Fashion-MNIST's files."""
    place = tmp_path_factory.mktemp("readme")
    (place / "configs").symlink_to(ROOT / "configs")
    shutil.copytree(ROOT / "experiments", place / "experiments")
    (place / "experiments" / "swish.py").write_text(blocks("python")[0])
    write_idx_files(place / "fashion-mnist")
    return place


def write_idx_files(directory: Path) -> None:
    """Files of the original's form with a few images, since the original cannot be fetched here."""
    directory.mkdir()
    for stem, count in (("train", 160), ("t10k", 20)):
        images = np.random.default_rng(0).integers(0, 256, (count, 28, 28), np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        header = np.array([0x803, count, 28, 28], ">i4").tobytes()
        (directory / f"{stem}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = np.array([0x801, count], ">i4").tobytes()
        (directory / f"{stem}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())


def write_weights(path: Path) -> None:
    """A file of Keras's weights of a shallow Xception, for the published one cannot be fetched."""
    from tests.weight_files import random_model
    from xception_jax.pretrained import save_keras_weights

    rng = np.random.default_rng(0)
    save_keras_weights(random_model(rng, width=0.1, middle_modules=0, num_classes=1000), path)


def run(words: list[str], place: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TFDS_DATA_DIR": str(place / "data")}
    return subprocess.run(
        words, cwd=place, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_readme_shows_commands():
    assert len(shell_lines()) >= 12  # or the pattern above no longer finds them


def run_here(words: list[str], place: Path, call: Call) -> tuple[int, str, str]:
    """What `call` gives for `xception-jax words` in the directory `place`."""
    with contextlib.chdir(place):
        return call(*words)


def run_shrunk(words: list[str], place: Path, call: Call) -> None:
    """Runs `xception-jax words`, with few images, one seed, and files that are here.

    What only reads a sweep or an experiment runs in this process, which has imported what it needs.
    """
    words = [str(place / "fashion-mnist") if word.startswith("/usr/") else word for word in words]
    if words[0] in {"sweep", "train"}:
        is_other_data = "data.name=fashion_mnist" in words
        words += [word for word in SMALL if not (is_other_data and word.startswith("data.name"))]
    if words[0] == "sweep":
        words += ["--seeds", "1"]
    if "data.name=fashion_mnist" in words:
        words += ["model.name=xception_tiny"]  # the program of the sweep before
    if words[0] == "convert":
        words += SHALLOW
        write_weights(place / words[1])
    if words[0] == "predict":
        Image.fromarray(np.zeros((80, 100, 3), np.uint8)).save(place / words[1])
    if words[0] in {"status", "report", "audit", "plan"}:
        code, _, err = run_here(words, place, call)
    else:
        finished = run([str(COMMAND), *words], place)
        code, err = finished.returncode, finished.stderr
    assert code == 0, err
    if words[0] == "report":
        assert (place / words[1] / "report" / "index.html").is_file()


SWEEP = "xception-jax sweep experiments/"
SWEEPS = [x for x in shell_lines() if x.startswith(SWEEP)]
MORE_SWEEPS = SWEEPS[2:]  # to compile takes most of it; what follows needs the directories of two


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(x, marks=pytest.mark.slow if x in MORE_SWEEPS else ())
        for x in shell_lines()
        if x.startswith("xception-jax ")
    ],
)
def test_command(line: str, place: Path, call: Call):
    run_shrunk(shlex.split(line)[1:], place, call)


def test_commands_on_an_accelerator(place: Path, call: Call):
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [x for x in shell_lines() if x.startswith(".venv/bin/")]
    assert len(lines) == 3
    for line in lines:
        program, *words = shlex.split(line.removeprefix(".venv/bin/"))
        if program == "pip":
            (extra,) = re.findall(r"\[(\w+)\]", words[-1])
            assert extra in metadata["optional-dependencies"]
        else:
            run_shrunk(words, place, call)


@pytest.mark.parametrize("block", [block for block in blocks("") if block.startswith("$ ")])
def test_an_answer_is_as_shown(block: str, place: Path):
    line, *shown = block.strip().splitlines()
    finished = run([str(COMMAND), *shlex.split(line)[2:]], place)
    assert finished.returncode == (2 if "intermediate_activaton" in line else 0)
    answer = (finished.stdout + finished.stderr).strip().splitlines()
    assert [text.rstrip() for text in answer] == shown


@pytest.mark.parametrize("target", [x.split()[1] for x in shell_lines() if x.startswith("make ")])
def test_make_target(target: str, tmp_path: Path):
    words = ["make", "--question", ".venv/.installed"]
    if shutil.which("make") is None or subprocess.run(words, cwd=ROOT, check=False).returncode:
        pytest.skip("not the environment that make installs, or an older one: `make` would install")
    environment = dict(os.environ)
    if target == "ablation":
        small = f"ARGS={' '.join(SMALL)}"
        words = ["make", target, f"WORKDIR={tmp_path / 'ablation'}", "SEEDS=1", small]
        # To build kernels takes longer than these runs; tests/ops do.
        environment |= {"XCEPTION_JAX_KERNELS": "off"}
    else:
        words = ["make", "--dry-run", target]  # this very suite
    finished = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    if target == "ablation":
        assert "C++ kernels: none, because XCEPTION_JAX_KERNELS=off" in finished.stdout
        assert (tmp_path / "ablation" / "report" / "index.html").is_file()


def test_python_blocks(place: Path, call: Call):
    _, library, factorial, elsewhere = blocks("python")  # the first one is swept above
    # To compile the operations of 36 layers takes a third of a minute; a fifth of them are left.
    for name, less in (
        ("num_classes=1000", "num_classes=1000, middle_modules=0, width=0.1"),
        ("1, 299, 299, 3", "1, 71, 71, 3"),
    ):
        assert library.count(name) == 1
        library = library.replace(name, less)
    named: dict[str, Any] = {}
    exec(compile(library, "README.md", "exec"), named)
    assert named["logits"].shape == (1, 1000)
    (place / "experiments" / "factorial.py").write_text(factorial)
    code, out, err = run_here(["plan", "experiments/factorial.py"], place, call)
    assert code == 0, err
    assert "(relu − none) at pointwise_first better than" in out
    (place / "experiments" / "elsewhere.py").write_text(elsewhere)
    code, out, err = run_here(["plan", "experiments/elsewhere.py"], place, call)
    assert code == 0, err
    assert "relu worse than none on mosaic" in " ".join(out.split())


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str):
    targets = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text())
    here = (ROOT / page).parent
    assert [t for t in targets if "://" not in t and not (here / t).exists()] == []
