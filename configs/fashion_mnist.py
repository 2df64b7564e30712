"""A small Xception on the 70,000 images of Fashion-MNIST, for one accelerator.

    xception-jax data prepare fashion_mnist --from DIR
    xception-jax train configs/fashion_mnist.py --workdir results/fashion_mnist

DIR holds the four idx files of Fashion-MNIST. Debian's package dataset-fashion-mnist installs them
in /usr/share/datasets/fashion-mnist. No setting here is from the paper. No run of this config has
been finished yet.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Settings; others have the defaults of `xception_jax/config/schema.py`."""
    return ConfigDict(
        {
            "data": {"name": "fashion_mnist", "image_size": 28, "augmentation": "shift_flip"},
            "model": {"name": "xception_small", "norm_momentum": 0.95},
            "optimizer": {
                "learning_rate": 0.1,
                "schedule": "cosine",
                "warmup_epochs": 1.0,
                "weight_decay": 5e-4,
            },
            "train": {"batch_size": 128, "epochs": 30.0, "average_decay": 0.998},
        }
    )
