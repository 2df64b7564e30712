"""Sweeps of known truth that train: tuned, looked at by plan, killed, reported, confirmed.

One arm cannot learn, since hardly a feature reaches its classifier; one differs from the plain one
in nothing that matters.
"""

import json
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.processes import started, wait_until
from tests.shrunk import CONFIG
from tests.sweep.tuned_sweeps import assert_same, read, records
from xception_jax.report.reading import read_directory
from xception_jax.statistics.results import Sweep

pytestmark = pytest.mark.slow

PLANTED = f"""
from xception_jax.sweep import Claim, Experiment, Tune


def get_experiment():
    return Experiment(
        name="planted",
        hypothesis="A classifier that sees one feature in a hundred learns less.",
        base={str(CONFIG)!r},
        arms={{
            "plain": {{"model.dropout": 0.2}},
            "harmed": {{"model.dropout": 0.99}},
            "same": {{"model.dropout": 0.2, "optimizer.weight_decay": 5.0001e-4}},
        }},
        seeds=10,
        looks=(8, 10),
        spending="pocock",
        tune=Tune("optimizer.learning_rate", (1e-3, 0.1, 10.0), seeds=1),
        claims=(
            Claim("plain", "harmed", "better"),
            Claim("same", "plain", "better"),
            Claim("same", "plain", "equivalent", margin=0.1),
        ),
    )
"""
# All images of the digits, some 130 steps with a checkpoint every 13.
LEARNING = (
    "data.name=digits",
    "data.image_size=8",
    "data.augmentation=none",
    "model.width=0.25",
    "model.middle_modules=0",
    "train.batch_size=64",
    "train.epochs=6",
    "train.average_decay=0",
    "train.evaluate_every_epochs=1",
    "checkpoint.every_epochs=0.6",
    "wandb.mode=disabled",
)
Words = Callable[[Path], tuple[str, ...]]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Words:
    path = tmp_path_factory.mktemp("experiment") / "planted.py"
    path.write_text(PLANTED)
    fixed = ("--packing", "8", *LEARNING)
    return lambda home: ("sweep", str(path), "--workdir", str(home), *fixed)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, call: Any, words: Words) -> Path:
    """A sweep that nothing has disturbed."""
    home = tmp_path_factory.mktemp("sweep") / "done"
    code, out, err = call(*words(home))
    assert (code, err) == (0, "")
    assert "look 1 of 2, at 8 seeds: plain, harmed, same" in out
    assert "look 2 of 2, at 10 seeds: plain, same" in out
    return home


def seeds(home: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for run in records(home, "runs"):
        found.setdefault(run["arm"], []).append(run["seed"])
    return {arm: sorted(of_arm) for arm, of_arm in found.items()}


def judged(call: Any, home: Path) -> list[dict[str, Any]]:
    """The claims as `report` leaves them."""
    code, out, _ = call("report", home)
    assert code == 0
    claims: list[dict[str, Any]] = json.loads((home / "report" / "verdicts.json").read_text())[
        "claims"
    ]
    assert all(claim["sentence"] in out.replace("\n", " ") for claim in claims)
    return claims


def assert_as_planted(claims: list[dict[str, Any]]) -> None:
    """What is there is found, what is not there is not, and each claim says at which look."""
    assert [claim["verdict"] for claim in claims] == ["supported", "inconclusive", "equivalent"]
    assert [claim["look"]["number"] for claim in claims] == [1, 2, 1]
    assert [claim["grade"] for claim in claims] == ["A"] * 3
    harm, null, alike = (claim["endpoints"][0] for claim in claims)
    assert harm["effect"] > 0.2
    assert harm["interval"][0] > 0
    assert abs(null["effect"]) < 0.1
    assert -0.1 < alike["interval"][0] <= alike["interval"][1] < 0.1


def test_planted_truth_is_found_and_no_seed_is_wasted(finished: Path, call: Any) -> None:
    assert seeds(finished) == {
        "plain": list(range(10)),
        "same": list(range(10)),
        "harmed": list(range(8)),  # its claim fell at the first look
    }
    chosen = {arm: entry["chosen"] for arm, entry in read(finished)["arms"].items()}
    assert chosen["plain"] == chosen["same"] == {"optimizer.learning_rate": 0.1}
    claims = judged(call, finished)
    assert_as_planted(claims)
    assert "at its own learning rate" in claims[0]["sentence"]
    accuracies = accuracies_of(read_directory(finished))
    # 180 test images of ten classes: chance is 0.1, with a standard deviation of 0.02.
    assert min(accuracies["plain"]) > 0.3


def accuracies_of(sweep: Sweep) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for run in sweep.runs:
        assert run.final_metric is not None
        found.setdefault(run.arm, []).append(run.final_metric)
    return found


def test_fresh_seeds_replicate_what_is_there(finished: Path, call: Any, tmp_path: Path) -> None:
    home = tmp_path / "again"
    code, out, err = call("confirm", finished, "--workdir", home, "--packing", 8)
    assert (code, err) == (0, "")
    assert "tuning" not in out.replace(str(home), "")  # the rates are those that were chosen
    assert not (home / "tuning").exists()
    assert seeds(home) == {
        "plain": list(range(10, 20)),
        "same": list(range(10, 20)),
        "harmed": list(range(10, 18)),
    }
    claims = judged(call, home)
    assert_as_planted(claims)
    outcomes = [claim["replication"]["outcome"] for claim in claims]
    assert outcomes[0] == outcomes[2] == "replicated"
    assert outcomes[1] != "replicated"
    (both,) = claims[0]["replication"]["combined"]
    assert both["pairs"] == 16
    assert both["interval"][0] > 0


# -- kills -------------------------------------------------------------------------------------


def ended(home: Path) -> int:
    return sum(run["status"] in ("done", "diverged") for run in records(home, "runs"))


def listed(home: Path) -> int:
    path = home / "sweep.json"
    return len(json.loads(path.read_text())["runs"]) if path.exists() else 0


def is_tuned(home: Path) -> bool:
    return (home / "tuning.json").exists() and read(home)["complete"]


def is_under_way(home: Path, seed: int) -> bool:
    """Whether a pack with this seed has saved twice, so that at least one save is whole."""
    saved = [path for path in home.glob(f"runs/*-s{seed}-*/checkpoints/*") if path.name.isdigit()]
    return len({path.name for path in saved}) > 1 and ended(home) < listed(home)


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "the choice is made": is_tuned,
    "within the first look": lambda home: is_under_way(home, seed=3),
    "between the looks": lambda home: ended(home) == 24 and listed(home) == 28,
    "within the second look": lambda home: is_under_way(home, seed=9),
}


def test_a_sweep_with_looks_is_killed_and_goes_on_to_the_same_bits(
    finished: Path, call: Any, words: Words, tmp_path: Path
) -> None:
    """Kill -9 between and within looks, and where tuning hands over to them."""
    home = tmp_path / "killed"
    for moment, is_reached in MOMENTS.items():
        print(moment)
        with started(*words(home)) as process:  # it is killed at the end of this
            wait_until(partial(is_reached, home), process)
            if moment == "within the first look":  # a second sweep is refused, and does no harm
                process.send_signal(signal.SIGSTOP)  # so that the first is still there
                code, _, err = call(*words(home))
                assert (code, err.count("\n")) == (2, 1)
                assert f"is in use by process {process.pid} on " in err
    with started(*words(home)) as process:
        out, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (0, "")
    assert "look 2 of 2, at 10 seeds: plain, same" in out
    assert "every claim is decided" not in out
    assert_same(finished, home)
    assert any(run["resumed_from"] for run in records(home, "runs"))
    assert len(json.loads((home / "sweep.json").read_text())["declarations"]) == 1
    assert seeds(home)["harmed"] == list(range(8))
    verdicts = [judged(call, each) for each in (finished, home)]
    for claims in verdicts:
        for claim in claims:
            del claim["compute"]  # what was trained again after a kill was spent
    assert verdicts[0] == verdicts[1]
