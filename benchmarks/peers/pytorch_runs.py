"""The runs of a sweep in PyTorch, one by one: `python -m benchmarks.peers.pytorch_runs JSON`.

What they do is said in `benchmarks.sweeps`. If the description has claims, they are tested in the
end (`scipy_claims`). Images and model are on the GPU if there is one.
"""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.peers.pytorch import build, device


def train_run(
    architecture: dict[str, Any], runs: dict[str, Any], data: dict[str, torch.Tensor], seed: int
) -> tuple[list[tuple[int, float]], float]:
    """Trains one run of a sweep (`benchmarks.sweeps`).

    Returns:
        (step, accuracy) of each validation, and the accuracy on the test split.
    """
    model = build(architecture, seed=seed).train()
    averaged = AveragedModel(
        model, multi_avg_fn=get_ema_multi_avg_fn(runs["average_decay"]), use_buffers=False
    )
    kernels = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": kernels}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(
        groups,
        lr=runs["learning_rate"],
        momentum=runs["momentum"],
        weight_decay=runs["weight_decay"],
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, runs))
    evaluate_after: set[int] = set(runs["evaluate_after"])
    curve: list[tuple[int, float]] = []
    for step, rows in enumerate(_orders(len(data["train_label"]), runs), 1):
        images = _shift_and_flip(data["train_image"][rows], runs["padding"])
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(_normalize(images)), data["train_label"][rows])
        loss.backward()
        optimizer.step()
        schedule.step()
        averaged.update_parameters(model)
        if step in evaluate_after:
            curve.append((step, _accuracy(averaged, data, "valid", runs["evaluation_batch"])))
    return curve, _accuracy(averaged, data, "test", runs["evaluation_batch"])


def _rate(step: int, runs: dict[str, Any]) -> float:
    """The share of the highest learning rate: a linear warm-up, then a cosine to zero."""
    warmup, steps = runs["warmup_steps"], runs["steps"]
    if step < warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _orders(examples: int, runs: dict[str, Any]) -> Iterator[torch.Tensor]:
    """Rows of each step's batch, a permutation an epoch."""
    batch, left = runs["batch"], torch.empty(0, dtype=torch.int64)
    for _ in range(runs["steps"]):
        if len(left) < batch:
            left = torch.cat([left, torch.randperm(examples)])
        yield left[:batch]
        left = left[batch:]


def _shift_and_flip(images: torch.Tensor, padding: int) -> torch.Tensor:
    count, _, height, width = images.shape
    padded = F.pad(images, (padding,) * 4)
    on = {"device": images.device}
    offsets = torch.randint(2 * padding + 1, (2, count, 1), **on)
    rows, columns = (
        offset + torch.arange(n, **on) for offset, n in zip(offsets, (height, width), strict=True)
    )
    columns = torch.where(torch.rand(count, 1, **on) < 0.5, columns, columns.flip(1))
    index = torch.arange(count, **on)[:, None, None]
    return padded.movedim(1, -1)[index, rows[:, :, None], columns[:, None]].movedim(-1, 1)


def _normalize(images: torch.Tensor) -> torch.Tensor:
    return images.float().div_(127.5).sub_(1).to(memory_format=torch.channels_last)


@torch.inference_mode()
def _accuracy(model: nn.Module, data: dict[str, torch.Tensor], split: str, batch: int) -> float:
    model.eval()
    hits = 0
    parts = (data[f"{split}_{name}"].split(batch) for name in ("image", "label"))
    for images, labels in zip(*parts, strict=True):
        hits += int((model(_normalize(images)).argmax(1) == labels).sum())
    return hits / len(data[f"{split}_label"])


def main(path: str) -> None:
    """Trains the runs that a JSON file describes, one after another, and tests its claims."""
    runs = json.loads(Path(path).read_text())
    arrays = {
        name: torch.from_numpy(values).to(device())
        for name, values in np.load(runs["images"]).items()
    }
    data = {
        name: values.permute(0, 3, 1, 2) if name.endswith("image") else values.long()
        for name, values in arrays.items()
    }
    results = {}
    for run in runs["runs"]:
        curve, test = train_run(run["architecture"], runs, data, run["seed"])
        results[run["arm"], run["seed"]] = {"curve": curve, "test": test}
        print(json.dumps({"arm": run["arm"], "seed": run["seed"], "test": test}), flush=True)
    if runs["claims"]:
        from benchmarks.peers.scipy_claims import judge

        print(json.dumps(judge(runs["claims"], results, runs["seeds"])), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
