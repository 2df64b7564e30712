"""Accelerators that this machine has, found without JAX, and those that JAX has no plugin for."""

import re
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
        ("an NVIDIA GPU", "cuda13", _GPU_PLUGINS, lambda: count_gpus(root, environment) > 0),
        ("a TPU", "tpu", _TPU_PLUGINS, lambda: _has_tpu(root)),
    ):
        if not any(map(find_spec, plugins)) and is_present():
            return f'this machine has {kind}, but JAX runs on its CPU: pip install "jax[{extra}]"'
    return None


def count_gpus(root: Path, environment: Mapping[str, str]) -> int:
    """The number of NVIDIA GPUs of this machine.

    Args:
        root: where /dev and /proc lie.
        environment: environment variables.
    """
    for directory, names in (("proc/driver/nvidia/gpus", "*"), ("dev", "nvidia[0-9]*")):
        if count := len(list((root / directory).glob(names))):
            return count
    # On WSL there are no such files. The program is also where a driver has no GPU.
    command = which("nvidia-smi", path=environment.get("PATH"))
    if command is None:
        return 0
    try:
        listed = subprocess.run(
            [command, "-L"], capture_output=True, text=True, timeout=_SECONDS_TO_LIST, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return 0 if listed.returncode else len(re.findall(r"^GPU ", listed.stdout, re.MULTILINE))


def count_tpu_chips(root: Path, _: Mapping[str, str]) -> int:
    """The number of TPU chips that a process of this machine can open.

    Other devices have files in /dev/vfio too, so those count only where there is a TPU.

    Args:
        root: where /dev and /sys lie.
    """
    if chips := _accel_files(root):
        return len(chips)
    groups = [path for path in (root / "dev/vfio").glob("*") if path.name.isdecimal()]
    return len(groups) if groups and _has_tpu(root) else 0


def _has_tpu(root: Path) -> bool:
    devices = (root / "sys/bus/pci/devices").glob("*")
    return bool(_accel_files(root)) or any(
        _read(device / "vendor") == _GOOGLE
        and _read(device / "class").startswith(_PROCESSING_ACCELERATOR)
        for device in devices
    )


def _accel_files(root: Path) -> list[Path]:
    """The files of TPU chips; /dev/accel itself is a directory of other accelerators."""
    return list((root / "dev").glob("accel[0-9]*"))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
