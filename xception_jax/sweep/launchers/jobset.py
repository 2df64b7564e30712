"""`--launcher jobset`: a JobSet for each unit, for a Kubernetes cluster with TPU slices and Kueue.

Written, not submitted: whoever runs `kubectl apply` has the rights. A unit on one host is trained
by a worker like everywhere; a run on a slice of several hosts by `train` on each of them.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from xception_jax.checksums import digest
from xception_jax.errors import INTERRUPTED, LOST_PEER, InputError, nearest_name
from xception_jax.sweep.launchers import Unit

_KINDS = {
    "v4": "tpu-v4-podslice",
    "v5e": "tpu-v5-lite-podslice",
    "v5p": "tpu-v5p-slice",
    "v6e": "tpu-v6e-slice",
}
_CHIPS = 4  # of a host, at most
_KEYS = ("image", "topology", "claim", "queue")
_TEMPLATE = """\
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: {name}
  labels:
    kueue.x-k8s.io/queue-name: {queue}
spec:
  failurePolicy:
    maxRestarts: 2
    rules:
    - action: RestartJobSetAndIgnoreMaxRestarts  # pre-emption does not count
      onJobFailureReasons: [PodFailurePolicy]
  replicatedJobs:
  - name: hosts
    replicas: 1
    template:
      spec:
        parallelism: {hosts}
        completions: {hosts}
        completionMode: Indexed
        backoffLimit: 0
        podFailurePolicy:
          rules:
          - action: FailJob
            onExitCodes:
              containerName: worker
              operator: In
              values: [{interrupted}, {lost_peer}]
          - action: FailJob
            onPodConditions:
            - type: DisruptionTarget
        template:
          spec:
            restartPolicy: Never
            terminationGracePeriodSeconds: 120
            nodeSelector:
              cloud.google.com/gke-tpu-accelerator: {kind}
              cloud.google.com/gke-tpu-topology: {topology}
            containers:
            - name: worker
              image: {image}
              command: [{command}]
              resources:
                limits:
                  google.com/tpu: {chips}
              volumeMounts:
              - name: sweep
                mountPath: {directory}
            volumes:
            - name: sweep
              persistentVolumeClaim:
                claimName: {claim}
"""


@dataclass(frozen=True)
class JobSets:
    """What the manifests of a sweep have in common.

    Args:
        directory: of the sweep, where the volume is mounted in the pods, too.
        options: "image=…,topology=v5e:2x2,claim=…,queue=…": the container's image, which has this
            package; the slice of each unit; the volume claim that holds the directory; and the
            queue of Kueue.

    Raises:
        InputError: one of these is missing or is none.
    """

    directory: Path
    options: str

    def __post_init__(self) -> None:
        given = self._given()
        for name in given:
            if name not in _KEYS:
                reason = f"knows {', '.join(_KEYS)}, not {name!r}"
                raise InputError("--jobset", self.options, reason, nearest_name(name, _KEYS))
        for name in _KEYS:
            if not re.fullmatch(r"[A-Za-z0-9][\w./:@-]*", given.get(name, "")):
                raise InputError("--jobset", self.options, f"needs {name}=…")
        self._slice()

    def _given(self) -> dict[str, str]:
        pairs = (word.partition("=") for word in filter(None, self.options.split(",")))
        return {name: value for name, _, value in pairs}

    def _slice(self) -> tuple[str, str, int]:
        """GKE's name of the chips, the topology, and the number of chips."""
        text = self._given()["topology"]
        kind, _, topology = text.partition(":")
        if kind not in _KINDS or not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", topology):
            reason = f"is a kind ({', '.join(_KINDS)}) and its chips, like v5e:4x4"
            raise InputError("--jobset topology", text, reason, nearest_name(kind, _KINDS))
        chips = prod(map(int, topology.split("x")))
        if chips > _CHIPS and chips % _CHIPS:
            reason = f"has {chips} chips, which are not whole hosts of {_CHIPS}"
            raise InputError("--jobset topology", text, reason)
        return _KINDS[kind], topology, chips

    @property
    def hosts(self) -> int:
        """So many processes of one run."""
        return max(1, self._slice()[2] // _CHIPS)

    def render(self, units: Sequence[Unit]) -> str:
        """A YAML document for each unit.

        Raises:
            InputError: a pack is to train on several hosts.
        """
        kind, topology, chips = self._slice()
        prefix = f"xception-jax-{digest(str(self.directory))[:8]}"
        given = {name: value for name, value in self._given().items() if name != "topology"}
        return "---\n".join(
            _TEMPLATE.format(
                **given,
                name=f"{prefix}-{unit.number}",
                kind=kind,
                topology=topology,
                hosts=self.hosts,
                chips=min(chips, _CHIPS),
                directory=self.directory,
                interrupted=INTERRUPTED,
                lost_peer=LOST_PEER,
                command=", ".join(f'"{word}"' for word in self._command(unit)),
            )
            for unit in units
        )

    def _command(self, unit: Unit) -> tuple[str, ...]:
        """Of a container: its Python is the image's own."""
        if self.hosts == 1:
            return ("python", *unit.command[1:])
        if len(unit.homes) > 1:
            reason = f"has {self.hosts} hosts a unit, and a pack trains on one: --packing off"
            raise InputError("--jobset topology", self._given()["topology"], reason)
        home = str(unit.homes[0])
        train = ("train", f"{home}/config.json", "--workdir", home)
        return ("python", "-m", "xception_jax", *train)

    def submit(self, units: Sequence[Unit]) -> str:
        """Writes the manifests into the directory; says what hands them over."""
        path = units[0].log.parent / "jobset.yaml"
        path.write_text(self.render(units))
        return f"to submit them, kubectl apply -f {shlex.quote(str(path))}"

    def status(self) -> dict[int, str]:
        """Nothing: applying a manifest again changes nothing of what is there."""
        return {}
