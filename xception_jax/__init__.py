"""Ablation experiments on Xception and Inception-style convolution blocks.

Importing this package imports none of the heavy libraries; import what you need from
`xception_jax.models`, `xception_jax.ops`, `xception_jax.sweep` and so on.
"""

__version__ = "0.1.0"
