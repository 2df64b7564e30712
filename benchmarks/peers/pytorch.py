"""The models as one writes them in PyTorch: channels_last, SGD fused, eager or compiled.

On a GPU the step runs under autocast to bfloat16 if asked to, in float32 otherwise with TF32, as
JAX does. It has not been run on one here.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.fx.experimental.optimization
from torch import nn
from torch.nn import functional as F

from benchmarks.cases import Work

Layer = dict[str, Any]
ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU}


class Parallel(nn.Module):
    """Branches on the same input, their outputs added up or concatenated."""

    def __init__(self, branches: list[nn.Sequential], join: str) -> None:
        super().__init__()
        self.branches, self.join = nn.ModuleList(branches), join

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, channels, height, width] -> [batch, features, height / strides, …]."""
        outputs = [branch(x) for branch in self.branches]
        return sum(outputs[1:], outputs[0]) if self.join == "sum" else torch.cat(outputs, 1)


class Mean(nn.Module):
    """Means over grid x grid parts of the image, as one row of features."""

    def __init__(self, grid: int) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, features, height, width] -> [batch, grid * grid * features]."""
        if self.grid == 1:
            return x.mean((2, 3))
        return F.adaptive_avg_pool2d(x, self.grid).movedim(1, -1).flatten(1)


def _sequence(layers: list[Layer], model: dict[str, Any], *, shared: bool) -> nn.Sequential:
    """The modules of layers; if their input is `shared`, the first may not overwrite it."""
    return nn.Sequential(
        *(_layer(layer, model, inplace=i > 0 or not shared) for i, layer in enumerate(layers))
    )


def _layer(layer: Layer, model: dict[str, Any], *, inplace: bool) -> nn.Module:
    """The module of a layer; "SAME" pads equally on both sides, whatever the stride."""
    if layer["kind"] == "parallel":
        branches = [_sequence(branch, model, shared=True) for branch in layer["branches"]]
        return Parallel(branches, layer["join"])
    if layer["kind"] == "activation":
        return ACTIVATIONS[layer["name"]](inplace=inplace)
    return MODULES[layer["kind"]](layer, model)


def _conv(layer: Layer, _: dict[str, Any]) -> nn.Module:
    same = layer["padding"] == "SAME"
    return nn.Conv2d(
        layer["inputs"],
        layer["features"],
        layer["kernel"],
        layer["strides"],
        tuple(side // 2 if same else 0 for side in layer["kernel"]),
        groups=layer["groups"],
        bias=False,
    )


def _norm(layer: Layer, model: dict[str, Any]) -> nn.Module:
    momentum = 1 - model["norm_momentum"]
    norm = nn.BatchNorm2d(layer["features"], eps=model["norm_epsilon"], momentum=momentum)
    # PyTorch has no normalization with a bias and no scale: the scale stays one.
    norm.weight.requires_grad_(layer["scale"])
    return norm


MODULES: dict[str, Callable[[Layer, dict[str, Any]], nn.Module]] = {
    "conv": _conv,
    "norm": _norm,
    "max_pool": lambda layer, _: nn.MaxPool2d(3, layer["strides"], int(layer["padding"] == "SAME")),
    "average_pool": lambda *_: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    "mean": lambda layer, _: Mean(layer["grid"]),
    "dense": lambda layer, _: nn.Linear(layer["inputs"], layer["features"]),
    "dropout": lambda layer, _: nn.Dropout(layer["rate"]),
}


def model_of(architecture: dict[str, Any]) -> nn.Sequential:
    """The model that `architecture` describes (`benchmarks.architectures`), from NCHW images."""
    return _sequence(architecture["layers"], architecture, shared=True)


def device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def build(architecture: dict[str, Any], *, seed: int = 0) -> nn.Sequential:
    """A model with its own initial values, channels_last."""
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(seed)
    return model_of(architecture).to(device(), memory_format=torch.channels_last)


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
    layer = _alone(kind, channels, features, strides, padding, groups=groups)
    kind_of = {"dtype": getattr(torch, dtype), "device": device()}
    torch.backends.cudnn.benchmark = True
    layer = layer.to(**kind_of, memory_format=torch.channels_last).train()
    if kind == "batch_norm":  # as under autocast, and as ours: its parameters are float32
        layer = layer.float()
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


def _alone(
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


def arrays(model: nn.Module, architecture: dict[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """(path in our model, tensor) of everything that the model of an architecture holds."""
    holders = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d | nn.Linear)]
    for layer, module in zip(_with_paths(architecture["layers"]), holders, strict=True):
        path = layer["path"]
        if layer["kind"] == "conv":
            yield path, module.weight
        elif layer["kind"] == "dense":
            yield from ((f"{path}/kernel", module.weight), (f"{path}/bias", module.bias))
        else:
            if layer["scale"]:
                yield f"{path}/scale", module.weight
            yield f"{path}/bias", module.bias
            yield f"{path}/mean", module.running_mean
            yield f"{path}/variance", module.running_var


def _with_paths(layers: list[Layer]) -> Iterator[Layer]:
    """The layers that hold arrays, in the order of the modules."""
    for layer in layers:
        if layer["kind"] == "parallel":
            for branch in layer["branches"]:
                yield from _with_paths(branch)
        elif "path" in layer:
            yield layer


def count(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
