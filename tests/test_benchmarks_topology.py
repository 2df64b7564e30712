"""What the benchmark of TPU programs refuses, in one line and before anything is compiled."""

from pathlib import Path

import pytest

from benchmarks import topology
from tests.shrunk import ROOT
from xception_jax.planning import topology as planning

SEGMENTS = ROOT / "experiments" / "segments.py"


@pytest.fixture
def refused(capsys):
    """`refused("v5e:4x4", …)`: what is said of words that are refused."""

    def refused(*words: object) -> str:
        with pytest.raises(SystemExit) as ended:
            topology.main(list(map(str, words)))
        out, err = capsys.readouterr()
        assert (ended.value.code, out, len(err.splitlines())) == (2, "", 1)
        return err.removeprefix("benchmarks.topology: ")

    return refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("v5e:4x4", "--only", "atuo"), "--only='atuo': must be one of auto, "),
        # Formulations of Xception's step are none of an experiment's arms.
        (
            ("v5e:4x4", "--experiment", SEGMENTS, "--only", "modules computed again"),
            "--only='modules computed again': must be one of auto, grouped convolutions",
        ),
        (
            ("v5e_4x4",),
            "--topology='v5e_4x4': no such TPU topology; nearest valid value: 'v5e:4x4'",
        ),
        (("v5e:4x4",), "--topology='v5e:4x4': needs the TPU compiler"),
    ],
)
def test_names_are_checked_where_there_is_no_compiler(words, said, refused, monkeypatch):
    monkeypatch.setattr(planning, "find_spec", lambda _: None)
    assert refused(*words).startswith(said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("model.midle_modules=2",), "model.midle_modules: "),
        (("model.middle_modules=some",), "model.middle_modules='some': "),
        (("--experiment", "no_such_file.py"), "no_such_file.py"),
        (("--output", Path(__file__) / "below"), "cannot be made: Not a directory"),
    ],
)
def test_the_rest_is_checked_before_anything_is_compiled(words, said, refused, monkeypatch):
    monkeypatch.setattr(topology, "open_topology", lambda _: None)  # whoever goes on needs devices
    assert said in refused("v5e:4x4", *words)
