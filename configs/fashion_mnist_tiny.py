"""A tiny Xception on the 70,000 images of Fashion-MNIST, for an epoch.

    xception-jax data prepare fashion_mnist --from DIR
    xception-jax train configs/fashion_mnist_tiny.py --workdir results/fashion_mnist_tiny

DIR holds the four idx files of Fashion-MNIST. Debian's package dataset-fashion-mnist installs them
in /usr/share/datasets/fashion-mnist. Two cores are enough for this config, on which the studies in
`experiments/studies` are based. No setting here is from the paper.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Settings; others have the defaults of `xception_jax/config/schema.py`."""
    return ConfigDict(
        {
            "data": {"name": "fashion_mnist", "image_size": 28, "augmentation": "shift_flip"},
            "model": {"name": "xception_tiny", "norm_momentum": 0.9},
            "optimizer": {
                "learning_rate": 0.1,
                "schedule": "cosine",
                "warmup_epochs": 0.1,
                "weight_decay": 5e-4,
            },
            "train": {
                "batch_size": 64,
                "epochs": 1.0,
                "average_decay": 0.99,
                "evaluate_every_epochs": 0.25,
                "log_every_steps": 42,
            },
        }
    )
