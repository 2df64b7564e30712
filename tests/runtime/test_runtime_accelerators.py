"""A machine whose GPU or TPU lies idle for want of a plugin says so, and no other does."""

import subprocess
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.shrunk import EXPERIMENT, SHRUNK
from xception_jax.commands import devices, process
from xception_jax.runtime import accelerators
from xception_jax.runtime.accelerators import count_gpus, count_tpu_chips, unused_accelerator

GPU = 'this machine has an NVIDIA GPU, but JAX runs on its CPU: pip install "jax[cuda13]"'
TPU = 'this machine has a TPU, but JAX runs on its CPU: pip install "jax[tpu]"'


def fabricate(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def pci(vendor: str, kind: str) -> dict[str, str]:
    device = "sys/bus/pci/devices/0000:00:04.0"
    return {f"{device}/vendor": f"{vendor}\n", f"{device}/class": f"{kind}\n"}


@pytest.fixture
def without_plugins(monkeypatch):
    monkeypatch.setattr(accelerators, "find_spec", lambda _: None)


@pytest.mark.usefixtures("without_plugins")
@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"dev/nvidia0": ""}, GPU),
        ({"proc/driver/nvidia/gpus/0000:01:00.0/information": ""}, GPU),
        ({"dev/accel0": ""}, TPU),
        (pci("0x1ae0", "0x120000"), TPU),
        (pci("0x1ae0", "0x120000") | {"dev/vfio/0": ""}, TPU),
        (pci("0x1ae0", "0x020000"), None),  # Google's network interface
        (pci("0x8086", "0x120000") | {"dev/accel/accel0": ""}, None),  # a laptop's, of Intel
        ({"dev/nvidiactl": "", "proc/driver/nvidia/version": ""}, None),  # a driver, but no GPU
        ({}, None),
    ],
)
def test_what_the_machine_has_is_named_with_the_remedy(files, said, tmp_path):
    assert unused_accelerator({}, fabricate(tmp_path, files)) == said


@pytest.mark.usefixtures("without_plugins")
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'", GPU),
        ("echo 'No devices were found'; exit 6", None),
        ("echo 'No devices were found'", None),
    ],
)
def test_the_driver_is_asked_where_there_are_no_files(script, said, tmp_path):
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    assert unused_accelerator({"PATH": str(tmp_path)}, tmp_path) == said


@pytest.mark.parametrize(
    ("files", "gpus", "chips"),
    [
        ({"dev/nvidia0": "", "dev/nvidia1": "", "dev/nvidiactl": ""}, 2, 0),
        ({"proc/driver/nvidia/gpus/0000:01:00.0/information": "", "dev/nvidia0": ""}, 1, 0),
        ({"dev/accel0": "", "dev/accel1": "", "dev/vfio/7": ""}, 0, 2),
        (pci("0x1ae0", "0x120000") | {f"dev/vfio/{name}": "" for name in "012"}, 0, 3),
        (pci("0x1ae0", "0x120000") | {"dev/vfio/vfio": ""}, 0, 0),
        (pci("0x8086", "0x120000") | {"dev/accel/accel0": "", "dev/vfio/7": ""}, 0, 0),
        ({}, 0, 0),
    ],
)
def test_other_devices_are_not_counted(files, gpus, chips, tmp_path):
    root, environment = fabricate(tmp_path, files), {"PATH": str(tmp_path)}
    assert (count_gpus(root, environment), count_tpu_chips(root, environment)) == (gpus, chips)


def test_the_gpus_that_the_driver_lists_are_counted(tmp_path):
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\necho 'GPU 0: A'\necho '  MIG 1g.5gb'\necho 'GPU 1: B'\n")
    command.chmod(0o755)
    assert count_gpus(tmp_path, {"PATH": str(tmp_path)}) == 2


@pytest.mark.usefixtures("without_plugins")
@pytest.mark.parametrize("asked", ["cpu", "cuda"])
def test_nothing_is_said_where_a_platform_is_asked_for(asked, tmp_path):
    root = fabricate(tmp_path, {"dev/nvidia0": ""})
    assert unused_accelerator({"JAX_PLATFORMS": asked}, root) is None


def test_nothing_is_said_where_the_plugin_is_installed(tmp_path, monkeypatch):
    root = fabricate(tmp_path, {"dev/nvidia0": ""})
    monkeypatch.setattr(accelerators, "find_spec", lambda name: name == "jax_cuda12_plugin" or None)
    assert unused_accelerator({}, root) is None


def test_a_command_that_computes_says_it_first(monkeypatch, capsys):
    monkeypatch.setattr(process, "unused_accelerator", lambda _: GPU)
    process.prepare_jax()
    assert capsys.readouterr().err == f"xception-jax: {GPU}\n"
    process.prepare_jax(devices=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("launcher", "said"), [("local", [f"xception-jax: {GPU}"]), ("slurm", [])])
def test_a_sweep_whose_workers_are_on_this_machine_says_it_before_they_do(
    launcher, said, monkeypatch, call, tmp_path
):
    """The workers say it into their logs; those of Slurm are on machines that have their own."""
    monkeypatch.setattr(devices, "unused_accelerator", lambda _: GPU)
    words = ("--workdir", tmp_path / "w", "--launcher", launcher, *SHRUNK)
    elsewhere = (f"data.directory={tmp_path / 'none'}", "data.name=fashion_mnist")
    code, out, err = call("sweep", EXPERIMENT, *words, *elsewhere)
    *before, refusal = err.splitlines()
    assert (code, out, before) == (2, "", said)
    assert "is not prepared" in refusal


def test_a_sweep_that_asks_for_devices_leaves_it_to_the_process_that_tries_them(
    monkeypatch, capsys
):
    monkeypatch.setattr(devices, "unused_accelerator", lambda _: GPU)
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "2")
    monkeypatch.setattr(subprocess, "run", lambda words, **_: CompletedProcess(words, 0))
    devices.require_devices_of_workers()
    assert capsys.readouterr().err == ""
