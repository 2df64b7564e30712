"""Damage to what an interrupted run left: mended, or refused in one line; never gone on with.

Each case is a file and what happened to it. Whatever `train` then says: if it ends with 0 the run
is that of an undisturbed one, bit for bit; if not, one line names what to look at, and nothing was
continued.
"""

import json
import os
import shutil
import subprocess
from dataclasses import replace as with_changes
from pathlib import Path

import pytest

from tests.damage import delete, empty, flip, replace, scatter, truncate
from tests.interrupting import stop_after
from tests.programs import command_line
from tests.same_run import assert_same_run
from tests.shrunk import CONFIG, SHRUNK
from xception_jax.config import run_id
from xception_jax.training import Interrupted
from xception_jax.training.checkpoint import Checkpoints, read_state
from xception_jax.training.setup import make_step_spec, open_data
from xception_jax.training.sharding import make_mesh

CHECKPOINT = {
    "arrays": "default/ocdbt.process_0/d/*",
    "array_index": "default/manifest.ocdbt",
    "array_metadata": "default/_METADATA",
    "metadata": "_CHECKPOINT_METADATA",
    "committed": "commit_success.txt",
    "digests": "digests/metadata",
}
FILES = ("config.json", "run.json", "metrics.jsonl", "pairing.json", ".lock", "checkpoints")


DAMAGES = {f.__name__: f for f in (truncate, empty, flip, scatter, delete, replace)}


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("damage") / "whole"
    run(home)
    return home


@pytest.fixture(scope="module")
def interrupted(run, tmp_path_factory) -> Path:
    """After step 7, with the checkpoints of steps 6 and 7."""
    home = tmp_path_factory.mktemp("damage") / "interrupted"
    with pytest.raises(Interrupted):
        run(home, stop=stop_after(7))
    (home / ".lock").write_text("process 1 on somewhere")  # as a kill leaves it
    return home


@pytest.fixture
def damaged(interrupted, tmp_path):
    """`damaged("run.json", "flip")`: a copy with that damage."""

    def damaged(name: str, kind: str) -> Path:
        home = tmp_path / "run"
        shutil.copytree(interrupted, home)
        pattern = f"checkpoints/7/{CHECKPOINT[name]}" if name in CHECKPOINT else name
        paths = sorted(home.glob(pattern), key=lambda path: path.stat().st_size)
        if not paths:
            pytest.skip(f"this version of Orbax leaves no {pattern}")
        DAMAGES[kind](paths[-1])
        return home

    return damaged


def cases():
    """Every file and damage; what is not worth a place in each test run is slow."""
    quick = {("arrays", "flip"), ("digests", "delete"), ("metrics.jsonl", "flip")}
    quick |= {("run.json", "truncate"), ("config.json", "delete"), ("checkpoints", "replace")}
    for name in (*FILES, *CHECKPOINT):
        for kind in DAMAGES:
            if name == "checkpoints" and kind not in ("delete", "replace"):
                continue
            marks = () if (name, kind) in quick else pytest.mark.slow
            yield pytest.param((name, kind), marks=marks, id=f"{name}-{kind}")


@pytest.mark.promise(
    "Damage to the files of an interrupted run is mended, or refused in one line; a run never goes "
    "on with it"
)
@pytest.mark.usefixtures("undrawn_figures")
@pytest.mark.parametrize("case", list(cases()))
def test_damage_is_mended_or_refused(case, damaged, whole, call):
    """Each file is cut, emptied, deleted, replaced by a directory, or has bits or bytes flipped."""
    name, kind = case
    home = damaged(name, kind)
    for command in ("status", "evaluate", "report"):
        if command == "report" and not (home / "run.json").exists():
            continue  # nothing that could be reported
        code, out, err = call(command, home)
        assert code in (0, 2), out + err
        assert code == 0 or len(err.splitlines()) == 1
    code, out, err = call("train", CONFIG, "--workdir", home, *SHRUNK)
    if code == 0:
        assert_same_run(whole, home)
        resumed = json.loads((home / "run.json").read_text())["resumed_from"]
        assert resumed in ([7], [6], [])
        if resumed == [6]:  # the damage cost a checkpoint, and that is said
            assert "checkpoints/7 cannot be read" in err
            assert len(err.splitlines()) == 1
    else:
        assert code in (1, 2)
        assert len(err.splitlines()) == 1
        named = "checkpoints" if name in CHECKPOINT else name
        assert named in err or "holds another run: " in err  # the field of config.json instead
        assert not list(home.glob("predictions.npz"))


def test_flipped_bits_in_the_arrays_cost_one_checkpoint(damaged, whole, call):
    """Of compressed arrays, too, that Orbax restores without a word."""
    home = damaged("arrays", "scatter")
    code, _, err = call("train", CONFIG, "--workdir", home, *SHRUNK)
    assert code == 0
    assert "checkpoints/7 cannot be read" in err
    assert_same_run(whole, home)


def test_rows_that_changed_since_the_checkpoint_are_not_gone_on_from(interrupted, call, tmp_path):
    """A digit of a loss: the file is as valid as before."""
    home = tmp_path / "run"
    shutil.copytree(interrupted, home)
    path = home / "metrics.jsonl"
    first, *others = path.read_text().splitlines(keepends=True)
    row = json.loads(first)
    row["loss"] += 1
    path.write_text(json.dumps(row) + "\n" + "".join(others))
    code, _, err = call("train", CONFIG, "--workdir", home, *SHRUNK)
    assert code == 2
    assert "metrics.jsonl is not as it was then" in err
    assert "delete checkpoints/ to start over" in err


def test_checkpoints_of_another_run_are_not_gone_on_from(interrupted, call, tmp_path):
    home = tmp_path / "run"
    shutil.copytree(interrupted, home)
    for name in ("config.json", "run.json"):
        (home / name).unlink()
    code, _, err = call("train", CONFIG, "--workdir", home, *SHRUNK, "seed=3")
    assert code == 2
    assert "it is of another run" in err


def test_checkpoints_of_another_version_are_refused_by_name(interrupted, call, shrunk, tmp_path):
    """Of one whose averages had no statistics: zero and one must not take their place."""
    home, config = tmp_path / "run", shrunk()
    shutil.copytree(interrupted, home)
    shapes = make_step_spec(config, open_data(config).info).shapes()
    _, state = read_state(home / "checkpoints", shapes, make_mesh(), 7)
    shutil.rmtree(home / "checkpoints")
    averages = {path: state.averages[path] for path in state.parameters}
    rows = (home / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    log = b"".join(row for row in rows if json.loads(row)["step"] <= 7)
    older = Checkpoints(
        home / "checkpoints", keep_last=1, keep_best=0, metric="top1", run=run_id(config)
    )
    older.save(7, with_changes(state, averages=averages), None, log)
    older.close()
    for words in (("train", CONFIG, "--workdir", home, *SHRUNK), ("evaluate", home)):
        code, _, err = call(*words)
        assert code == 2
        assert len(err.splitlines()) == 1
        assert "it lacks averages/" in err
        assert "/mean: another version saved it" in err
    assert [path.name for path in (home / "checkpoints").iterdir()] == ["7"]


@pytest.mark.usefixtures("undrawn_figures")
@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "predictions.npz"])
def test_a_change_after_the_end_is_shown(name, whole, call, tmp_path):
    home = tmp_path / "run"
    shutil.copytree(whole, home)
    if name == "run.json":
        text = (home / name).read_text()
        (home / name).write_text(text.replace('"top1": 0', '"top1": 1'))
    else:
        flip(home / name)
    code, _, err = call("report", home)
    assert code == 0
    assert f"run/{name} was changed after the run wrote it" in err
    if name == "run.json":
        assert "was changed after the run wrote it" in call("status", home)[1]


def test_settings_that_changed_after_the_end_are_not_evaluated(whole, call, tmp_path):
    home = tmp_path / "run"
    shutil.copytree(whole, home)
    config = json.loads((home / "config.json").read_text())
    config["seed"] = 5
    (home / "config.json").write_text(json.dumps(config))
    code, _, err = call("evaluate", home)
    assert code == 2
    assert "does not hold the settings of the run in run.json" in err


# Root without the right to pass over permissions; what is another's is then as for anyone.
UNPRIVILEGED = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


@pytest.mark.slow
@pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("setpriv") is None,
    reason="only root can give files to another user, and needs setpriv to respect that itself",
)
@pytest.mark.parametrize("name", ["config.json", "run.json", "metrics.jsonl", "checkpoints", "."])
def test_files_of_another_owner_are_refused_in_one_line(name, interrupted, tmp_path):
    home = tmp_path / "run"
    shutil.copytree(interrupted, home)
    os.chown(home / name, 65534, 65534)
    (home / name).chmod(0o500 if (home / name).is_dir() else 0o400)
    done = subprocess.run(
        [*UNPRIVILEGED, *command_line("train", CONFIG, "--workdir", home, *SHRUNK)],
        capture_output=True,
        check=False,
        text=True,
        timeout=300,
    )
    assert done.returncode in (1, 2), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert str(home) in done.stderr
