"""The commands and manifests that docs/clusters.md shows are valid; no cluster is asked."""

import re
import shlex
import subprocess

import pytest
import typer
import yaml

from tests.shrunk import CONFIG, ROOT
from xception_jax import cli
from xception_jax.commands.engines import Engine
from xception_jax.errors import INTERRUPTED, LOST_PEER

DOCUMENT = ROOT / "docs" / "clusters.md"
MANIFESTS = {
    manifest["metadata"]["name"]: manifest
    for manifest in yaml.safe_load_all((ROOT / "docs" / "jobset.yaml").read_text())
    if manifest is not None
}


def job_of(manifest: dict) -> dict:
    (replicated,) = manifest["spec"]["replicatedJobs"]
    assert replicated["replicas"] == 1
    return replicated["template"]["spec"]


def pod_of(manifest: dict) -> dict:
    return job_of(manifest)["template"]["spec"]


def command_of(manifest: dict, index: int) -> list[str]:
    """The command of the pod with this completion index: Kubernetes replaces each `$(NAME)`."""
    (container,) = pod_of(manifest)["containers"]
    variables = {}
    for variable in container.get("env", []):
        field = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath", "")
        of_index = field == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
        variables[variable["name"]] = str(index) if of_index else variable["value"]
    return [
        re.sub(r"\$\((\w+)\)", lambda found: variables[found[1]], word)
        for word in container["command"] + container["args"]
    ]


def parsed(words: list[str]) -> dict:
    """The parameters of a valid `xception-jax` command."""
    program, name, *rest = words
    assert program == "xception-jax"
    group = typer.main.get_command(cli.app)
    assert isinstance(group, typer.core.TyperGroup)
    command = group.commands[name]
    return command.make_context(name, rest).params


def engine_of(given: dict) -> Engine:
    names = ("launcher", "workers", "resources", "sbatch", "retries")
    return Engine(**{name: given[name] for name in names})


def test_the_commands_of_the_documentation_are_valid():
    """Command lines of docs/clusters.md are valid shell, and their options go together."""
    blocks = re.findall(r"^```\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    found = 0
    for block in blocks:
        assert subprocess.run(["bash", "-n"], input=block, text=True, check=False).returncode == 0
        for line in block.splitlines():
            words = [word for word in shlex.split(line) if not word.startswith("RAY_")]
            if words[:2] != ["xception-jax", "sweep"]:
                continue
            given = parsed(words)
            engine_of(given)
            assert (ROOT / given["file"]).exists(), line
            found += 1
    assert found >= 6


@pytest.mark.parametrize("name", MANIFESTS)
def test_what_is_pre_empted_starts_again_without_being_counted(name):
    manifest = MANIFESTS[name]
    assert (manifest["apiVersion"], manifest["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    policy = manifest["spec"]["failurePolicy"]
    assert policy["maxRestarts"] == 2
    (rule,) = policy["rules"]
    assert rule["action"] == "RestartJobSetAndIgnoreMaxRestarts"
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    job = job_of(manifest)
    by_code, by_condition = job["podFailurePolicy"]["rules"]
    assert by_code["action"] == by_condition["action"] == "FailJob"
    (container,) = pod_of(manifest)["containers"]
    assert by_code["onExitCodes"] == {
        "containerName": container["name"],
        "operator": "In",
        "values": [INTERRUPTED, LOST_PEER],
    }
    # JobSet does not fill in the status, which a Job requires.
    assert by_condition["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert job["backoffLimit"] == 0  # no pod of a run comes back alone
    assert pod_of(manifest)["restartPolicy"] == "Never"  # which such rules need


@pytest.mark.parametrize("name", MANIFESTS)
def test_work_outlives_its_pod(name):
    pod = pod_of(MANIFESTS[name])
    (container,) = pod["containers"]
    (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
    assert mount["name"] == volume["name"]
    assert volume["persistentVolumeClaim"]["claimName"]
    for directory in (parsed(command_of(MANIFESTS[name], 0))["workdir"], container["workingDir"]):
        assert str(directory).startswith(f"{mount['mountPath']}/")


def test_a_sweep_is_one_pod_with_local_workers():
    manifest = MANIFESTS["xception-sweep"]
    job = job_of(manifest)
    assert (job["parallelism"], job["completions"]) == (1, 1)
    given = parsed(command_of(manifest, 0))
    assert given["launcher"] == "local"
    engine_of(given)
    assert (ROOT / given["file"]).exists()
    rows, columns = map(
        int, pod_of(manifest)["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x")
    )
    (container,) = pod_of(manifest)["containers"]
    assert container["resources"] == {"limits": {"google.com/tpu": rows * columns}}


def test_processes_of_a_run_find_each_other(call, tmp_path, monkeypatch):
    """Each pod's command asks JAX to join the others under its own number, at the first pod."""
    import jax

    manifest = MANIFESTS["xception-run"]
    name, (replicated,) = manifest["metadata"]["name"], manifest["spec"]["replicatedJobs"]
    job = job_of(manifest)
    assert job["completionMode"] == "Indexed"
    assert job["parallelism"] == job["completions"] > 1  # all at a time, or none ever starts
    assert manifest["spec"]["network"]["enableDNSHostnames"]
    (container,) = pod_of(manifest)["containers"]
    (port,) = container["ports"]
    joined = []

    def join(coordinator: str, processes: int, process_id: int, **_: object) -> None:
        joined.append((coordinator, processes, process_id))
        raise KeyboardInterrupt

    monkeypatch.setattr(jax.distributed, "initialize", join)
    for index in range(job["completions"]):
        given = parsed(command_of(manifest, index))
        assert (ROOT / given["config"]).exists()
        assert str(given["workdir"]) == "/shared/run"
        words = [
            word
            for option in ("coordinator", "processes", "process_id")
            for word in (f"--{option.replace('_', '-')}", given[option])
        ]
        code, _, err = call("train", CONFIG, "--workdir", tmp_path / "run", *words)
        assert code == 75, err
    first = f"{name}-{replicated['name']}-0-0.{name}:{port['containerPort']}"
    assert joined == [(first, job["completions"], n) for n in range(job["completions"])]
