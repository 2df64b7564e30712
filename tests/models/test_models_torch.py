"""`padding="torch"` against the layout of timm's `legacy_xception`, written with torch.nn."""

import os
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.nnx import Rngs

from xception_jax.models import model_function
from xception_jax.models.layers import Conv, pad_explicit
from xception_jax.models.pooling import max_pool

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402


class Separable(nn.Sequential):
    def __init__(self, before: int, after: int) -> None:
        super().__init__(
            nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False),
            nn.Conv2d(before, after, 1, bias=False),
        )


class Block(nn.Module):
    """ReLU, separable convolution and normalization, some times over; a pool; what skips them."""

    def __init__(self, widths: tuple[int, ...], strides: int, relu_first: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.ReLU(), Separable(before, after), nn.BatchNorm2d(after)]
        if strides > 1:
            layers.append(nn.MaxPool2d(3, strides, padding=1))
        self.body = nn.Sequential(*layers[0 if relu_first else 1 :])
        self.skip = nn.Identity()
        if strides > 1 or widths[0] != widths[-1]:
            self.skip = nn.Sequential(
                nn.Conv2d(widths[0], widths[-1], 1, strides, bias=False),
                nn.BatchNorm2d(widths[-1]),
            )

    def forward(self, x):
        return self.body(x) + self.skip(x)


class LegacyXception(nn.Module):
    def __init__(self, classes: int, middle: int, width: float) -> None:
        super().__init__()
        a, b, c, d, e, f, g, h = (
            max(1, round(n * width)) for n in (32, 64, 128, 256, 728, 1024, 1536, 2048)
        )
        self.stem = nn.Sequential(
            nn.Conv2d(3, a, 3, 2, bias=False), nn.BatchNorm2d(a), nn.ReLU(),
            nn.Conv2d(a, b, 3, bias=False), nn.BatchNorm2d(b), nn.ReLU(),
        )  # fmt: skip
        self.entry = nn.Sequential(
            Block((b, c, c), 2, relu_first=False), Block((c, d, d), 2), Block((d, e, e), 2)
        )
        self.middle = nn.Sequential(*(Block((e, e, e, e), 1) for _ in range(middle)))
        self.last = Block((e, e, f), 2)
        self.end = nn.Sequential(
            Separable(f, g), nn.BatchNorm2d(g), nn.ReLU(),
            Separable(g, h), nn.BatchNorm2d(h), nn.ReLU(),
        )  # fmt: skip
        self.classifier = nn.Linear(h, classes)

    def forward(self, x):
        x = self.end(self.last(self.middle(self.entry(self.stem(x)))))
        return self.classifier(x.mean((2, 3)))


def places(model: LegacyXception) -> list[tuple[str, Any]]:
    """(our path, PyTorch's module) of all that holds values."""
    found: list[tuple[str, Any]] = []
    for index in (0, 1):
        found += [(f"stem/{index}", model.stem[3 * index])]
        found += [(f"stem_norms/{index}", model.stem[3 * index + 1])]
    blocks = {f"entry/{i}": block for i, block in enumerate(model.entry)}
    blocks |= {f"middle/{i}": block for i, block in enumerate(model.middle)}
    blocks |= {"exit/0": model.last}
    for path, block in blocks.items():
        found += units(path, block.body)
        if not isinstance(block.skip, nn.Identity):
            found += [(f"{path}/projection", block.skip[0])]
            found += [(f"{path}/projection_norm", block.skip[1])]
    return [*found, *units("exit/1", model.end), ("classifier", model.classifier)]


def units(path: str, layers) -> list[tuple[str, Any]]:
    convolutions = [layer for layer in layers if isinstance(layer, Separable)]
    norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]
    found: list[tuple[str, Any]] = []
    for index, (convolution, norm) in enumerate(zip(convolutions, norms, strict=True)):
        found += [(f"{path}/convolutions/{index}", convolution), (f"{path}/norms/{index}", norm)]
    return found


def tensors(model: LegacyXception) -> dict[str, Any]:
    """PyTorch's tensor of each of our paths."""
    found = {}
    for path, layer in places(model):
        if isinstance(layer, Separable):
            found[f"{path}/spatial_kernel"] = layer[0].weight
            found[f"{path}/pointwise_kernel"] = layer[1].weight
        elif isinstance(layer, nn.BatchNorm2d):
            found |= {f"{path}/scale": layer.weight, f"{path}/bias": layer.bias}
            found |= {f"{path}/mean": layer.running_mean, f"{path}/variance": layer.running_var}
        else:
            found[f"{path}/kernel"] = layer.weight
            if layer.bias is not None:
                found[f"{path}/bias"] = layer.bias
    return found


def to_ours(tensor) -> np.ndarray:
    array = tensor.detach().numpy()
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def make_pair(middle: int, width: float, dtype: str):
    seed = int.from_bytes(os.urandom(4), "little")
    print("seed", seed)
    torch.manual_seed(seed)
    theirs = LegacyXception(10, middle, width).to(getattr(torch, dtype))
    found = tensors(theirs)
    with torch.no_grad():
        for path, tensor in found.items():
            if path.endswith(("/scale", "/variance")):
                tensor.uniform_(0.5, 1.5)
            elif tensor.ndim == 1:
                tensor.normal_(0, 0.3)
            else:
                tensor.normal_(0, (1 / np.prod(tensor.shape[1:])) ** 0.5)
    ours = {
        padding: model_function(
            "xception",
            num_classes=10,
            middle_modules=middle,
            width=width,
            dtype=dtype,
            padding=padding,
            norm_epsilon=1e-5,
        )
        for padding in ("torch", "same")
    }
    return theirs.eval(), ours, found


def values_of(function, found) -> tuple[dict, dict]:
    paths = {leaf.path for leaf in (*function.parameters, *function.batch_stats)}
    assert paths == found.keys()
    values = {path: jnp.asarray(to_ours(tensor)) for path, tensor in found.items()}
    return (
        {leaf.path: values[leaf.path] for leaf in function.parameters},
        {leaf.path: values[leaf.path] for leaf in function.batch_stats},
    )


def test_the_whole_model_gives_the_logits_of_pytorch(rng):
    theirs, ours, found = make_pair(8, 1.0, "float32")
    assert (
        sum(t.numel() for t in theirs.parameters()) == 20_827_442
    )  # 22,855,952 with 1,000 classes
    # 96 pixels become 47, 45, 23, 12, 6 and 3: 12 and 6 are where the paddings differ.
    images = rng.uniform(-1, 1, size=(2, 96, 96, 3)).astype(np.float32)
    with torch.no_grad():
        right = theirs(torch.asarray(images.transpose(0, 3, 1, 2))).numpy()
    parameters, batch_stats = values_of(ours["torch"], found)
    logits, _ = jax.jit(ours["torch"].apply, static_argnames="train")(
        parameters, batch_stats, images, train=False
    )
    error = np.max(np.abs(logits - right))
    print(f"max abs error {error:.3g}, logits of size {np.std(right):.3g}")
    # The project's bound for float32 through 36 convolutions.
    assert error < 1e-4 * max(1, np.std(right))


def test_every_gradient_is_that_of_pytorch_and_the_other_padding_is_another_model(rng):
    with jax.enable_x64(True):
        theirs, ours, found = make_pair(1, 0.1, "float64")
        images = rng.uniform(-1, 1, size=(2, 96, 96, 3))
        logits = theirs(torch.asarray(images.transpose(0, 3, 1, 2)))
        torch.sin(logits).sum().backward()
        parameters, batch_stats = values_of(ours["torch"], found)

        def loss(parameters, padding):
            out, _ = ours[padding].apply(parameters, batch_stats, images, train=False)
            return jnp.sum(jnp.sin(out)), out

        gradients, mine = jax.jit(jax.grad(loss, has_aux=True), static_argnums=1)(
            parameters, "torch"
        )
        # float64's 1e-16 through some 15 convolutions.
        np.testing.assert_allclose(mine, logits.detach().numpy(), rtol=0, atol=1e-11)
        for path, gradient in gradients.items():
            right = to_ours(found[path].grad)
            error = np.linalg.norm(gradient - right) / np.linalg.norm(right)
            assert error < 1e-10, f"{path}: {error:.2g}"
        other = jax.jit(lambda p: loss(p, "same")[1])(parameters)
        assert np.max(np.abs(other - mine)) > 1e-3


@pytest.mark.parametrize("size", [11, 12])
@pytest.mark.parametrize(("kernel", "strides"), [(3, 2), (5, 2), (11, 4)])
def test_symmetric_convolutions_and_pools_are_pytorchs(size, kernel, strides, rng):
    x = rng.normal(size=(1, size, size, 2)).astype(np.float32)
    conv = Conv(2, 3, kernel, strides=strides, padding="SYMMETRIC", rngs=Rngs(0))
    weight = torch.asarray(np.array(conv.kernel[...]).transpose(3, 2, 0, 1))
    tensor = torch.asarray(x.transpose(0, 3, 1, 2))
    right = nn.functional.conv2d(tensor, weight, stride=strides, padding=kernel // 2)
    # 242 products on numbers of size 1 at float32's 6e-8.
    np.testing.assert_allclose(conv(x).transpose(0, 3, 1, 2), right, rtol=0, atol=1e-5)
    pooled = nn.functional.max_pool2d(tensor, 3, 2, padding=1)
    mine = max_pool(jnp.asarray(x) - 5, padding="SYMMETRIC") + 5  # zeros would win
    np.testing.assert_allclose(mine.transpose(0, 3, 1, 2), pooled, rtol=0, atol=1e-6)
    assert pad_explicit(jnp.asarray(x), (kernel, kernel), "SAME")[1] == "SAME"
