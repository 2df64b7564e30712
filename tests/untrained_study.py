"""Sweeps that are declared and run by commands, and whose runs leave known results untrained."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.programs import Call
from tests.shrunk import CONFIG, SHRUNK
from tests.synthetic_sweep import DATA, STEPS, pairing, saturating, write_log
from xception_jax.checksums import has_valid_checksum
from xception_jax.runtime import run_directory as files
from xception_jax.sweep import local
from xception_jax.training import Interrupted, RunSpec

CLAIM = "Claim('relu', 'none', 'better')"
OPPOSITE = "Claim('relu', 'none', 'worse')"


class Study:
    """A sweep with the commands that a user gives; its runs leave known results, untrained.

    Attributes:
        claims: source of the claims in the experiment file.
        trainable: runs of seeds below this one end when they are trained; the others wait.
        interrupted: whether training is stopped before any run.
        fields: source of what the experiment has beside its arms and claims.
        trained: arm and seed of every run that was begun, in order.
        finals: accuracy of each arm without its noise.
        spread: standard deviation of that noise.
    """

    def __init__(self, call: Call, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self.call, self.file, self.home = call, directory / "study.py", directory / "sweep"
        self.claims, self.trainable, self.interrupted = CLAIM, 100, False
        self.fields = "seeds=8"
        self.trained: list[tuple[str, int]] = []
        self.finals, self.spread = {"none": 0.85, "relu": 0.88}, 0.001
        patch.setattr(local, "_train", self._train)
        # What such a run records of its data is made up.
        patch.setattr(local, "require_same_data", lambda *_: None)

    def sweep(self, *words: object) -> str:
        """Runs `sweep`, and returns what it said on standard error."""
        code, _, err = self.call("sweep", self.write(), "--workdir", self.home, *self.words(*words))
        assert code in (0, 1, 75), err
        return err

    def write(self) -> Path:
        """Writes the experiment's file."""
        arms = {arm: {"model.intermediate_activation": arm} for arm in self.finals}
        self.file.write_text(
            "from xception_jax.sweep import Claim, Experiment, Tune\n\n"
            "def get_experiment():\n"
            f"    fields = dict({self.fields}, claims=({self.claims},), arms={arms!r})\n"
            f"    return Experiment('study', 'so', {str(CONFIG)!r}, **fields)\n"
        )
        return self.file

    @staticmethod
    def words(*words: object) -> tuple[object, ...]:
        """Words that make a sweep small, after others."""
        return "--packing", "off", *words, *SHRUNK

    def verdict(self) -> dict[str, Any]:
        """The verdict on the last claim, as `report` leaves it."""
        code, out, _ = self.call("report", self.home)
        assert code == 0
        content = json.loads((self.home / "report" / "verdicts.json").read_text())
        claim: dict[str, Any] = content["claims"][-1]
        assert claim["sentence"] in out.replace("\n", " ")
        page = (self.home / "report" / "index.html").read_text()
        assert f"grade {claim['grade']}" in page
        return claim

    def record(self) -> dict[str, Any]:
        """The content of `sweep.json`."""
        content: dict[str, Any] = json.loads((self.home / "sweep.json").read_text())
        return content

    def final(self, run: RunSpec) -> float:
        """The accuracy that a run reaches: that of its arm, and noise of its arm and seed."""
        arm = run.names.arm or ""
        noise = np.random.default_rng([run.config.seed, *arm.encode()]).normal()
        return self.finals[arm] + self.spread * float(noise)

    def _train(self, run_specs: Sequence[RunSpec], *_: object, **__: object) -> list[dict]:
        if self.interrupted:
            raise Interrupted("stopped")
        return [self._end(run) for run in run_specs]

    def _end(self, run: RunSpec) -> dict[str, Any]:
        seed, arm = run.config.seed, run.names.arm or ""
        self.trained.append((arm, seed))
        if seed >= self.trainable:
            return files.update_run(run.directory, status="planned")
        final = self.final(run)
        write_log(run.directory / "metrics.jsonl", STEPS, saturating(final), [1.0] * len(STEPS))
        (run.directory / "pairing.json").write_text(json.dumps(pairing(seed)))
        result = {"split": run.final_split, "loss": 1.0, "top1": final, "top5": 1.0}
        result["examples"] = 1000
        return files.update_run(
            run.directory,
            status="done",
            started=files.now(),
            ended=files.now(),
            claims_sha256=run.names.claims_sha256,
            devices=["cpu"],
            depthwise_implementation="shift",
            batch_norm_implementation="lax",
            steps=STEPS[-1],
            classes=10,
            data=DATA,
            result=result,
            **files.provenance(),
        )


BEST = {"none": 0.05, "relu": 0.2}


class TunedStudy(Study):
    """A sweep that is tuned first; how far a run comes depends on its learning rate."""

    def __init__(self, call: Call, directory: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(call, directory, patch)
        self.trainable = 10**10  # the seeds of tuning are large
        self.fields = "seeds=4, tune=Tune('optimizer.learning_rate', (0.025, 0.05, 0.1, 0.2, 0.4))"

    def final(self, run: RunSpec) -> float:
        steps_away = np.log2(run.config.optimizer.learning_rate / BEST[run.names.arm or ""])
        return super().final(run) - 0.1 * abs(float(steps_away))

    def tuning(self) -> dict[str, Any]:
        """The content of `tuning.json`, without the times of the choice."""
        record: dict[str, Any] = json.loads((self.home / "tuning.json").read_text())
        assert has_valid_checksum(record)
        del record["sha256"]
        for entry in record["arms"].values():
            del entry["at"]
        return record

    def assert_same(self, other: "TunedStudy") -> None:
        """The same choice, on record in both places, and the same runs of the verdict."""
        assert self.tuning() == other.tuning()
        assert self.tuning()["complete"]
        experiment, others = (study.record()["experiment"] for study in (self, other))
        assert experiment["tuned"] == json.loads((self.home / "tuning.json").read_text())
        assert experiment["arms"] == others["arms"]
        assert self.record()["runs"] == other.record()["runs"]
        assert len(self.record()["declarations"]) == 1
