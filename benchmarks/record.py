"""The files of a benchmark: JSON with everything that was measured, a figure and a table."""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.table import Table

from xception_jax.cores import usable_cores
from xception_jax.errors import InputError
from xception_jax.runtime.source_code import commit

PACKAGES = ("jax", "jaxlib", "flax", "optax", "keras", "torch", "numpy", "xception-jax")
# In a process of its own: this one is to hold no accelerator.
_ASK_DEVICE = "import jax; d = jax.devices()[0]; print(d.platform, d.device_kind, sep='\\t')"


def device() -> tuple[str, str]:
    """(platform, kind) of JAX's first device, such as ("cpu", "cpu")."""
    asked = subprocess.run(
        [sys.executable, "-c", _ASK_DEVICE], capture_output=True, text=True, check=True
    )
    platform_, kind = asked.stdout.strip().split("\t")
    return platform_, kind


def describe(command: str, device: tuple[str, str]) -> dict[str, Any]:
    """When, where and with what."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "commit": commit(),
        "device": {"platform": device[0], "kind": device[1]},
        "processor": _processor(),
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": os.getloadavg()[0],
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    widest = next((name for name in ("avx512f", "avx2") if name in flags), "")
    return " ".join(filter(None, [names[0] if names else platform.processor(), widest]))


def make_directory(output: Path) -> None:
    """Makes the directory that `--output` names, before anything is measured.

    Raises:
        InputError: it cannot be made, or written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("--output", str(output), f"cannot be made: {error.strerror}") from error
    if not os.access(output, os.W_OK | os.X_OK):
        raise InputError("--output", str(output), "cannot be written: no permission")


def write(directory: Path, benchmark: str, record: dict[str, Any]) -> None:
    """`<benchmark>.json`, and `.svg` and `.png` where something was measured."""
    from xception_jax.report.comparison import comparison_frame, draw_comparison
    from xception_jax.report.export import export

    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{benchmark}.json").write_text(json.dumps(record, indent=1) + "\n")
    if any(case["variants"] for case in record["cases"]):
        files = export(draw_comparison(comparison_frame(record["cases"])))
        for kind in ("svg", "png"):
            (directory / f"{benchmark}.{kind}").write_bytes(files[kind])


def table(case: dict[str, Any]) -> Table:
    """A case for the terminal."""
    shown = Table(title=case["name"], title_justify="left", box=None, pad_edge=False)
    shown.add_column("", overflow="fold")
    against = f"x {case['reference']}"
    for heading in (case["unit"], "quartiles", "n", against, f"{case['subject']} x this"):
        shown.add_column(heading, justify="right", overflow="fold")
    for variant in case["variants"]:
        value = variant["value"]
        shown.add_row(
            variant["name"],
            f"{value['median']:.4g}",
            f"{value['low']:.4g} to {value['high']:.4g}",
            str(value["n"]),
            f"{variant['ratio']['median']:.2f}",
            f"{variant['subject_ratio']['median']:.2f}",
        )
    return shown
