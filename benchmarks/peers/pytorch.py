"""Xception as one writes it in PyTorch: channels_last, SGD fused, eager or compiled.

On a GPU the step runs under autocast to bfloat16 if asked to, in float32 otherwise with TF32, as
JAX does. It has not been run on one here.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any

import torch
import torch.fx.experimental.optimization
from torch import nn
from torch.nn import functional as F

from benchmarks.cases import Work

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "relu": lambda: nn.ReLU(inplace=True),
    "elu": lambda: nn.ELU(inplace=True),
}

NORM_NAMES = {
    "weight": "scale",
    "bias": "bias",
    "running_mean": "mean",
    "running_var": "variance",
}


class Separable(nn.Module):
    """A depthwise 3x3 convolution, an activation if one is wanted, a pointwise convolution."""

    def __init__(self, before: int, after: int, activation: str) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False)
        self.activation = ACTIVATIONS[activation]()
        self.pointwise = nn.Conv2d(before, after, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, before, height, width] -> [batch, after, height, width]."""
        return self.pointwise(self.activation(self.spatial(x)))


class Stage(nn.Module):
    """Separable convolutions, a pool, what skips them."""

    def __init__(self, before: int, stage: dict[str, Any], model: dict[str, Any]) -> None:
        super().__init__()
        self.pool, self.shortcut = stage["pool"], stage["shortcut"]
        self.before, self.first = stage["activation"] == "before", stage["first_activation"]
        widths, activation = stage["features"], model["intermediate_activation"]
        self.convolutions = nn.ModuleList(
            Separable(a, b, activation) for a, b in pairwise((before, *widths))
        )
        self.norms = nn.ModuleList(_norm(width, model) for width in widths)
        if self.shortcut == "projection":
            strides = 2 if self.pool else 1
            self.projection = nn.Conv2d(before, widths[-1], 1, strides, bias=False)
            self.projection_norm = _norm(widths[-1], model)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, channels, height, width] -> [batch, features, height / 2 if pooled, …]."""
        inputs = x
        for index, (convolution, norm) in enumerate(
            zip(self.convolutions, self.norms, strict=True)
        ):
            if self.before and (index > 0 or self.first):
                # What comes in is needed once more, by what skips the convolutions.
                x = F.relu(x, inplace=index > 0)
            x = norm(convolution(x))
            if not self.before:
                x = F.relu(x, inplace=True)
        if self.pool:
            x = F.max_pool2d(x, 3, 2, padding=1)
        if self.shortcut == "projection":
            return x + self.projection_norm(self.projection(inputs))
        return x + inputs if self.shortcut == "identity" else x


class Xception(nn.Module):
    """The model that `architecture` describes, with PyTorch's symmetric padding."""

    def __init__(self, architecture: dict[str, Any]) -> None:
        super().__init__()
        features = architecture["in_channels"]
        self.stem, self.stem_norms = nn.ModuleList(), nn.ModuleList()
        for conv in architecture["stem"]:
            padding = 1 if conv["padding"] == "SAME" else 0
            self.stem.append(
                nn.Conv2d(features, conv["features"], 3, conv["strides"], padding, bias=False)
            )
            features = conv["features"]
            self.stem_norms.append(_norm(features, architecture))
        self.stages = nn.ModuleList()
        for stage in architecture["stages"]:
            self.stages.append(Stage(features, stage, architecture))
            features = stage["features"][-1]
        self.classifier = nn.Linear(features, architecture["num_classes"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images [batch, channels, height, width] to logits."""
        for conv, norm in zip(self.stem, self.stem_norms, strict=True):
            x = F.relu(norm(conv(x)), inplace=True)
        for stage in self.stages:
            x = stage(x)
        return self.classifier(x.mean((2, 3)))


def _norm(features: int, model: dict[str, Any]) -> nn.BatchNorm2d:
    momentum = 1 - model["norm_momentum"]
    return nn.BatchNorm2d(features, eps=model["norm_epsilon"], momentum=momentum)


def device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def build(architecture: dict[str, Any], *, seed: int = 0) -> Xception:
    """A model with its own initial values, channels_last."""
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(seed)
    return Xception(architecture).to(device(), memory_format=torch.channels_last)


def _autocast(dtype: str) -> AbstractContextManager[Any]:
    if dtype == "float32":
        return nullcontext()
    return torch.autocast(device().type, getattr(torch, dtype))


def _batch(architecture: dict[str, Any], batch: int, size: int) -> tuple[Any, Any]:
    torch.manual_seed(0)
    images = torch.rand(batch, architecture["in_channels"], size, size) * 2 - 1
    labels = torch.randint(architecture["num_classes"], (batch,))
    return images.to(device(), memory_format=torch.channels_last), labels.to(device())


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def train_step(
    *,
    architecture: dict[str, Any],
    size: int,
    batch: int,
    dtype: str = "float32",
    compiled: bool = False,
    runs: int = 1,
) -> Work:
    """Steps of SGD with momentum, of `runs` models in turn."""
    images, labels = _batch(architecture, batch, size)
    models = [build(architecture, seed=seed).train() for seed in range(runs)]
    optimizers = [
        torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True) for model in models
    ]
    forward = [torch.compile(model) if compiled else model for model in models]

    def run(times: int) -> None:
        for _ in range(times):
            for model, optimizer in zip(forward, optimizers, strict=True):
                optimizer.zero_grad(set_to_none=True)
                with _autocast(dtype):
                    loss = F.cross_entropy(model(images), labels)
                loss.backward()
                optimizer.step()
        _wait()

    return Work(run, batch * runs, {"parameters": count(models[0])})


def inference(
    *, architecture: dict[str, Any], size: int, batch: int, dtype: str = "float32", mode: str
) -> Work:
    """Logits of a batch: "eval", "folded" (batch norm into convolutions, frozen) or "compiled"."""
    images, _ = _batch(architecture, batch, size)
    model: Any = build(architecture).eval()
    parameters = count(model)
    with torch.inference_mode(), _autocast(dtype):
        if mode == "folded":
            folded = torch.fx.experimental.optimization.fuse(model)
            folded = folded.to(memory_format=torch.channels_last)
            model = torch.jit.optimize_for_inference(torch.jit.trace(folded, images))
        elif mode == "compiled":
            model = torch.compile(model)

    def run(times: int) -> None:
        with torch.inference_mode(), _autocast(dtype):
            for _ in range(times):
                model(images)
        _wait()

    return Work(run, batch, {"parameters": parameters})


def operation(
    *,
    kind: str,
    shape: tuple[int, int, int, int],
    features: int,
    strides: int,
    padding: str,
    backward: bool,
    dtype: str,
    groups: int = 1,
) -> Work:
    """One operation on [batch, height, width, channels], with its gradients if `backward`."""
    batch, height, width, channels = shape
    layer = _layer(kind, channels, features, strides, padding, groups=groups)
    kind_of = {"dtype": getattr(torch, dtype), "device": device()}
    layer = layer.to(**kind_of, memory_format=torch.channels_last).train()
    x = torch.randn(batch, channels, height, width).to(**kind_of)
    x = x.to(memory_format=torch.channels_last).requires_grad_(backward)
    with torch.no_grad():
        gradient = torch.ones_like(layer(x))
    inputs = [x, *layer.parameters()]

    def run(times: int) -> None:
        with nullcontext() if backward else torch.no_grad():
            for _ in range(times):
                out = layer(x)
                if backward:
                    torch.autograd.grad(out, inputs, gradient)
        _wait()

    return Work(run, batch)


def _layer(
    kind: str, channels: int, features: int, strides: int, padding: str, *, groups: int = 1
) -> nn.Module:
    if kind == "max_pool":
        return nn.MaxPool2d(3, strides, padding=1)
    if kind == "batch_norm":
        return nn.BatchNorm2d(channels)
    if kind == "depthwise":
        return nn.Conv2d(channels, channels, 3, strides, padding=1, groups=channels, bias=False)
    if kind == "pointwise":
        return nn.Conv2d(channels, features, 1, strides, bias=False)
    pads = int(padding == "SAME")
    return nn.Conv2d(channels, features, 3, strides, pads, groups=groups, bias=False)


def arrays(model: Xception) -> Iterator[tuple[str, torch.Tensor]]:
    """(path in the names of `benchmarks.architectures.our_path`, tensor) of all that it holds."""
    for path, module in model.named_modules():
        tensors = dict(module.named_parameters(recurse=False))
        tensors |= dict(module.named_buffers(recurse=False))
        holder, (place, _, last) = path, path.rpartition(".")
        for name, tensor in tensors.items():
            if isinstance(module, nn.BatchNorm2d):
                ours = NORM_NAMES.get(name)
            elif last in ("spatial", "pointwise"):
                holder, ours = place, f"{last}_kernel"
            else:
                ours = {"weight": "kernel"}.get(name, name)
            if ours:
                yield f"{holder}.{ours}".replace(".", "/"), tensor


def count(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters())
