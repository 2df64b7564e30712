"""Training steps of a whole Xception against PyTorch in float64, which shares no code with ours.

Its model is built from the same table (`benchmarks.peers`); losses, gradients in parts, clipping,
momentum, decay, moving statistics and averages are written down here once more.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.architectures import describe
from tests.training.known_steps import own, run_steps, with_optimizer
from xception_jax.training.setup import make_step_spec, open_data

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow

RATE, DECAY, MOMENTUM, AVERAGED, CLIP, STEPS = 0.05, 5e-4, 0.9, 0.6, 1.0, 3


def as_torch(value):
    """Our kernels are [height, width, in, out], or [in, out]."""
    value = torch.tensor(np.asarray(value), dtype=torch.float64)
    return value.permute(3, 2, 0, 1) if value.ndim == 4 else value.T if value.ndim == 2 else value


class Oracle:
    """The model in PyTorch, from our initial values, and the statistics of its last batch."""

    def __init__(self, config, start):
        from benchmarks.peers import pytorch

        described = describe(config.model, num_classes=10, in_channels=1)
        self.model = pytorch.model_of(described).double().train()
        self.keep = config.model.block.norm.momentum
        self.arrays = dict(pytorch.arrays(self.model, described))
        for path, tensor in self.arrays.items():
            tensor.data.copy_(as_torch(({**start.parameters, **start.batch_stats})[path]))
        places = {id(tensor): path.rpartition("/")[0] for path, tensor in self.arrays.items()}
        self.current = {}
        for module in self.model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                self._observe(module, places[id(module.running_mean)])
        self.weights = list(start.parameters)
        self.moving = {path: as_torch(value) for path, value in start.batch_stats.items()}
        self.velocity = {path: torch.zeros_like(self.arrays[path]) for path in self.weights}
        self.averages = {path: self.arrays[path].detach().clone() for path in self.weights}
        self.averages |= {path: value.clone() for path, value in self.moving.items()}

    def _observe(self, module, place):
        def note(_, inputs):
            values = inputs[0].detach()
            self.current[f"{place}/mean"] = values.mean((0, 2, 3))
            self.current[f"{place}/variance"] = values.var((0, 2, 3), unbiased=False)

        module.register_forward_pre_hook(note)

    def step(self, number, images, labels, parts):
        gradients: dict[str, Any] = {}
        current: dict[str, Any] = {}
        for some, labelled in zip(images.chunk(parts), labels.chunk(parts), strict=True):
            self.model.zero_grad()
            torch.nn.functional.cross_entropy(self.model(some), labelled).backward()
            for path in self.weights:
                gradients[path] = gradients.get(path, 0) + self.arrays[path].grad / parts
            for path, value in self.current.items():
                current[path] = current.get(path, 0) + value / parts
                self.moving[path] = self.keep * self.moving[path] + (1 - self.keep) * value
        norm = torch.sqrt(sum((g**2).sum() for g in gradients.values()))
        share = min(AVERAGED, (1 + number) / (10 + number))
        for path, gradient in gradients.items():
            weight = self.arrays[path].data
            penalty = DECAY * weight if path.endswith("kernel") else 0
            clipped = gradient * min(1.0, CLIP / float(norm)) + penalty
            self.velocity[path] = MOMENTUM * self.velocity[path] + clipped
            weight -= RATE * self.velocity[path]
            self.averages[path] = share * self.averages[path] + (1 - share) * weight
        for path, value in current.items():
            self.averages[path] = share * self.averages[path] + (1 - share) * value


@pytest.mark.parametrize("parts", [1, 2])
def test_steps_of_xception_equal_pytorch_in_float64(shrunk, parts):
    config = shrunk("data.augmentation=none", "model.dropout=0", "model.padding=torch")
    pipeline = open_data(config)
    program = make_step_spec(config, pipeline.info)
    plain = with_optimizer(
        replace(program.optimizer, warmup_steps=0),
        momentum=MOMENTUM,
        schedule="constant",
        clip_norm=CLIP,
    )
    program = replace(
        program,
        optimizer=plain,
        average_decay=AVERAGED,
        accumulation_steps=parts,
        settings="",  # which describes the program before these changes
    )
    start = program.init(0)
    oracle = Oracle(config, start)
    data = pipeline.device_data["train"]
    batches = [next(pipeline.train_batches(step))["index"] for step in range(STEPS)]
    for number, index in enumerate(batches):
        images = torch.tensor(np.asarray(data["image"][index], np.float64) / 127.5 - 1)
        labels = torch.tensor(np.asarray(data["label"][index], np.int64))
        oracle.step(number, images.permute(0, 3, 1, 2), labels, parts)
    rows = [{"index": index} for index in batches]
    state, _ = run_steps(program, rows, data, own(0, RATE, DECAY))
    expected = {path: oracle.arrays[path].detach() for path in oracle.weights}
    for name, ours, theirs in (
        ("parameters", state.parameters, expected),
        ("batch_stats", state.batch_stats, oracle.moving),
        ("averages", state.averages, oracle.averages),
    ):
        assert ours.keys() == theirs.keys()
        origin = {**start.parameters, **start.batch_stats}
        moved = max(float((theirs[p] - as_torch(origin[p])).abs().max()) for p in theirs)
        wrong = max(float((theirs[p] - as_torch(ours[p])).abs().max()) for p in theirs)
        print(f"{name}: moved by up to {moved:.3g}, error up to {wrong:.3g}")
        assert moved > 1e-3
        assert wrong < 2e-3 * moved, name
