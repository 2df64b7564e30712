"""A small Xception on CIFAR-10, for one accelerator.

    .venv/bin/pip install -e ".[prepare]"
    xception-jax data prepare cifar10
    xception-jax train configs/cifar10.py --workdir results/cifar10

The extra installs TensorFlow, which only this way to prepare needs; with `--from` and the archive
it works without. No setting here is from the paper. No run of this config has been finished yet.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Settings; others have the defaults of `xception_jax/config/schema.py`."""
    return ConfigDict(
        {
            "data": {
                "name": "cifar10",
                "image_size": 32,
                "augmentation": "shift_flip",
                "padding": 4,
            },
            "model": {"name": "xception_small", "norm_momentum": 0.95},
            "optimizer": {
                "learning_rate": 0.1,
                "schedule": "cosine",
                "warmup_epochs": 2.0,
                "weight_decay": 5e-4,
            },
            "train": {"batch_size": 128, "epochs": 100.0, "average_decay": 0.999},
        }
    )
