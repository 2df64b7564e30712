"""A whole small sweep, wall clock: processes from start to end.

Compilation is included, except where the caches are warm: there the programs, and the size of the
packs, are found as an earlier sweep has left them. The runs are those of
experiments/nonlinearity.py: each trains a tiny Xception with augmentation, warm-up, cosine
schedule, weight decay and averaged weights, validates every half epoch and evaluates on the test
split. The peers do these in one process, one after another. They are given decoded images, write no
checkpoints and no log: what is left to do is theirs at its cheapest.
"""

import atexit
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.architectures import describe
from benchmarks.cases import Case, Settings, Variant, Work
from benchmarks.startup import ROOT, process
from benchmarks.train_step import PEERS, with_allocators

OURS = "benchmarks.sweeps:ours"
PEER = "benchmarks.sweeps:peer"
EXPERIMENT = ROOT / "experiments" / "nonlinearity.py"


def cases(settings: Settings) -> Iterator[Case]:
    """Three arms; quick: next to no training."""
    seeds, epochs = (1, 0.02) if settings.quick else (3, 1.0)
    size = {"seeds": seeds, "epochs": epochs, "cold": not settings.quick}
    ours = [
        Variant(f"packing {packing}", OURS, size | {"packing": packing})
        for packing in (("off",) if settings.quick else ("auto", "off"))
    ]
    if not settings.quick:
        warm = size | {"packing": "auto", "cold": False}
        ours.append(Variant("packing auto, caches warm", OURS, warm))
    if not (settings.quick or settings.gpu):
        packed = size | {"packing": "auto", "kernels": True}
        ours.append(Variant("packing auto with kernels", OURS, packed))
        warm |= {"kernels": True}
        ours.append(Variant("packing auto with kernels, caches warm", OURS, warm))
    theirs = [
        Variant(
            name,
            PEER,
            size | {"module": f"{PEERS}.{module}"},
            needs=needs,
        )
        for name, module, needs in (
            ("PyTorch, one by one", "pytorch_runs", ("torch",)),
            ("plain Flax, one by one", "flax_runs", ()),
        )
    ]
    if not settings.gpu:  # ours sets its allocator itself
        # Plain Flax with malloc as it comes is left out: it takes minutes, and is no faster.
        doubled = with_allocators(theirs)
        theirs = [v for v in doubled if v.keeps_memory or "torch" in v.needs]
    yield Case(
        f"nonlinearity, 3 arms x {seeds} seeds, {epochs:g} epochs",
        "s",
        (*ours, *(theirs if not settings.quick else ())),
        reference="packing off",
        once=True,
    )


def ours(
    *,
    seeds: int,
    epochs: float,
    cold: bool,
    packing: str,
    kernels: bool = False,
    verdict: bool = False,
) -> Work:
    """The command, without W&B, and the report if a verdict is asked for.

    If `cold`, no compiled program is there to be found.
    """
    program = [sys.executable, "-m", "xception_jax"]
    train = [*program, "sweep", str(EXPERIMENT), "--workdir", "{workdir}", "--seeds", str(seeds)]
    train += ["--packing", packing, f"train.epochs={epochs}", "wandb.mode=disabled"]
    then = [[*program, "report", "{workdir}"]] if verdict else []
    return process(command=train, then=then, cold=cold, kernels=kernels)


def peer(*, module: str, seeds: int, epochs: float, cold: bool, verdict: bool = False) -> Work:
    """`python -m module` with a description of the runs and their decoded images."""
    directory = Path(tempfile.mkdtemp(prefix="xception-jax-benchmarks-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    described = _describe(seeds, epochs, directory)
    if not verdict:
        described["claims"] = []
    (directory / "runs.json").write_text(json.dumps(described))
    return process(command=[sys.executable, "-m", module, str(directory / "runs.json")], cold=cold)


def _describe(seeds: int, epochs: float, directory: Path) -> dict[str, Any]:
    """Writes the images for the peers; returns what they need to know of the sweep."""
    from xception_jax.sweep import load_experiment, plan_runs
    from xception_jax.training.setup import make_schedule, open_data

    experiment, base = load_experiment(EXPERIMENT, overrides=[f"train.epochs={epochs}"])
    runs = plan_runs(experiment, base)
    config = runs[0].config
    opened = open_data(config)
    schedule = make_schedule(config, opened.info.examples["train"])
    arrays: dict[str, Any] = {
        f"{split}_{name}": values
        for split, batch in opened.device_data.items()
        for name, values in batch.items()
    }
    np.savez(directory / "images.npz", **arrays)
    channels = {
        "num_classes": opened.info.num_classes,
        "in_channels": opened.info.image_shape[-1],
    }
    evaluations = [s for s in range(1, schedule.total + 1) if schedule.due(schedule.evaluate, s)]
    optimizer = config.optimizer
    warmup = optimizer.warmup_epochs * schedule.examples_per_epoch / schedule.examples_per_step
    return {
        "images": str(directory / "images.npz"),
        "runs": [
            {
                "arm": run.arm,
                "seed": run.seed,
                "architecture": describe(run.config.model, **channels),
            }
            for run in runs
            if run.seed < seeds
        ],
        "seeds": seeds,
        "claims": [claim.describe() for claim in experiment.claims],
        "batch": config.train.batch_size,
        "steps": schedule.total,
        "evaluate_after": evaluations,
        "evaluation_batch": config.evaluation.batch_size,
        "padding": config.data.padding,
        "learning_rate": optimizer.learning_rate,
        "momentum": optimizer.momentum,
        "weight_decay": optimizer.weight_decay,
        "warmup_steps": round(warmup),
        "average_decay": config.train.average_decay,
    }
