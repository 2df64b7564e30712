"""URLs of stores: which text is one, which are refused, and where none can be given."""

from pathlib import Path

import pytest

from tests.shrunk import CONFIG, EXPERIMENT, SHRUNK
from xception_jax.errors import InputError
from xception_jax.remote import as_typed, url_of


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("train", CONFIG, "--workdir", "s3://b/run", "seed=x"), "seed='x'"),
        (("report", "memory://nowhere/run"), "directory='memory://nowhere/run': there is nothing"),
        (("status", "memory://nowhere/run"), "there is nothing"),
        (("report", "memory://nowhere/run", "--watch"), "--watch='memory://nowhere/run': follows"),
        (("sync", "memory://nowhere/run"), "copy it to this machine first"),
        (
            ("sweep", EXPERIMENT, "--workdir", "memory://b/s", "--launcher", "ray", *SHRUNK),
            "--launcher ray has others",
        ),
        (("data", "list", "--directory", "gs://b/data"), "only directories of this machine"),
    ],
)
def test_unsupported_uses_are_refused_in_one_line(words, reason, call):
    code, _, err = call(*words)
    assert code == 2
    assert reason in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        (Path("gs://bucket/a"), "gs://bucket/a"),
        (Path("file:///tmp/a"), "file:///tmp/a"),
        ("results/s3/a", None),
        (Path("/tmp/gs:x"), None),
    ],
)
def test_a_url_is_recognized_as_text_and_as_a_path(location, url):
    assert url_of(location) == url
    assert as_typed(location) == (url or str(location))


@pytest.mark.parametrize(
    ("location", "nearest"),
    [
        ("S3://b/x", "'s3://b/x'"),
        (Path("s3n://b/x"), "'s3://b/x'"),
        (Path("GS://b/x"), "'gs://b/x'"),
        ("hdfs://name/x", None),
        (Path("wasb://b/x"), None),
        ("https://storage.googleapis.com/b/x", None),
    ],
)
def test_a_scheme_that_is_not_known_is_refused(location, nearest):
    """A URL of another scheme is no path here, where its files would be mirrored nowhere."""
    with pytest.raises(InputError, match="must begin with one of gs://, ") as error:
        url_of(location)
    if nearest is not None:
        assert str(error.value).endswith(f"nearest valid value: {nearest}")


def test_no_directory_is_made_for_a_scheme_that_is_not_known(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = call("train", CONFIG, *SHRUNK, "--workdir", "S3://b/run")
    assert code == 2
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "location", ["s3://bucket/..", Path("memory:/a/../b"), "file:///tmp/..", "s3://"]
)
def test_a_url_that_leads_upwards_is_refused(location):
    """Its last part would be the name of the directory that holds the copies of all others."""
    with pytest.raises(InputError, match="is no URL of a directory"):
        url_of(location)
