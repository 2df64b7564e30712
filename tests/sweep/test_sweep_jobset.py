"""Manifests for Kubernetes, read back as YAML: no cluster is asked."""

import json
import re
import shlex
import subprocess

import pytest
import typer
import yaml

from tests.shrunk import EXPERIMENT, ROOT, SHRUNK
from xception_jax import cli
from xception_jax.commands.engines import Engine
from xception_jax.errors import InputError
from xception_jax.launchers import Unit, unit_command
from xception_jax.launchers.jobset import JobSets

DOCUMENT = ROOT / "docs" / "clusters.md"
OPTIONS = "image=registry.example/xj:1.0,claim=results,queue=research,topology="


@pytest.fixture
def units(tmp_path) -> list[Unit]:
    command = unit_command(tmp_path)
    return [
        Unit(n, f"run-{n}", (tmp_path / "runs" / f"r{n}",), (*command, str(n)), tmp_path / "log")
        for n in (0, 3)
    ]


def render(directory, topology, units):
    return list(yaml.safe_load_all(JobSets(directory, OPTIONS + topology).render(units)))


def test_a_unit_on_one_host_is_a_worker(units, tmp_path):
    one, other = render(tmp_path, "v5e:2x2", units)
    assert (one["apiVersion"], one["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert one["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "research"}
    names = [manifest["metadata"]["name"] for manifest in (one, other)]
    assert names[0].endswith("-0")
    assert names[1] == names[0][:-1] + "3"
    job = one["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert (job["parallelism"], job["completions"], job["backoffLimit"]) == (1, 1, 0)
    pod = job["template"]["spec"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "2x2",
    }
    (container,) = pod["containers"]
    assert container["image"] == "registry.example/xj:1.0"
    assert container["command"] == ["python", *units[0].command[1:]]
    assert container["resources"] == {"limits": {"google.com/tpu": 4}}
    assert container["volumeMounts"] == [{"name": "sweep", "mountPath": str(tmp_path)}]
    (volume,) = pod["volumes"]
    assert volume["persistentVolumeClaim"] == {"claimName": "results"}


def test_what_is_pre_empted_starts_again_without_being_counted(units, tmp_path):
    (manifest, _) = render(tmp_path, "v6e:2x2", units)
    policy = manifest["spec"]["failurePolicy"]
    assert policy["maxRestarts"] == 2
    (rule,) = policy["rules"]
    assert rule["action"] == "RestartJobSetAndIgnoreMaxRestarts"
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
    by_code, by_condition = job["podFailurePolicy"]["rules"]
    assert by_code["action"] == by_condition["action"] == "FailJob"
    # 75: told to stop; 71: another host of the run was.
    codes = {"containerName": "worker", "operator": "In", "values": [75, 71]}
    assert by_code["onExitCodes"] == codes
    assert by_condition["onPodConditions"] == [{"type": "DisruptionTarget"}]
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # which such rules need


@pytest.mark.parametrize(
    ("topology", "hosts", "chips"),
    [("v5e:1x1", 1, 1), ("v5e:4x4", 4, 4), ("v4:2x2x2", 2, 4), ("v5p:4x4x4", 16, 4)],
)
def test_a_slice_of_several_hosts_trains_one_run(units, tmp_path, topology, hosts, chips):
    manifest = render(tmp_path, topology, units)[0]
    job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    assert (job["parallelism"], job["completions"]) == (hosts, hosts)
    assert container["resources"]["limits"] == {"google.com/tpu": chips}
    if hosts > 1:
        home = str(units[0].run_dirs[0])
        words = ["train", f"{home}/config.json", "--workdir", home]
        assert container["command"] == ["python", "-m", "xception_jax", *words]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("", "needs image=…"),
        (OPTIONS, "needs topology=…"),
        (OPTIONS + "v5e", "like v5e:4x4"),
        (OPTIONS + "v5:4x4", "nearest valid value: 'v5"),
        (OPTIONS + "v5e:3x3", "9 chips"),
        (OPTIONS + "v5e:2x2,quue=a", "nearest valid value: 'queue'"),
        (OPTIONS.replace("results", "a: b") + "v5e:2x2", "needs claim=…"),
    ],
)
def test_options_that_are_none_are_refused(options, named, tmp_path):
    with pytest.raises(InputError, match=named):
        JobSets(tmp_path, options)


def test_packs_need_one_host(tmp_path, units):
    run_dirs = (tmp_path / "a", tmp_path / "b")
    pack = Unit(0, "two", run_dirs, units[0].command, units[0].log)
    assert render(tmp_path, "v5e:2x2", [pack])
    with pytest.raises(InputError, match="--packing off"):
        render(tmp_path, "v5e:4x4", [pack])


def test_the_command_writes_the_manifests(call, tmp_path):
    home = tmp_path / "sweep"
    words = ("sweep", EXPERIMENT, "--workdir", home, "--seeds", "1", *SHRUNK)
    jobset = ("--launcher", "jobset", "--jobset", OPTIONS + "v5e:2x2")
    code, out, err = call(*words, *jobset)
    assert (code, err) == (0, "")
    assert f"3 units: to submit them, kubectl apply -f {home}/workers/jobset.yaml\n" in out
    manifests = list(yaml.safe_load_all((home / "workers" / "jobset.yaml").read_text()))
    packs = json.loads((home / "sweep.json").read_text())["packs"]
    assert len(manifests) == len(packs) == 3


def test_the_commands_of_the_documentation_are_valid():
    """What docs/clusters.md has people type: shell, and options that go together."""
    blocks = re.findall(r"^```\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    found = 0
    for block in blocks:
        assert subprocess.run(["bash", "-n"], input=block, text=True, check=False).returncode == 0
        for line in block.splitlines():
            words = [word for word in shlex.split(line) if not word.startswith("RAY_")]
            if words[:2] != ["xception-jax", "sweep"]:
                continue
            group = typer.main.get_command(cli.app)
            assert isinstance(group, typer.core.TyperGroup)
            command = group.commands["sweep"]
            given = command.make_context("sweep", words[2:]).params
            names = ("launcher", "workers", "resources", "sbatch", "jobset", "retries")
            Engine(**{name: given[name] for name in names})
            assert (DOCUMENT.parents[1] / given["experiment"]).exists(), line
            if given["launcher"] == "jobset":
                JobSets(given["workdir"], given["jobset"])
            found += 1
    assert found >= 6
