"""No secret of the environment reaches a file or a word of any command, a crash's included."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.programs import command_line, program
from tests.shrunk import CONFIG, EXPERIMENT, SHRUNK, SOONEST
from xception_jax.config import resolve
from xception_jax.errors import InputError, require_no_password
from xception_jax.remote.store import url_of

SECRETS = {
    "WANDB_API_KEY": "5ec2e7" * 7,
    "HF_TOKEN": "hf_planted0planted1planted2",
    "AWS_SECRET_ACCESS_KEY": "wJalrPlantedPlanted/K7MDENG",
    "RAY_AUTH_TOKEN": "ray-planted-0123456789abcdef",
    "MY_PASSWORD": "correct-horse-planted",
}
COMMAND = tuple(command_line())


@pytest.fixture
def say(tmp_path):
    """`say("status", …)`: the command line with the secrets around it: its code and its words."""

    def say(*words: object, start: Sequence[str] = COMMAND) -> tuple[int, str]:
        done = subprocess.run(
            [*start, *map(str, words)],
            env=os.environ | SECRETS | {"WANDB_BASE_URL": "http://127.0.0.1:9"},
            cwd=tmp_path,
            capture_output=True,
            check=False,
            text=True,
            timeout=300,
        )
        return done.returncode, done.stdout + done.stderr

    return say


def holding_a_secret(place: Path, wandb_home: Path) -> list[Path]:
    """The files of a command's directory, and of W&B's own, that hold a secret."""
    files = [path for path in place.rglob("*") if path.is_file()]
    assert len(files) > 10
    files += [path for path in wandb_home.rglob("*") if path.is_file()]
    content = {path: path.read_bytes() for path in files}
    return [p for p in files if any(secret.encode() in content[p] for secret in SECRETS.values())]


def test_no_command_tells_a_secret(say, call, tmp_path, monkeypatch, wandb_home):
    home = tmp_path / "sweep"
    words = ["--workdir", home, "--seeds", 1, *SHRUNK, "wandb.mode=online"]
    code, text = say("sweep", EXPERIMENT, *words)
    assert code == 0, text
    assert "W&B is offline" in text  # it looked for the key
    said = [text]
    monkeypatch.chdir(tmp_path)
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    for command in (
        ("status", home),
        ("report", home),
        ("audit", home),
        ("plan", EXPERIMENT),
        ("evaluate", next(home.glob("runs/*"))),
    ):
        code, *texts = call(*command)
        assert code == 0, texts
        said += texts
    code, text = say("sync", home)  # W&B writes from processes of its own
    assert code == 0, text
    said.append(text)
    assert not any(secret in text for text in said for secret in SECRETS.values())
    assert holding_a_secret(tmp_path, wandb_home) == []


def test_no_crash_tells_a_secret(say, tmp_path, wandb_home):
    words = [
        "train",
        CONFIG,
        "--workdir",
        tmp_path / "run",
        *SHRUNK,
        *SOONEST,
        "wandb.mode=offline",
    ]
    code, text = say(*words, start=program("crash_in_training"))
    assert code == 1
    assert "a fault of the program" in text
    assert not any(secret in text for secret in SECRETS.values())
    assert holding_a_secret(tmp_path, wandb_home) == []


@pytest.mark.parametrize(
    "words",
    [
        ("status", "s3://AKIAPLANTED:SECRETPLANTED@bucket/sweep"),
        ("report", "s3:/AKIAPLANTED:SECRETPLANTED@bucket/sweep"),
        ("train", CONFIG, "--workdir", "W", "data.directory=https://me:SECRETPLANTED@host/set"),
    ],
)
def test_a_password_in_a_url_is_refused_unsaid(call, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*words)
    text = out + err
    assert code == 2, text
    assert len(text.splitlines()) == 1
    assert "PLANTED" not in text
    assert "environment" in text
    assert not (tmp_path / "W").exists()


def test_a_password_in_a_config_or_api_is_refused_unsaid():
    url = "s3://AKIAPLANTED:SECRETPLANTED@bucket/sweep"
    for use in (lambda: resolve({"data.directory": url}), lambda: url_of(url)):
        with pytest.raises(InputError) as error:
            use()
        assert "PLANTED" not in str(error.value)
    for plain in ("s3://bucket/a:b@c", "gs://bucket/me@host", "/data/a:b@c"):
        resolve({"data.directory": plain})


@pytest.mark.parametrize(
    "text",
    [
        "s3://AKIAPLANTED:SECRET/PLANTED+x@bucket/sweep",  # secret keys of AWS have slashes
        "s3:/AKIAPLANTED:SECRET/PLANTED@bucket/sweep",
        "https://me:pa:ss@host/set",
        "https://:SECRETPLANTED@host",
        "data.directory=gs://me:12345@bucket",
        "--export=ALL,WANDB_API_KEY=PLANTED",  # of sbatch
        "AWS_SECRET_ACCESS_KEY=PLANTED",
    ],
)
def test_a_password_of_any_letters_is_refused_unsaid(text):
    with pytest.raises(InputError, match="holds a key or password") as error:
        require_no_password("argument", text)
    assert "PLANTED" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "http://host:8080/me@b",
        "http://127.0.0.1:9/x:y@z",
        "s3://b/a:b@c",
        "--export=ALL,WANDB_API_KEY",
        "model.token=3",
    ],
)
def test_what_holds_no_password_is_taken(text):
    require_no_password("argument", text)
