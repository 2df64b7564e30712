"""A split for each seed: run ids, packs, the pairing of arms, and what the audit makes of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.launchers.worker_sweeps import EXPERIMENT as RATES
from tests.shrunk import CONFIG, SHRUNK, SOONEST
from tests.synthetic_sweep import STEPS, SweepWriter, edit_run, saturating
from xception_jax.config import SETTINGS, load_config, resolve, run_id, split_seed
from xception_jax.report import write_report
from xception_jax.report.reading import read_directory
from xception_jax.statistics.audit import audit
from xception_jax.sweep import load_experiment, plan_runs
from xception_jax.sweep.packing import plan_packs

BY_SEED = "data.split_seed=seed"
SPLITS = ("train", "valid", "test")


def test_run_ids_stay_where_the_split_is_fixed() -> None:
    """That of `configs/fashion_mnist_mini.py` as it was before there was the setting."""
    settings = load_config(CONFIG)
    fixed = resolve(settings)
    expected = "3c1072b9ca401b8286b18cb9cec32d96a8b9a6f5c6fe607afa48eced38050a75"
    named = resolve(settings, overrides=["data.split_seed=fixed"])
    assert run_id(fixed) == run_id(named) == expected
    by_seed = resolve(settings, overrides=[BY_SEED])
    assert run_id(by_seed) != expected
    assert (split_seed(fixed), split_seed(by_seed)) == (None, 0)
    assert SETTINGS["data.split_seed"].identity == "unless_default"


def test_packs_hold_runs_of_one_split(experiment: Path, tmp_path: Path) -> None:
    for words, expected in (
        ([], [(0, 1, 2, 3, 4, 5)]),
        ([BY_SEED], [(0, 1, 2), (3, 4, 5)]),  # three arms of each of two seeds
    ):
        described, base = load_experiment(experiment, overrides=words)
        runs = [run for run in plan_runs(described, base) if run.seed < 2]
        packs = plan_packs(
            tmp_path,
            runs,
            range(len(runs)),
            recorded=(),
            sizes=lambda runs: (len(runs), "given"),
            warn=pytest.fail,
        )
        assert [pack.indices for pack in packs] == expected


@pytest.fixture(scope="module")
def trained(tmp_path_factory, call) -> Path:
    """Three arms, four seeds, each seed on a split of its own; in packs where they can be."""
    home = tmp_path_factory.mktemp("split") / "sweep"
    words = ("--seeds", "4", "--packing", "3", *SHRUNK, *SOONEST, BY_SEED)
    code, _, err = call("sweep", str(RATES), "--workdir", str(home), *words)
    assert (code, err) == (0, "")
    return home


@pytest.mark.usefixtures("undrawn_figures")
def test_arms_of_a_seed_stay_paired_and_the_audit_expects_other_splits(trained: Path) -> None:
    """`digits` has no test split: it is held out of train too, and is the same for all seeds."""
    read = read_directory(trained)
    found = audit(read)
    assert found["mismatches"] == []
    held_out: dict[int, set[str]] = {}
    for run in read.runs:
        assert run.data["drawn"] == ["train", "valid"]
        assert run.pack == 3
        held_out.setdefault(run.seed or 0, set()).add(run.data["splits"]["valid"]["images"])
    assert [len(of_seed) for of_seed in held_out.values()] == [1] * 4
    assert len(set.union(*held_out.values())) == 4
    assert len({run.data["splits"]["test"]["images"] for run in read.runs}) == 1
    assert len({run.data["pool"] for run in read.runs}) == 1
    sentences = [claim["sentence"] for claim in write_report(trained).verdicts["claims"]]
    assert all("a split of its own for each seed" in sentence for sentence in sentences)


@pytest.mark.usefixtures("undrawn_figures")
def test_all_seeds_are_measured_on_the_same_examples(trained: Path) -> None:
    """So the noise of seeds and that of examples can be told apart."""
    verdicts = write_report(trained).verdicts
    assert {row["of"] for row in verdicts["noise"]} >= {"slow", "usual", "fast"}
    assert {row["examples"] for row in verdicts["noise"]} == {180}
    accuracies = [e for c in verdicts["claims"] for e in c["endpoints"]]
    assert any(endpoint["example_interval"] for endpoint in accuracies)


def planted(new_sweep: Any) -> SweepWriter:
    sweep = new_sweep(arms={"a": {}, "b": {}})
    for arm in sweep.arms:
        for seed in sweep.seeds:
            path = sweep.add_run(arm, seed, steps=STEPS, top1=saturating(0.9), test_top1=0.9)
            config = json.loads((path / "config.json").read_text())
            config["data"]["split_seed"] = "seed"
            (path / "config.json").write_text(json.dumps(config))

            def draw(record: dict[str, Any], seed: int = seed) -> None:
                for split in SPLITS[:2]:
                    record["data"]["splits"][split] |= {"images": f"{seed}", "labels": f"{seed}"}
                record["data"] |= {"drawn": list(SPLITS[:2]), "pool": "p" * 64}

            edit_run(path, draw)
    return sweep


@pytest.mark.parametrize(
    ("arms", "change", "kinds"),
    [
        ((), None, set()),
        # One arm of a seed on another split: the pair, and so the seed, is broken.
        (("a",), lambda data: data["splits"]["valid"].update(images="x"), {"data"}),
        # The test split is the set's own: it may not vary.
        (("a",), lambda data: data["splits"]["test"].update(labels="x"), {"data"}),
        # Other data in the place of the old, from which splits are drawn: both arms of a seed.
        (("a", "b"), lambda data: data.update(pool="x"), {"data"}),
        (("a", "b"), lambda data: data["splits"]["valid"].update(examples=7), {"data"}),
        (("a", "b"), lambda data: data["splits"]["test"].update(labels="x"), {"data"}),
    ],
)
def test_the_audit_excuses_the_drawn_splits_and_nothing_else(
    new_sweep: Any, arms: tuple[str, ...], change: Any, kinds: set[str]
) -> None:
    sweep = planted(new_sweep)
    for arm in arms:
        edit_run(sweep.run_directory(arm, 1), lambda record: change(record["data"]))
    found = audit(read_directory(sweep.directory))["mismatches"]
    assert {mismatch["kind"] for mismatch in found} == kinds


def test_a_config_from_before_the_setting_had_the_fixed_split(finished_sweep: SweepWriter) -> None:
    path = finished_sweep.run_directory("none", 0)
    config = json.loads((path / "config.json").read_text())
    config["data"]["split_seed"] = "fixed"
    (path / "config.json").write_text(json.dumps(config))
    assert audit(read_directory(finished_sweep.directory))["mismatches"] == []


def test_the_labels_of_two_seeds_are_of_the_same_images(trained: Path) -> None:
    """Labels of the final evaluation, row by row."""
    of_seed = {
        run.seed: np.load(trained / run.directory / "predictions.npz")["label"]
        for run in read_directory(trained).runs
    }
    assert all(np.array_equal(of_seed[0], labels) for labels in of_seed.values())
