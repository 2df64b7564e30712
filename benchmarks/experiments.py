"""Whole training steps of every arm of `experiments/*.py`, alone and in packs.

What is compared: the same step with the convolutions between one group and one per channel, and the
regular ones of more than 32 channels, by XLA's own operation; and the same models in PyTorch and in
plain Flax, which build them from the same tables (`architectures`).
"""

from collections.abc import Iterator
from typing import Any

from benchmarks.architectures import describe
from benchmarks.cases import KEEP_MEMORY, Case, Settings, Variant
from benchmarks.startup import ROOT
from benchmarks.train_step import OURS, PEERS, with_kernels
from xception_jax.config import Config
from xception_jax.planning.budget import dataset_info, equalize
from xception_jax.sweep import load_experiment, plan_runs

EXPERIMENTS = ROOT / "experiments"
SLOTS = 4
TORCH = ("torch",)
QUICK = ("segments: 8-none", "inception_vs_xception: inception")


def cases(settings: Settings) -> Iterator[Case]:
    """One case for each arm that is another program than all arms before it."""
    seen = set()
    for path in sorted(EXPERIMENTS.glob("*.py")):
        experiment, base = load_experiment(path)
        experiment = equalize(experiment, base)
        for run in plan_runs(experiment, base)[: len(experiment.arms)]:
            name = f"{experiment.name}: {run.arm}"
            model = _model_settings(run.config)
            key = (run.config.data.image_size, *sorted(map(str, model.items())))
            if key not in seen and (not settings.quick or name in QUICK):
                seen.add(key)
                yield _case(name, run.config, model, settings)


def _model_settings(config: Config) -> dict[str, Any]:
    """The settings of the group `model` that are not the defaults, and its name."""
    defaults = Config().flat()
    prefix = "model."
    return {
        name.removeprefix(prefix): value
        for name, value in config.flat().items()
        if name.startswith(prefix) and (value != defaults[name] or name == "model.name")
    }


def _case(name: str, config: Config, model: dict[str, Any], settings: Settings) -> Case:
    info = dataset_info(config)
    work: dict[str, Any] = {
        "size": 8 if settings.quick else info.image_shape[0],
        "batch": 2 if settings.quick else config.train.batch_size,
    }
    ours = {"model": model, "classes": info.num_classes, "channels": info.image_shape[2], **work}
    alone = Variant("alone", OURS, ours, KEEP_MEMORY)
    packed = Variant(f"{SLOTS} packed", OURS, ours | {"slots": SLOTS}, KEEP_MEMORY)
    variants = [
        Variant(v.name, v.target, v.arguments, KEEP_MEMORY | dict(v.environment))
        for v in with_kernels([alone, packed], settings)
    ]
    if not settings.gpu:
        kernels_off = KEEP_MEMORY | {"XCEPTION_JAX_KERNELS": "off"}
        by_xla = ours | {"tiles": False}
        variants.append(Variant("alone, XLA's convolutions", OURS, by_xla, kernels_off))
    channels = {"num_classes": info.num_classes, "in_channels": info.image_shape[2]}
    theirs = {"architecture": describe(config.model, **channels), **work}
    variants += [
        Variant("PyTorch, one by one", f"{PEERS}.pytorch:train_step", theirs, KEEP_MEMORY, TORCH),
        Variant("plain Flax, one by one", f"{PEERS}.flax_plain:train_step", theirs, KEEP_MEMORY),
    ]
    return Case(name, "images/s", tuple(variants), reference="PyTorch, one by one")
