"""Formulations of training steps, by the count of a TPU's own compiler.

    .venv/bin/python -m benchmarks.topology v5e:4x4 --output benchmarks/results
    .venv/bin/python -m benchmarks.topology v5e:2x2 --experiment experiments/segments.py \
--output benchmarks/results

Nothing is run, and no TPU is needed, but for its compiler (`pip install "jax[tpu]"`): each program
is compiled for the topology, which takes seconds to minutes, and what the compiler counts is
written down. How long a step takes on a TPU is not known from this; what it needs and moves is.

Without `--experiment`, the programs are formulations of Xception's step on ImageNet at a batch of
2,048, in `topology.json`. With it, they are the steps of the experiment's arms, made equal as it
says, in `topology_<experiment>.json`.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import record
from xception_jax.cache import cache_directory
from xception_jax.config import Config, load_config, resolve
from xception_jax.errors import INVALID, InputError, require_choice
from xception_jax.ops import dispatch
from xception_jax.planning.ahead import lower_training
from xception_jax.planning.budget import dataset_info, equalize
from xception_jax.planning.forecast import figures_of, with_roofline
from xception_jax.planning.roofline import CHIPS
from xception_jax.planning.topology import open_topology
from xception_jax.sweep import load_experiment, plan_runs
from xception_jax.training.setup import require_trainable
from xception_jax.training.sharding import Layout, make_mesh

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "imagenet.py"


class Formulation(NamedTuple):
    """A formulation of the step, by what differs from the step as it is.

    Attributes:
        overrides: of the config, as `key=value`.
        unruled: operations for which `auto` means XLA's own, one by one.
    """

    overrides: tuple[str, ...] = ()
    unruled: tuple[str, ...] = ()


AUTO = "auto"
# The first is what `auto` stands for on a TPU; the others change one thing each.
VARIANTS = {
    AUTO: Formulation(),
    "normalization before pools": Formulation(unruled=("norm_pool",)),
    "depthwise: nine shifts": Formulation(("model.depthwise_implementation=shift",)),
    "modules computed again": Formulation(("model.rematerialize=true",)),
}
ARM_VARIANTS = {AUTO: Formulation(), "grouped convolutions": Formulation(unruled=("convolution",))}


class Program(NamedTuple):
    """A training step to compile, and what describes it in the results."""

    description: dict[str, Any]
    config: Config
    unruled: tuple[str, ...]

    @property
    def name(self) -> str:
        """The arm, if there is one, and the formulation."""
        names = self.description.get("arm"), self.description["name"]
        return ", ".join(name for name in names if name)


def main(words: list[str]) -> None:
    """Compiles the programs and writes their figures, anew after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("topology", help=f"of {', '.join(CHIPS)}, such as v5e:4x4")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks"))
    parser.add_argument("--experiment", type=Path, help="the steps of this experiment's arms")
    parser.add_argument("--only", nargs="*", help="names of formulations")
    parser.add_argument("overrides", nargs="*", help="key=value, such as model.middle_modules=2")
    asked = parser.parse_intermixed_args(words)
    try:
        for name in asked.only or ():
            require_choice("--only", name, ARM_VARIANTS if asked.experiment else VARIANTS)
        topology = open_topology(asked.topology)
        programs = list(_programs(asked.experiment, asked.overrides, asked.only))
        record.make_directory(asked.output)
        layout = Layout(make_mesh(topology.devices))
        for program in programs:
            require_trainable(program.config, dataset_info(program.config), layout.mesh)
    except InputError as error:
        parser.exit(INVALID, f"benchmarks.topology: {error}\n")
    command = f"python -m benchmarks.topology {shlex.join(words)}"
    written: dict[str, Any] = {"benchmark": "topology", "topology": topology.name}
    written |= record.describe(command, ("tpu", topology.devices[0].device_kind))
    written["versions"] |= {"libtpu": version("libtpu")}
    written |= {"memory_bytes": topology.memory_bytes, "variants": []}
    suffix = f"_{asked.experiment.stem}" if asked.experiment else ""
    for program in programs:
        with _without_rules(program.unruled):
            step = lower_training(program.config, dataset_info(program.config), layout)
        figures = figures_of(step, topology, cache_directory() / "topologies")
        best = with_roofline(figures, topology).best
        described = {**program.description, **asdict(figures)}
        described["best_seconds"] = None if best is None else asdict(best)
        written["variants"].append(described)
        text = json.dumps(written, indent=1) + "\n"
        (asked.output / f"topology{suffix}.json").write_text(text)
        moved = "" if figures.hbm_bytes is None else f"{figures.hbm_bytes / 1e6:,.1f} MB, "
        print(
            f"{program.name}: {moved}{figures.memory_bytes / 2**30:.2f} GiB, "
            f"{figures.compile_seconds:.0f} s",
            flush=True,
        )


def _programs(path: Path | None, overrides: list[str], only: list[str] | None) -> Iterator[Program]:
    if path is None:
        for name in only or VARIANTS:
            words = ["train.batch_size=2048", *overrides, *VARIANTS[name].overrides]
            config = resolve(load_config(CONFIG), overrides=words)
            yield Program({"name": name, "overrides": words}, config, VARIANTS[name].unruled)
        return
    experiment, base = load_experiment(path)
    experiment = equalize(experiment, base)
    for run in plan_runs(experiment, base)[: len(experiment.arms)]:
        for name in only or ARM_VARIANTS:
            words = [*overrides, *ARM_VARIANTS[name].overrides]
            described: dict[str, Any] = {"arm": run.arm, "name": name, "overrides": words}
            described |= {"width": run.config.model.width}
            config = resolve(run.config, overrides=words)
            yield Program(described, config, ARM_VARIANTS[name].unruled)


@contextmanager
def _without_rules(operations: tuple[str, ...]) -> Iterator[None]:
    """Lets `auto` mean XLA's own operation for some, in what is traced inside."""
    rules = dispatch.RULES
    dispatch.RULES = tuple(rule for rule in rules if rule.operation not in operations)
    try:
        yield
    finally:
        dispatch.RULES = rules


if __name__ == "__main__":
    main(sys.argv[1:])
