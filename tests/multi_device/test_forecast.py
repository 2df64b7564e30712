"""Time and memory of an arm on other chips, as their compiler says.

Eight virtual CPU devices stand for the chips, and XLA:CPU for the compiler of a TPU: what is
checked is how its words are put together.
"""

import json
from pathlib import Path

import jax
import pytest

from tests.shrunk import CONFIG, SHRUNK, SOONEST
from xception_jax.commands import forecast as shown
from xception_jax.config import load_config, resolve
from xception_jax.planning import ahead, forecast, topology
from xception_jax.planning.topology import Topology


@pytest.fixture
def chips() -> Topology:
    return Topology("v5e:2x4", tuple(jax.devices()), 2e9)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, chips: Topology, tmp_path: Path) -> list[int]:
    """The rows of each step that is compiled; libtpu need not be installed."""
    rows: list[int] = []

    def count(step: ahead.LoweredStep, chips: Topology) -> ahead.Figures:
        rows.append(step.rows)
        return ahead.compile_figures(step, chips)

    monkeypatch.setattr(forecast, "version", lambda name: "1")
    monkeypatch.setattr(forecast, "compile_figures", count)
    monkeypatch.setattr(topology, "open_topology", lambda name: chips)
    monkeypatch.setattr(shown, "cache_directory", lambda: tmp_path)
    return rows


def test_an_arm_is_compiled_once_and_its_figures_add_up(
    compiled: list[int], chips: Topology, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = resolve(load_config(CONFIG), overrides=[*SHRUNK, *SOONEST, "train.batch_size=64"])
    once, again = (
        forecast.forecast(
            "none",
            config,
            chips,
            search=False,
            cache=tmp_path / "topologies",
            say=lambda line: None,
        )
        for _ in range(2)
    )
    assert once == again
    assert len(compiled) == 2
    capsys.readouterr()
    assert shown.show_forecast([("none", config)], 3, "v5e:2x4", search=False, as_json=True) == 0
    shown_arms = json.loads(capsys.readouterr().out)
    shown.show_forecast([("none", config)], 3, "v5e:2x4", search=False, as_json=False)
    table = capsys.readouterr().out
    assert len(compiled) == 2

    (arm,) = shown_arms["arms"]
    train = arm["train"]
    assert (shown_arms["chips"], shown_arms["seeds"], arm["steps"], arm["faults"]) == (8, 3, 4, [])
    (traffic,) = train["figures"]["traffic"]
    assert traffic["kind"] == "all-reduce"
    assert traffic["sent_bytes"] == pytest.approx(traffic["bytes"] * 2 * 7 / 8)
    assert train["best"]["memory"] == train["figures"]["hbm_bytes"] / 819e9
    step, evaluation = (max(arm[kind]["best"].values()) for kind in ("train", "evaluation"))
    # digits has 1,797 images, and one batch of an evaluation holds all of a split.
    assert arm["run_seconds"] == pytest.approx(4 * step + 4 * evaluation)
    assert arm["chip_hours"] == pytest.approx(arm["run_seconds"] * 8 / 3600)
    assert "all-reduce of" in table
    assert "3 runs, one after another on 8 chips: at least" in table
