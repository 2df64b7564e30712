"""Accelerators that this machine has and that JAX cannot use, since a plugin is not installed."""

import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from shutil import which

_GPU_PLUGINS = ("jax_cuda13_plugin", "jax_cuda12_plugin")
_TPU_PLUGINS = ("libtpu",)
_GOOGLE, _PROCESSING_ACCELERATOR = "0x1ae0", "0x1200"  # Google also makes network interfaces
_SECONDS_TO_LIST = 10.0


def unused_accelerator(environment: Mapping[str, str], root: Path = Path("/")) -> str | None:
    """One line that names an accelerator which JAX leaves unused for want of a plugin, or None.

    Args:
        environment: environment variables. With JAX_PLATFORMS set nothing is said: JAX then uses
            what it names, or refuses.
        root: where /dev, /proc and /sys lie.
    """
    if environment.get("JAX_PLATFORMS") or environment.get("JAX_PLATFORM_NAME"):
        return None
    for kind, extra, plugins, is_present in (
        ("an NVIDIA GPU", "cuda13", _GPU_PLUGINS, _has_gpu),
        ("a TPU", "tpu", _TPU_PLUGINS, _has_tpu),
    ):
        if not any(map(find_spec, plugins)) and is_present(root, environment):
            return f'this machine has {kind}, but JAX runs on its CPU: pip install "jax[{extra}]"'
    return None


def _has_gpu(root: Path, environment: Mapping[str, str]) -> bool:
    if any((root / "dev").glob("nvidia[0-9]*")) or any(
        (root / "proc/driver/nvidia/gpus").glob("*")
    ):
        return True
    # On WSL there are no such files. The program is also where a driver has no GPU.
    command = which("nvidia-smi", path=environment.get("PATH"))
    if command is None:
        return False
    try:
        listed = subprocess.run(
            [command, "-L"], capture_output=True, text=True, timeout=_SECONDS_TO_LIST, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and "GPU " in listed.stdout


def _has_tpu(root: Path, _: Mapping[str, str]) -> bool:
    if any((root / "dev").glob("accel[0-9]*")):
        return True
    devices = (root / "sys/bus/pci/devices").glob("*")
    return any(
        _read(device / "vendor") == _GOOGLE
        and _read(device / "class").startswith(_PROCESSING_ACCELERATOR)
        for device in devices
    )


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
