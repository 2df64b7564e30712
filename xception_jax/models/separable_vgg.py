"""Stacks of separable convolutions without residual connections, in the style of VGG.

Paper section 4.6 says that such stacks did well, and gives no details. The numbers of features and
the positions of the pools are those of VGG-16, with batch normalization and ReLU after every
convolution. Pools and head are those of all models here (3x3 windows of stride 2; global average
pooling). The first convolution is a regular one, for the image has only three channels.
"""

from xception_jax.models.xception import Stage, StemConv, XceptionSpec


def _block(*features: int, pool: bool = True) -> Stage:
    return Stage(features, pool, activation="after")


SEPARABLE_VGGS: dict[str, XceptionSpec] = {
    "separable_vgg": XceptionSpec(
        stem=(StemConv(64),),
        entry=(_block(64), _block(128, 128), _block(256, 256, 256), _block(512, 512, 512)),
        middle=_block(512, 512, 512, pool=False),
        middle_modules=1,
        exit=(),
    ),
    # Ours, for images of 28 to 64 pixels on small machines.
    "separable_vgg_tiny": XceptionSpec(
        stem=(StemConv(16, strides=2),),
        entry=(_block(32, 32), _block(64, 64), _block(96, 96)),
        middle=_block(128, 128, 128, pool=False),
        middle_modules=1,
        exit=(),
    ),
}
