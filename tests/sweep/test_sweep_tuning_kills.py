"""Sweeps killed, or cut short, while tuning writes its choice: they go on to the same choice."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.programs import Call
from tests.untrained_study import TunedStudy
from xception_jax.runtime import run_directory

CHOICE = ("sweep.json", "tuning.json")


class Killed(BaseException):
    """The process is gone; nothing but the system tidies up after it."""


@pytest.fixture
def start(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TunedStudy]:
    def start(name: str) -> TunedStudy:
        (tmp_path / name).mkdir()
        return TunedStudy(call, tmp_path / name, monkeypatch)

    return start


@pytest.fixture(scope="module")
def undisturbed(
    call: Call, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TunedStudy, list[str]]:
    """A sweep that is not killed, and the files of `CHOICE` in the order of their writing."""
    write = run_directory.write_whole
    written: list[str] = []

    def noting(path: Path, content: str | bytes) -> None:
        if path.name in CHOICE:
            written.append(path.name)
        write(path, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_directory, "write_whole", noting)
        study = TunedStudy(call, tmp_path_factory.mktemp("whole"), patch)
        study.sweep()
    return study, written


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """`kill(3, "before")`: at the third file of `CHOICE` that is written; None: at none.

    The kill comes before the new file is in its place, with a part of it beside the old one, or
    just after that.
    """
    write = run_directory.write_whole

    def kill(number: int | None, moment: str = "") -> None:
        written: list[str] = []

        def killing(path: Path, content: str | bytes) -> None:
            if path.name in CHOICE:
                written.append(path.name)
                if len(written) == number and moment == "before":
                    path.with_name(f".{path.name}.1.partial").write_text(str(content)[:50])
                    raise Killed
            write(path, content)
            if path.name in CHOICE and len(written) == number:
                raise Killed

        monkeypatch.setattr(run_directory, "write_whole", killing)

    yield kill
    monkeypatch.setattr(run_directory, "write_whole", write)


@pytest.mark.slow
def test_a_kill_at_any_file_of_the_choice_changes_nothing(
    undisturbed: tuple[TunedStudy, list[str]],
    start: Callable[..., TunedStudy],
    kill: Callable[..., None],
) -> None:
    """From the declaration to the first run of the verdict, before and after each file."""
    whole, written = undisturbed
    assert written.count("tuning.json") == 2  # what is tried, and what was chosen
    for number in range(1, len(written) + 1):
        for moment in ("before", "after"):
            study = start(f"{number}-{moment}")
            kill(number, moment)
            with pytest.raises(Killed):
                study.sweep()
            kill(None)
            assert study.sweep() == ""
            study.assert_same(whole)
            assert study.trained == whole.trained  # and so no run was trained twice
            assert not list(study.home.glob(".*.partial"))


def copy(whole: TunedStudy, study: TunedStudy) -> None:
    """Makes a new study one whose sweep has ended as that of `whole` has."""
    study.write()
    shutil.copytree(whole.home, study.home)
    study.trained = list(whole.trained)


CUTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.usefixtures("undrawn_figures")
@pytest.mark.parametrize(
    ("is_in_sweep", "cut"),
    [
        pytest.param(False, "empty", marks=pytest.mark.slow),
        pytest.param(False, "zeros", marks=pytest.mark.slow),
        (True, "half"),
    ],
)
def test_a_record_that_a_power_cut_left_is_named_and_written_again(
    undisturbed: tuple[TunedStudy, list[str]],
    start: Callable[..., TunedStudy],
    kill: Callable[..., None],
    is_in_sweep: bool,
    cut: str,
) -> None:
    """A damaged `tuning.json` is mended whether or not `sweep.json` has the choice by then."""
    whole, written = undisturbed
    study = start("cut")
    if not is_in_sweep:
        kill(len(written) - written[::-1].index("tuning.json"), "after")
        with pytest.raises(Killed):
            study.sweep()
        kill(None)
        assert not study.trained[-1][1] < 4  # no run of the verdict
    else:
        copy(whole, study)
    path = study.home / "tuning.json"
    path.write_bytes(CUTS[cut](path.read_bytes()))
    code, _, err = study.call("status", study.home)
    assert (code, err.count("\n")) == (2, 1)
    assert "tuning.json" in err
    assert "`sweep` with the same words writes it again" in err
    code, _, _ = study.call("report", study.home)
    assert code == 0
    said = study.sweep()
    assert said.count("\n") == 1
    assert "tuning.json cannot be read: " in said
    assert ("sweep.json holds what was chosen" in said) == is_in_sweep
    assert ("the choice is made again" in said) != is_in_sweep
    study.assert_same(whole)
    assert study.trained == whole.trained
    assert study.sweep() == ""
    assert study.call("status", study.home)[0] == 0


@pytest.mark.parametrize("cut", ["empty", "zeros", "half"])
def test_a_sweep_that_a_power_cut_left_is_refused_by_name(
    undisturbed: tuple[TunedStudy, list[str]], start: Callable[..., TunedStudy], cut: str
) -> None:
    study = start("cut")
    copy(undisturbed[0], study)
    path = study.home / "sweep.json"
    path.write_bytes(CUTS[cut](path.read_bytes()))
    before, trained = path.read_bytes(), len(study.trained)
    code, _, err = study.call("sweep", study.file, "--workdir", study.home, *study.words())
    assert (code, err.count("\n")) == (2, 1)
    assert "sweep.json" in err
    assert path.read_bytes() == before
    assert len(study.trained) == trained
