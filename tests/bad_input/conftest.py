"""Places for bad input to point at, and what must be true of every refusal."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.shrunk import CONFIG, EXPERIMENT, ROOT

Refused = Callable[..., str]


@pytest.fixture
def places(tmp_path: Path) -> dict[str, object]:
    """Values of the words of a case that stand for something.

    W is a directory that must not be made; FILE is no Python and no data, EMPTY an empty directory,
    BROKEN one with damaged records, RUN and SWEEP ones of another run and sweep; FOLDER holds two
    classes of images and a third without any; LONG is a word of 300 characters.
    """
    from xception_jax.config import canonical_json, load_config, resolve

    run, sweep, broken, folder = (tmp_path / name for name in ("run", "sweep", "broken", "folder"))
    for directory in (run, sweep, broken, tmp_path / "empty"):
        directory.mkdir()
    (tmp_path / "file").write_text("no python:")
    (run / "config.json").write_text(canonical_json(resolve(load_config(CONFIG), {"seed": 3})))
    record = {"experiment": {"name": "another"}, "runs": [], "schema": 1}
    (sweep / "sweep.json").write_text(json.dumps(record))
    for name in ("config.json", "run.json"):
        (broken / name).write_text("{]")
    for name in ("train/ant", "train/bee", "train/nothing"):
        (folder / name).mkdir(parents=True)
    (folder / "train" / "ant" / "1.jpg").write_bytes(b"no image")
    (folder / "train" / "bee" / "1.jpg").write_bytes(b"no image")
    return {
        "CONFIG": CONFIG,
        "EXPERIMENT": EXPERIMENT,
        "ROOT": ROOT,
        "W": tmp_path / "made",
        "FILE": tmp_path / "file",
        "EMPTY": tmp_path / "empty",
        "RUN": run,
        "SWEEP": sweep,
        "BROKEN": broken,
        "FOLDER": folder,
        "LONG": "x" * 300,
        "TMP": tmp_path,
    }


@pytest.fixture
def refused(call: Callable[..., tuple[int, str, str]], places, tmp_path: Path) -> Refused:
    """`refused(words, named)`: the one line with which the command refuses, and makes nothing."""

    def stands_for(word: str) -> str:
        for name, place in places.items():
            if word == name or word.startswith(f"{name}/") or word.endswith(f"={name}"):
                return word.replace(name, str(place))
        return word

    def refused(words: tuple[str, ...], named: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        code, out, err = call(*map(stands_for, words))
        assert code == 2, out + err
        assert err.startswith("xception-jax: ")
        assert len(err.splitlines()) == 1
        assert str(places.get(named, named)).lower() in err.lower()
        assert out == ""
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return refused
