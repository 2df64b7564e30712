"""Sweeps whose data or code change between arms, seeds or sessions, through the command line."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.data.fabricate import write_folder
from tests.shrunk import CONFIG, SOONEST
from tests.synthetic_sweep import SweepWriter, edit_run, saturating
from xception_jax.config import load_config, resolve
from xception_jax.pretrained import save_keras_weights
from xception_jax.runtime import run_directory, source_code
from xception_jax.sweep import Claim
from xception_jax.training.setup import make_model, open_data

FOLDER_WORDS = ("data.name=folder", "data.train_examples=96")


def shift_labels(root: Path) -> None:
    """Every image becomes one of the next class."""
    for split in ("train", "test"):
        (root / split / "ant").rename(root / split / "old")
        (root / split / "cat").rename(root / split / "ant")
        (root / split / "bee").rename(root / split / "cat")
        (root / split / "old").rename(root / split / "bee")


def set_status(run: Path, status: str) -> None:
    edit_run(run, lambda record: record.update(status=status))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of images, and a copy in which every label is another."""
    home = tmp_path_factory.mktemp("folders")
    write_folder(home / "a", np.random.default_rng(5), {"train": 40, "test": 5}, (8, 8))
    shutil.copytree(home / "a", home / "b")
    shift_labels(home / "b")
    return home / "a", home / "b"


def of_a_folder(words: Sequence[str]) -> list[str]:
    """The words without the data that they name, and with the model that is compiled soonest."""
    return [*(word for word in words if not word.startswith("data.name=")), *SOONEST]


def write_experiment(path: Path, arms: dict[str, dict], more: str = "") -> Path:
    path.write_text(
        f"""from xception_jax.sweep import Experiment

{more}

def get_experiment():
    return Experiment(name="x", hypothesis="", base={str(CONFIG)!r}, arms={arms!r}, seeds=1)
"""
    )
    return path


def audit(call: Callable, home: Path) -> list[dict]:
    _, out, _ = call("audit", home, "--json")
    return json.loads(out)["mismatches"]


@pytest.mark.slow
def test_arms_on_other_labels_do_not_pair(call, folders, shrunk_words, tmp_path) -> None:
    words = of_a_folder(shrunk_words)
    a, b = ({"data.directory": str(folder)} for folder in folders)
    # One program for all of them: to compile is what takes time here.
    rate = "optimizer.learning_rate"
    arms: dict[str, dict] = {"first": a, "shifted": b | {rate: 0.05}, "slow": a | {rate: 0.04}}
    file, home = write_experiment(tmp_path / "labels.py", arms), tmp_path / "w"
    code, _, err = call(
        "sweep", file, "--workdir", home, "--packing", "off", *words, "data.name=folder"
    )
    assert (code, err) == (0, "")
    found = [(row["kind"], row["arms"]) for row in audit(call, home)]
    assert ("data", ["shifted", "first"]) in found
    assert all("shifted" in arms for _, arms in found)
    assert "slow" not in {arm for _, arms in found for arm in arms}


def test_a_run_does_not_go_on_with_other_data(call, folders, shrunk_words, tmp_path) -> None:
    words = of_a_folder(shrunk_words)
    home = tmp_path / "run"

    def train(folder: Path) -> tuple[int, str, str]:
        return call(
            "train", CONFIG, "--workdir", home, *words, "data.name=folder",
            f"data.directory={folder}",
        )  # fmt: skip

    assert train(folders[0])[0] == 0
    whole = (home / "metrics.jsonl").read_bytes()
    for status in ("done", "running"):  # ended, and as a kill leaves it
        set_status(home, status)
        code, out, err = train(folders[1])
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert f"data.directory='{folders[1]}'" in err
        assert "the train split is not the one that the run began with, says its run.json" in err
        assert json.loads((home / "run.json").read_text())["status"] == status
        code, out, err = train(tmp_path / "nowhere")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert f"data.directory='{tmp_path / 'nowhere'}'" in err
    copy = shutil.copytree(folders[0], tmp_path / "copy")  # the same data, elsewhere
    assert train(copy)[0] == 0
    assert (home / "metrics.jsonl").read_bytes() == whole


def test_a_sweep_does_not_go_on_with_other_data(call, folders, shrunk_words, tmp_path) -> None:
    words = of_a_folder(shrunk_words)
    file, home = write_experiment(tmp_path / "x.py", {"none": {}}), tmp_path / "w"

    def sweep(folder: Path) -> tuple[int, str, str]:
        directory = f"data.directory={folder}"
        return call("sweep", file, "--workdir", home, *words, "data.name=folder", directory)

    assert sweep(folders[0])[0] == 0
    (run,) = home.glob("runs/*")
    for status in ("done", "failed"):
        set_status(run, status)
        code, _, err = sweep(folders[1])
        assert (code, err.count("\n")) == (2, 1)
        assert "the train split is not the one that the run began with" in err


@pytest.mark.slow
def test_a_sweep_does_not_go_on_with_other_weights(call, shrunk_words, tmp_path) -> None:
    file, home = write_experiment(tmp_path / "x.py", {"none": {}}), tmp_path / "w"
    weights = tmp_path / "x.weights.h5"
    config = resolve(load_config(CONFIG), overrides=shrunk_words)

    def sweep() -> tuple[int, str, str]:
        word = f"train.initial_weights={weights}"
        return call("sweep", file, "--workdir", home, *shrunk_words, word)

    def save(seed: int) -> None:
        function = make_model(config, open_data(config).info)
        save_keras_weights(function.bind(*function.init(jax.random.key(seed))), weights)

    code, _, err = sweep()
    assert (code, err.count("\n")) == (2, 1)
    assert "no such file" in err
    assert not home.exists()
    save(1)
    assert sweep()[0] == 0
    weights.unlink()  # of runs that have ended nothing is needed
    assert sweep()[0] == 0
    (run,) = home.glob("runs/*")
    edit_run(run, lambda record: record.update(status="failed", result=None))
    save(2)
    code, _, err = sweep()
    assert (code, err.count("\n")) == (2, 1)
    assert "train.initial_weights" in err
    assert "not what the run began with" in err
    weights.unlink()
    assert sweep()[0] == 0
    assert json.loads((run / "run.json").read_text())["status"] == "done"


@pytest.mark.slow
def test_code_that_is_edited_between_seeds_is_named(call, shrunk_words, tmp_path) -> None:
    arms = {arm: {"optimizer.learning_rate": rate} for arm, rate in (("fast", 0.1), ("slow", 0.04))}
    file, home = write_experiment(tmp_path / "mine.py", arms, "SLOPE = 1"), tmp_path / "w"
    for seeds, slope in ((1, "SLOPE = 1"), (2, "SLOPE = 2")):
        write_experiment(file, arms, slope)
        words = ("--packing", "off", "--seeds", seeds, *shrunk_words)
        assert call("sweep", file, "--workdir", home, *words)[0] == 0
        if seeds == 1:
            assert audit(call, home) == []
    found = audit(call, home)
    assert {(row["kind"], *row["arms"]) for row in found} == {
        ("code", "fast", "fast"), ("code", "slow", "slow")
    }  # fmt: skip
    name = f"{tmp_path.name}/mine.py"
    assert f"seed 1, compared with seed 0: other content of {name}" in found[0]["text"]


@pytest.mark.usefixtures("undrawn_figures")
def test_records_that_were_edited_are_not_used(call, tmp_path) -> None:
    claim = Claim("b", "a").describe()
    arms: dict[str, Any] = {"a": {}, "b": {}}
    sweep = SweepWriter(tmp_path / "sweep", arms=arms, seeds=range(8), claims=[claim])
    for seed in sweep.seeds:
        for arm, final in (("a", 0.8), ("b", 0.82)):
            sweep.add_run(
                arm, seed, steps=(1, 2), top1=saturating(final, steps=(1, 2)),
                test_top1=final + 0.001 * seed,
            )  # fmt: skip

    def judged() -> dict:
        assert call("report", sweep.directory)[0] == 0
        verdicts = json.loads((sweep.directory / "report" / "verdicts.json").read_text())
        return verdicts["claims"][0]

    assert judged()["n"]["pairs"] == 8
    path = sweep.run_directory("b", 3) / "run.json"
    record = json.loads(path.read_text())
    record["result"]["top1"] = 0.99
    path.write_text(json.dumps(record))
    after = judged()
    assert after["n"]["pairs"] == 7
    assert all(row["arm"] < 0.9 for row in after["endpoints"][0]["per_seed"])
    err = call("report", sweep.directory)[2]
    assert (
        sum("run.json was changed after the run wrote it" in line for line in err.split("\n")) == 1
    )
    del record["sha256"]  # a record that has lost its checksum is no better
    path.write_text(json.dumps(record))
    assert judged()["n"]["pairs"] == 7


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout of a package with one file, in the place of this package's."""
    package = tmp_path / "checkout" / "package"
    package.mkdir(parents=True)
    (package / "code.py").write_text("SLOPE = 1\n")

    # Neither the settings of the user's git nor a repository that a hook names.
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    own |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}

    def git(*words: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        command = ["git", *identity, *words]
        subprocess.run(command, cwd=package, env=own, check=True, capture_output=True)

    git("init", "-q", "..")
    git("add", ".")
    git("commit", "-qm", "first")
    monkeypatch.setattr(source_code, "PACKAGE", package)
    functions = (source_code.commit, source_code.package_digest, source_code.uncommitted_changes)
    for function in functions:
        function.cache_clear()
    yield package
    for function in functions:
        function.cache_clear()


def test_changes_in_no_commit_are_kept_as_a_patch(checkout: Path, tmp_path: Path) -> None:
    (checkout / "code.py").write_text("SLOPE = 2\n")
    (checkout / ".env").write_text("KEY=secret\n")  # git does not track it
    commit = source_code.commit()
    assert commit is not None and commit.endswith("+changes")
    path = run_directory.keep_changes(tmp_path)
    assert path is not None
    text = path.read_text()
    assert "-SLOPE = 1\n+SLOPE = 2" in text
    assert "secret" not in text
    digest = source_code.describe_code()["changes"]
    assert path.name == f"changes-{digest[:12]}.patch"


def test_a_checkout_without_changes_leaves_no_patch(checkout: Path, tmp_path: Path) -> None:
    (checkout / "new.py").write_text("")  # in no commit either, but its digest is recorded
    assert run_directory.keep_changes(tmp_path) is None
    assert source_code.describe_code()["changes"] is None


def test_a_repository_that_a_hook_names_is_not_that_of_the_package(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = source_code.commit()
    assert commit is not None
    source_code.commit.cache_clear()
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other"))
    assert source_code.commit() == commit


def test_the_package_digest_follows_its_sources(checkout: Path) -> None:
    before = source_code.package_digest()
    (checkout / "code.py").write_text("SLOPE = 3\n")
    source_code.package_digest.cache_clear()
    changed = source_code.package_digest()
    assert changed != before
    (checkout / ".#code.py").symlink_to("user@host.1:2")  # Emacs has the file open
    source_code.package_digest.cache_clear()
    assert source_code.package_digest() == changed


def test_modules_of_the_user_take_part_and_installed_ones_do_not(tmp_path, monkeypatch) -> None:
    (tmp_path / "my_blocks_1.py").write_text("SLOPE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import my_blocks_1  # type: ignore[import-not-found]  # noqa: F401

    try:
        files = source_code.describe_code()["files"]
    finally:
        del sys.modules["my_blocks_1"]
    assert f"{tmp_path.name}/my_blocks_1.py" in files
    assert not {"numpy/__init__.py", "numpy/random/__init__.py"} & files.keys()
    assert not any(name.startswith("xception_jax/") for name in files)
