"""A tiny Xception on the 12,000 Fashion-MNIST training images that come with the package.

    xception-jax train configs/fashion_mnist_mini.py --workdir results/mini

Two cores are enough for this config. No setting here is from the paper, which trains on nothing
this small.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Settings; others have the defaults of `xception_jax/config/schema.py`."""
    return ConfigDict(
        {
            "data": {"name": "fashion_mnist_mini", "image_size": 28, "augmentation": "shift_flip"},
            "model": {"name": "xception_tiny", "norm_momentum": 0.9},
            "optimizer": {
                "learning_rate": 0.1,
                "schedule": "cosine",
                "warmup_epochs": 0.5,
                "weight_decay": 5e-4,
            },
            "train": {
                "batch_size": 64,
                "epochs": 4.0,
                "average_decay": 0.99,
                "evaluate_every_epochs": 0.5,
                "log_every_steps": 21,
            },
        }
    )
