"""AlexNet with one tower, regular or separable: the experiment of Sifre (paper section 2).

The paper describes it in one sentence, so the details are our choice. The numbers of features, the
kernel sizes and the positions of the pools are those of the network of 2012, whose two halves (one
for each GPU) are one here. Batch normalization after every convolution replaces local response
normalization, as in the other models, so that a comparison is one of convolutions. The last feature
map is averaged over 6x6 parts, which changes nothing for images of 224 pixels: it then has 6x6
pixels. Dropout is before the classifier only.

With `separable` all convolutions but the first, which sees the image's three channels, are
separable.
"""

from xception_jax.models.towers import (
    Convolution,
    InceptionSpec,
    Layer,
    MaxPool,
    Towers,
    convolution,
)


def _one_tower(*layers: Layer) -> tuple[Towers, ...]:
    """Modules of one tower each: one convolution, and the pool after it if there is one."""
    towers: list[list[Layer]] = []
    for layer in layers:
        if isinstance(layer, Convolution):
            towers.append([])
        towers[-1].append(layer)
    return tuple((tuple(tower),) for tower in towers)


ALEXNETS: dict[str, InceptionSpec] = {
    "alexnet": InceptionSpec(
        stem=(convolution(96, 11, 11, 4), MaxPool(padding="VALID")),
        modules=_one_tower(
            convolution(256, 5, 5),
            MaxPool(padding="VALID"),
            convolution(384, 3, 3),
            convolution(384, 3, 3),
            convolution(256, 3, 3),
            MaxPool(padding="VALID"),
        ),
        fully_connected=(4096, 4096),
        grid=6,
    ),
    # For images of 28 to 64 pixels on small machines, with global average pooling.
    "alexnet_tiny": InceptionSpec(
        stem=(convolution(24, 5, 5, 2), MaxPool()),
        modules=_one_tower(
            convolution(48, 5, 5),
            MaxPool(),
            convolution(64, 3, 3),
            convolution(64, 3, 3),
            convolution(48, 3, 3),
        ),
        fully_connected=(128, 128),
    ),
}
