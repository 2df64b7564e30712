"""Sweeps on a real Slurm of one node: munge, slurmctld and slurmd, as Debian packages them."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.launchers.worker_sweeps import (
    assert_done_as,
    in_the_middle,
    record,
    run_dirs,
    words,
)
from tests.processes import wait_until
from tests.shrunk import SIXTY_STEPS
from xception_jax.launchers.slurm import SlurmArray

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(MISSING) or os.geteuid() != 0,
        reason=f"needs root and Slurm (apt install slurm-wlm); missing: {MISSING}",
    ),
]

CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={home}/munge.socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
StateSaveLocation={home}
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.log
MessageTimeout=90
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(number: int) -> list[int]:
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A Slurm cluster for these tests only, configured by SLURM_CONF."""
    home = tmp_path_factory.mktemp("slurm")
    home.chmod(0o755)
    (home / "spool").mkdir()
    key = home / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    host = socket.gethostname().partition(".")[0]
    (home / "slurm.conf").write_text(CONFIG.format(host=host, home=home, ports=free_ports(2)))
    munged = [f"--{name}={home}/munge.{name.partition('-')[0]}" for name in
              ("key-file", "socket", "pid-file", "log-file", "seed-file")]  # fmt: skip
    daemons = [
        ["munged", "--foreground", "--force", *munged],
        ["slurmctld", "-D", "-c"],
        ["slurmd", "-D"],
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(home / "slurm.conf"))
        started = []
        try:
            for command in daemons:
                started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
                wait_until((home / "munge.socket").exists, started[0])
            wait_until(lambda: "idle" in shell("sinfo", "--noheader", "--format=%T"))
            yield
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait()


def shell(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def submit(call, home: Path, *more: str) -> str:
    options = ("--launcher", "slurm", "--sbatch", "--cpus-per-task=1 --export=ALL")
    code, out, err = call(*words(home, *options, *SIXTY_STEPS, *more))
    assert (code, err) == (0, "")
    return out


def wait_until_queue_is_empty(array: SlurmArray) -> None:
    """Waits for all tasks to end, starting requeued ones at once: Slurm would hold them back."""

    def empty() -> bool:
        states = array.status()
        for job in shell("squeue", "--noheader", "--array", "--states=PENDING", "-o%i").split():
            shell("scontrol", "update", f"JobId={job}", "StartTime=now")
        time.sleep(0.5)
        return not states

    wait_until(empty)


def test_an_array_trains_what_is_missing_and_goes_on_after_pre_emption(slurm, call, tmp_path):
    whole, home = tmp_path / "whole", tmp_path / "sweep"
    assert call(*words(whole, *SIXTY_STEPS))[0] == 0
    array = SlurmArray(home, most=None, options="")
    assert "3 units: submitted as Slurm array" in submit(call, home)
    wait_until(lambda: in_the_middle(home))
    out = submit(call, home)  # again, while the first is at hand
    assert "units are in the queue already" in out
    assert "submitted" not in out
    # As Slurm does to a job that it needs the node of, or whose time is up.
    shell("scancel", f"--name={array.name}", "--state=RUNNING", "--signal=TERM")
    wait_until_queue_is_empty(array)
    logs = [path.read_text() for path in (home / "workers").glob("*.log")]
    assert any("the same command goes on from there" in text for text in logs), logs
    assert any(record(run)["resumed_from"] for run in run_dirs(home).values())
    assert_done_as(whole, home)
    assert "submitted" not in submit(call, home)


def test_what_was_cancelled_is_submitted_again(slurm, call, tmp_path):
    home = tmp_path / "sweep"
    array = SlurmArray(home, most=None, options="")
    submit(call, home)
    wait_until(lambda: in_the_middle(home))
    shell("scancel", f"--name={array.name}")
    wait_until(lambda: not array.status())
    assert {record(run)["status"] for run in run_dirs(home).values()} != {"done"}
    assert "submitted" in submit(call, home)
    wait_until_queue_is_empty(array)
    assert {record(run)["status"] for run in run_dirs(home).values()} == {"done"}
