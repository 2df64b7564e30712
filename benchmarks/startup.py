"""Start-up: processes from their start to what they are started for."""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.cases import Case, Settings, Variant, Work
from xception_jax.cache import cache_directory

TARGET = "benchmarks.startup:process"
ROOT = Path(__file__).resolve().parents[1]
FIRST_STEP = [sys.executable, "-m", "benchmarks.startup"]
PYTHON = [sys.executable, "-c"]


def cases(settings: Settings) -> Iterator[Case]:
    """Imports and help; a run up to its first step, with and without compiled programs to find."""
    light = [
        Variant("python alone", TARGET, {"command": [*PYTHON, "pass"]}),
        Variant("import xception_jax", TARGET, {"command": [*PYTHON, "import xception_jax"]}),
        Variant(
            "xception-jax --help",
            TARGET,
            {"command": [sys.executable, "-m", "xception_jax", "--help"]},
        ),
        Variant(
            "import xception_jax.report",
            TARGET,
            {"command": [*PYTHON, "import xception_jax.report.page"]},
        ),
    ]
    heavy = [
        Variant("import jax", TARGET, {"command": [*PYTHON, "import jax"]}),
        Variant(
            "import xception_jax.training",
            TARGET,
            {"command": [*PYTHON, "import xception_jax.training"]},
        ),
    ]
    imports = tuple(light[:3] if settings.quick else light + heavy)
    yield Case("process, from start to end", "s", imports, once=True)
    if settings.quick:
        return
    config = str(ROOT / "configs" / "fashion_mnist_mini.py")
    for clock in ("from process start", "after imports", "compiling"):
        variants = [
            Variant(
                name,
                TARGET,
                {"command": [*FIRST_STEP, config], "cold": cold, "clock": clock},
            )
            for name, cold in (
                ("program found in the cache", False),
                ("nothing in the cache", True),
            )
        ]
        yield Case(f"fashion_mnist_mini, first step, {clock}", "s", tuple(variants), once=True)


def process(
    *,
    command: list[str],
    then: Sequence[list[str]] = (),
    cold: bool = False,
    kernels: bool = False,
    clock: str = "",
) -> Work:
    """Runs a command once a time, with caches of its own.

    Args:
        command: what to start; "{workdir}" among its words is a path that does not exist yet.
        then: commands to start after it, one when the other has ended.
        cold: with an empty cache of compiled programs each time; otherwise all times share one,
            which the first fills.
        kernels: whether the kernels in C++ that this user has built are found.
        clock: which of the times that the command itself reports to take; none: from its start to
            its end.
    """
    built = _built_kernels() if kernels else None
    shared = tempfile.mkdtemp(prefix="xception-jax-benchmarks-")
    atexit.register(shutil.rmtree, shared, ignore_errors=True)

    def run(times: int) -> float | None:
        seconds = 0.0
        for _ in range(times):
            with tempfile.TemporaryDirectory() as work:
                cache = work if cold else shared
                environment = {
                    name: value
                    for name, value in os.environ.items()
                    if name != "JAX_COMPILATION_CACHE_DIR"
                } | {
                    "XDG_CACHE_HOME": f"{cache}/cache",
                    "BENCH_WORKDIR": f"{work}/run",
                    "BENCH_STARTED": repr(time.time()),
                }
                if built is not None:
                    _link(built, Path(cache, "cache"))
                for started in (command, *then):
                    words = [word.replace("{workdir}", f"{work}/run") for word in started]
                    done = subprocess.run(
                        words, env=environment, capture_output=True, text=True, check=False
                    )
                    if done.returncode:
                        raise RuntimeError(done.stderr.strip().splitlines()[-1:] or done.returncode)
                if clock:
                    seconds += json.loads(done.stdout.splitlines()[-1])[clock]
        return seconds if clock else None

    return Work(run, 1, cold=cold)


def _built_kernels() -> Path:
    """The directory of this user's built kernels.

    Raises:
        RuntimeError: none are built.
    """
    from xception_jax.ops import native

    if not native.available():
        raise RuntimeError(f"no kernels are built: {native.BUILD}")
    return native.directory()


def _link(kernels: Path, cache: Path) -> None:
    """Has them found in `cache` as in the user's own."""
    place = cache / kernels.relative_to(cache_directory().parent)
    if not place.is_symlink():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(kernels)


def first_step(config: str) -> None:
    """Trains as the command line does, up to the first step, and says when that was reached."""
    clocks: dict[str, Any] = {}
    from xception_jax.commands.process import prepare_jax
    from xception_jax.config import load_config, resolve

    prepare_jax()
    from xception_jax.training import Interrupted, Progress, RunNames, train

    imported = time.time()
    settings = resolve(load_config(config), {"wandb.mode": "disabled"})

    def listen(progress: Progress) -> None:
        now = time.time()
        if progress.phase == "compile":
            clocks["compiling"] = now
        elif progress.phase == "train" and "after imports" not in clocks:
            clocks["compiling"] = now - clocks["compiling"]
            clocks["after imports"] = now - imported
            clocks["from process start"] = now - float(os.environ["BENCH_STARTED"])

    def stop() -> bool:
        return "after imports" in clocks

    with suppress(Interrupted):
        workdir = Path(os.environ["BENCH_WORKDIR"])
        train(settings, workdir, names=RunNames("startup"), listener=listen, stop=stop)
    print(json.dumps(clocks))


if __name__ == "__main__":
    first_step(sys.argv[1])
