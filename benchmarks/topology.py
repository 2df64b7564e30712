"""Formulations of Xception's training step, by the word of a TPU's own compiler.

    .venv/bin/python -m benchmarks.topology v5e:4x4 --output benchmarks/results

Nothing is run, and no TPU is needed, but for its compiler (`pip install "jax[tpu]"`): each variant
is compiled for the topology, which takes minutes, and what the compiler counts is written down. How
long a step takes on a TPU is not known from this; what it needs and moves is.
"""

import argparse
import json
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import record
from xception_jax.cache import cache_directory
from xception_jax.config import load_config, resolve
from xception_jax.planning.ahead import lower_training
from xception_jax.planning.budget import dataset_info
from xception_jax.planning.forecast import best_step, figures_of
from xception_jax.planning.roofline import CHIPS
from xception_jax.planning.topology import open_topology
from xception_jax.training.sharding import Layout, make_mesh

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "imagenet.py"
# The first is what `auto` stands for on a TPU; the others change one thing each.
VARIANTS = {
    "auto": [],
    "depthwise: nine shifts": ["model.depthwise_implementation=shift"],
    "modules computed again": ["model.rematerialize=true"],
}


def main(words: list[str]) -> None:
    """Compiles the variants and writes `topology.json`, anew after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("topology", help=f"of {', '.join(CHIPS)}, such as v5e:4x4")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks"))
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), help="names of variants")
    parser.add_argument("overrides", nargs="*", help="key=value, such as model.middle_modules=2")
    asked = parser.parse_intermixed_args(words)
    topology = open_topology(asked.topology)
    layout = Layout(make_mesh(topology.devices))
    command = " ".join(["python -m benchmarks.topology", *words])
    written: dict[str, Any] = {"benchmark": "topology", "topology": topology.name}
    written |= record.describe(command, ("tpu", topology.devices[0].device_kind))
    written["versions"] |= {"libtpu": version("libtpu")}
    written |= {"memory_bytes": topology.memory_bytes, "variants": []}
    for name in asked.only:
        own = ["train.batch_size=2048", *asked.overrides, *VARIANTS[name]]
        config = resolve(load_config(CONFIG), overrides=own)
        step = lower_training(config, dataset_info(config), layout)
        figures = figures_of(step, topology, cache_directory() / "topologies")
        best = best_step(figures, topology).best
        described = {"name": name, "overrides": own, **asdict(figures)}
        described["best_seconds"] = None if best is None else asdict(best)
        written["variants"].append(described)
        asked.output.mkdir(parents=True, exist_ok=True)
        (asked.output / "topology.json").write_text(json.dumps(written, indent=1) + "\n")
        print(f"{name}: {figures.memory_bytes / 2**30:.2f} GiB, {figures.compile_seconds:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
