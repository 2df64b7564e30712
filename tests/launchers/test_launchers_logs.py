"""Logs of workers in somebody else's directory: no link there is followed, no pipe waited for.

And what Slurm is told: its tasks open their logs themselves.
"""

import os
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest

from xception_jax.errors import InputError
from xception_jax.launchers import Unit, start
from xception_jax.launchers.launching import plan_units
from xception_jax.launchers.slurm import SlurmArray

QUIET = (sys.executable, "-c", "print('said')")


def test_a_worker_writes_into_a_log_and_through_no_link(tmp_path):
    victim, log = tmp_path / "victim", tmp_path / "0.log"
    assert start(QUIET, log, {}).wait() == 0
    assert start(QUIET, log, {}).wait() == 0
    assert log.read_text() == "said\n" * 2
    victim.write_text("precious")
    (tmp_path / "1.log").symlink_to(victim)
    os.mkfifo(tmp_path / "2.log")
    for name in ("1.log", "2.log"):
        with pytest.raises(OSError, match=name):
            start(QUIET, tmp_path / name, {})
    assert victim.read_text() == "precious"


def test_a_log_that_leads_out_of_the_sweep_is_named(tmp_path, monkeypatch):
    """Slurm and Ray open the logs of their tasks themselves."""
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "4.log").symlink_to(tmp_path.parent / "victim")

    class Run:
        name, directory = "none-s0", "runs/none-s0"

    class Pack:
        indices = (0,)

        def row(self, _):
            return {}

    runs: list[Any] = [Run()]
    module = "xception_jax.launchers.launching"
    monkeypatch.setattr(f"{module}.plan_missing", lambda *_, **__: ([], [Pack()]))
    monkeypatch.setattr(f"{module}.record_packs", lambda *_: [4])
    with pytest.raises(InputError, match=r"4\.log.*by a link"):
        plan_units(tmp_path, runs, sizes=None, warn=print)
    assert not (tmp_path.parent / "victim").exists()


def test_a_batch_script_is_written_through_no_link(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/true")
    monkeypatch.setattr(subprocess, "run", None)  # nothing is submitted
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "slurm.sh").symlink_to(victim)
    unit = Unit(0, "none-s0", (), QUIET, tmp_path / "0.log")
    with pytest.raises(OSError, match="symbolic link"):
        SlurmArray(tmp_path, most=None, options="").submit([unit])
    assert victim.read_text() == "precious"


def test_a_batch_script_names_any_directory(tmp_path, monkeypatch):
    """Slurm reads the options as a shell reads words, and then replaces what follows a percent."""
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/true")
    home = tmp_path / "all 50% & 100%a 'of' it #1"
    unit = Unit(0, "none-s0", (), QUIET, home / "workers" / "0.log")
    script = SlurmArray(home, most=None, options="").render([unit])
    words = [word for line in script.splitlines() for word in shlex.split(line, comments=False)]
    assert f"--chdir={home}" in words
    (output,) = (word for word in words if word.startswith("--output="))
    replaced = re.sub("%[%a]", lambda of: {"%%": "%", "%a": "0"}[of[0]], output)
    assert replaced == f"--output={unit.log}"


def test_slurm_is_handed_the_environment_but_for_the_threads_of_this_machine(tmp_path, monkeypatch):
    """The nodes get the variables of sbatch itself, unless `--export` says something else."""
    program = tmp_path / "bin" / "sbatch"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nenv > {shlex.quote(str(tmp_path / 'environment'))}\necho 42\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PJRT_NPROC", "2")
    monkeypatch.setenv("OF_THE_USER", "a word")
    unit = Unit(0, "none-s0", (), QUIET, tmp_path / "0.log")
    assert SlurmArray(tmp_path, most=None, options="").submit([unit]).endswith("array 42")
    lines = (tmp_path / "environment").read_text().splitlines()
    handed = dict(line.split("=", 1) for line in lines if "=" in line)
    assert handed["OF_THE_USER"] == "a word"
    names = {name for name in os.environ if name.isidentifier()}  # of others a shell drops some
    assert names - handed.keys() == {"PJRT_NPROC"}
