"""The audit: what pairs, and that every way of not pairing is named."""

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.synthetic_sweep import STEPS, NewSweep, SweepWriter, edit_run, saturating
from xception_jax.report.reading import read_directory
from xception_jax.statistics.audit import KINDS, audit
from xception_jax.statistics.contrasts import contrasts

Change = Callable[[dict[str, Any]], None]


def edit(path: Path, change: Change) -> None:
    """Changes a JSON file in place."""
    if path.name == "run.json":
        edit_run(path.parent, change)
        return
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def mismatches(sweep: SweepWriter) -> list[tuple[str, list[str], int | None]]:
    found = audit(read_directory(sweep.directory))["mismatches"]
    assert all("\n" not in each["text"] for each in found)
    return [(each["kind"], each["arms"], each["seed"]) for each in found]


def test_a_sweep_whose_arms_share_all_but_what_they_declare_pairs(
    finished_sweep: SweepWriter,
) -> None:
    found = audit(read_directory(finished_sweep.directory))
    assert found["mismatches"] == []
    assert found["complete"]
    alike = {"identical": 3, "same_path_and_shape": 3, "arrays": 3}
    assert found["shared_initial"] == {"relu vs none": alike, "elu vs none": alike}
    name = "model.intermediate_activation"
    assert found["settings"] == {arm: {name: arm} for arm in ("none", "relu", "elu")}
    pair = found["seeds"][1]["pairs"][0]
    assert found["seeds"][1]["seed"] == 1
    assert pair["arms"] == ["relu", "none"]
    assert pair["batches"] == pair["augmentation"] == {"identical": 3, "epochs": 3}


def test_the_work_grows_with_the_seeds_and_not_with_their_square(new_sweep: NewSweep) -> None:
    def calls_for(seeds: int) -> int:
        sweep = new_sweep(arms={"a": {}, "b": {}}, seeds=range(seeds))
        read, calls = read_directory(sweep.directory), itertools.count()
        sys.setprofile(lambda _, event, __: next(calls) if event == "call" else None)
        try:
            found = audit(read)
        finally:
            sys.setprofile(None)
        assert len(found["seeds"]) == seeds
        return next(calls)

    assert calls_for(400) < 6 * calls_for(100)


def test_claims_choose_the_pairs_and_no_arm_is_left_out(new_sweep: NewSweep) -> None:
    claim = {"arm": "a", "baseline": "b", "direction": "better", "endpoints": ["final_top1"]}
    sweep = new_sweep(arms={"a": {}, "b": {}, "c": {}}, claims=[claim, claim, "free text"])
    read = read_directory(sweep.directory)
    assert [contrast.arms for contrast in contrasts(read)] == [("a", "b"), ("c", "a")]
    assert not audit(read)["complete"]


def change_start(record: dict[str, Any]) -> None:
    record["initial"]["head/kernel"]["sha256"] = "0" * 16


def change_shape(record: dict[str, Any]) -> None:
    record["initial"]["head/kernel"] = {"shape": [8, 11], "sha256": "0" * 16}


def change_split(split: str, field: str) -> Change:
    return lambda record: record["data"]["splits"][split].update({field: "0" * 64})


def change_pixels(record: dict[str, Any]) -> None:
    record["first_batches"][1]["pixels"] = "0" * 16


def change_epoch(stream: str) -> Change:
    def change(record: dict[str, Any]) -> None:
        record["epochs"][1][stream] = "0" * 16

    return change


@pytest.mark.parametrize(
    ("file", "change", "kind", "words"),
    [
        ("pairing.json", change_start, "initial", "1 of 3 arrays"),
        ("pairing.json", change_epoch("batches"), "batches", "other batches in epoch 2"),
        ("pairing.json", change_epoch("augmentation"), "augmentation", "draws in epoch 2"),
        ("pairing.json", lambda r: r["epochs"].pop(), "batches", "batches of 2 and of 3 epochs"),
        ("pairing.json", lambda r: r.clear(), "unrecorded", "relu left no record"),
        ("config.json", lambda c: c["train"].update(epochs=9), "settings", "train.epochs=9 and 10"),
        ("config.json", lambda c: c["model"].update(new=1), "settings", "model.new=1 and not set"),
        (
            "config.json",
            lambda c: c["model"].update(intermediate_activation="selu"),
            "settings",
            "declares model.intermediate_activation=relu and ran with selu",
        ),
        ("run.json", lambda r: r.update(devices=["TPU v5e"]), "devices", "1 x TPU v5e and 1 x cpu"),
        (
            "run.json",
            lambda r: r.update(depthwise_implementation="native"),
            "devices",
            "depthwise_implementation: native and shift",
        ),
        (
            "run.json",
            lambda r: r.update(batch_norm_implementation="native"),
            "devices",
            "batch_norm_implementation: native and lax",
        ),
        (
            "run.json",
            lambda r: r.update(deterministic=False),
            "deterministic",
            "relu ran with XCEPTION_JAX_DETERMINISTIC=off",
        ),
        (
            "run.json",
            lambda r: r["options"].update(jax_default_matmul_precision="highest"),
            "options",
            "jax_default_matmul_precision: highest and None",
        ),
        (
            "run.json",
            lambda r: r["options"].update(XLA_FLAGS="--xla_cpu_enable_fast_math=true"),
            "options",
            "XLA_FLAGS: --xla_cpu_enable_fast_math=true and not set",
        ),
        (
            "run.json",
            lambda r: r["versions"].update(jax="0.11"),
            "versions",
            "jax: 0.11 and",
        ),
        ("run.json", lambda r: r.update(commit="f" * 40, code={}), "commit", "commit: ffff"),
        (
            "run.json",
            lambda r: (r.update(commit="f" * 40), r["code"].update(package="0")),
            "commit",
            "commit: ffff",
        ),
        ("run.json", change_split("train", "labels"), "data", "other labels in the train split"),
        ("run.json", change_split("test", "images"), "data", "other images in the test split"),
        ("run.json", lambda r: r["data"].update(classes="0"), "data", "other class names in the"),
        ("run.json", lambda r: r.pop("data"), "unrecorded", "relu left no record of the data"),
        ("run.json", lambda r: r["data"].update(method="records"), "unrecorded", "by records and"),
        ("pairing.json", change_pixels, "pixels", "other pixels in the batch of step 2"),
        (
            "run.json",
            lambda r: r["code"]["files"].update({"experiments/mine.py": "0"}),
            "code",
            "other content of experiments/mine.py",
        ),
        (
            "run.json",
            lambda r: (r.update(commit=r["commit"] + "+changes"), r["code"].update(package="0")),
            "code",
            "other sources of xception-jax, by changes that are in no commit",
        ),
    ],
)
def test_every_way_of_not_pairing_is_named(
    finished_sweep: SweepWriter, file: str, change: Change, kind: str, words: str
) -> None:
    edit(finished_sweep.run_directory("relu", 2) / file, change)
    found = audit(read_directory(finished_sweep.directory))["mismatches"]
    place = (kind, ["relu", "none"], 2)
    texts = [row["text"] for row in found if (row["kind"], row["arms"], row["seed"]) == place]
    assert any(words in text for text in texts)
    assert all("\n" not in each["text"] for each in found)
    assert all("relu" in each["arms"] for each in found)
    assert all(
        each["seed"] == 2 or "seed 2, compared with seed 0" in each["text"] for each in found
    )


def test_weights_that_were_replaced_between_two_runs_are_named(
    finished_sweep: SweepWriter,
) -> None:
    """Their path, and so the settings, are the same."""
    homes = sorted((finished_sweep.directory / "runs").iterdir())
    for home in homes:
        edit(home / "run.json", lambda r: r.update(initial_weights_sha256="a" * 64))
    assert audit(read_directory(finished_sweep.directory))["mismatches"] == []
    changed = finished_sweep.run_directory("relu", 2) / "run.json"
    edit(changed, lambda r: r.update(initial_weights_sha256="b" * 64))
    found = audit(read_directory(finished_sweep.directory))["mismatches"]
    assert ("initial", ["relu", "none"], 2) in mismatches(finished_sweep)
    assert ("initial", ["relu", "relu"], None) in mismatches(finished_sweep)
    assert all("other content of train.initial_weights" in row["text"] for row in found)


def test_other_shapes_are_not_expected_to_start_alike(finished_sweep: SweepWriter) -> None:
    edit(finished_sweep.run_directory("relu", 0) / "pairing.json", change_shape)
    found = audit(read_directory(finished_sweep.directory))
    assert found["mismatches"] == []
    expected = {"identical": 2, "same_path_and_shape": 2, "arrays": 3}
    assert found["shared_initial"]["relu vs none"] == expected


def test_arms_that_ask_for_implementations_may_have_them(finished_sweep: SweepWriter) -> None:
    for seed in finished_sweep.seeds:
        directory = finished_sweep.run_directory("relu", seed)
        edit(directory / "run.json", lambda r: r.update(depthwise_implementation="lax"))
        edit(
            directory / "config.json",
            lambda c: c["model"].update(depthwise_implementation="lax"),
        )
    kinds = {kind for kind, *_ in mismatches(finished_sweep)}
    assert kinds == {"settings"}  # which no arm declares, here


def test_what_every_seed_has_is_said_once(finished_sweep: SweepWriter) -> None:
    for seed in finished_sweep.seeds:
        edit(
            finished_sweep.run_directory("elu", seed) / "run.json",
            lambda record: record.update(devices=["TPU v5e"]),
        )
    assert mismatches(finished_sweep) == [("devices", ["elu", "none"], None)]


def test_settings_that_cannot_change_a_result_may_differ(finished_sweep: SweepWriter) -> None:
    path = finished_sweep.run_directory("elu", 0) / "config.json"
    edit(path, lambda config: config.update(wandb={"mode": "online"}))
    assert mismatches(finished_sweep) == []


def test_runs_that_have_not_begun_are_no_mismatch(new_sweep: NewSweep) -> None:
    sweep = new_sweep(arms={"a": {}, "b": {}})
    sweep.add_run("a", 0, steps=STEPS, top1=saturating(0.9), test_top1=0.9)
    found = audit(read_directory(sweep.directory))
    assert found["mismatches"] == []
    assert not found["complete"]
    assert found["seeds"][0]["runs"] == {"a": "done", "b": "planned"}


@pytest.mark.parametrize(
    "content", ["", "[]", '{"initial": 3, "epochs": {}}', '{"initial": {"a": 3}, "epochs": [3]}']
)
def test_a_broken_record_is_as_good_as_none(finished_sweep: SweepWriter, content: str) -> None:
    (finished_sweep.run_directory("elu", 0) / "pairing.json").write_text(content)
    assert ("unrecorded", ["elu", "none"], 0) in mismatches(finished_sweep)


def test_the_command_names_every_mismatch_and_exits_with_1(
    finished_sweep: SweepWriter, call: Callable
) -> None:
    code, out, err = call("audit", finished_sweep.directory)
    assert (code, err) == (0, "")
    assert "everything pairs" in out
    assert "all of 9 epochs alike" in out
    edit(finished_sweep.run_directory("relu", 2) / "pairing.json", change_start)
    code, out, err = call("audit", finished_sweep.directory)
    assert (code, err.count("\n")) == (1, 1)
    assert "relu and none, seed 2: 1 of 3 arrays" in err
    code, out, _ = call("audit", finished_sweep.directory, "--json")
    assert code == 1
    assert json.loads(out)["mismatches"][0]["kind"] == "initial"


def test_command_refuses_what_is_no_sweep(tmp_path: Path, call: Callable) -> None:
    code, out, err = call("audit", tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "holds neither sweep.json nor run.json" in err


def test_kinds_are_those_of_the_contract() -> None:
    assert set(KINDS) == {
        "initial", "batches", "augmentation", "settings", "data", "pixels", "code",
        "devices", "deterministic", "options", "versions", "commit", "unrecorded", "tuning",
    }  # fmt: skip


def test_one_run_has_no_pairs(finished_sweep: SweepWriter, call: Callable) -> None:
    code, out, _ = call("audit", finished_sweep.run_directory("relu", 1))
    assert (code, len(out.splitlines())) == (0, 1)
    assert "holds one run, which has no pairs" in out
