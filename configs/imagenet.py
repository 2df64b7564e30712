"""The paper's Xception on ImageNet, with the paper's settings (sections 3, 4.2 and 4.3).

    xception-jax data prepare imagenet2012 --from DIR
    xception-jax train configs/imagenet.py --workdir results/imagenet

DIR holds the two archives of ILSVRC2012. Settings that the paper does not give are marked "our
choice". No run of this config has been finished yet. The paper reports 0.790 top-1 and 0.945 top-5
(its table 1) on the images that are the test split here.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Settings; others have the defaults of `xception_jax/config/schema.py`."""
    return ConfigDict(
        {
            "data": {
                "name": "imagenet2012",
                "image_size": 299,
                "augmentation": "random_resized_crop",  # our choice
                "validation_fraction": 0.02,  # our choice: 25,623 images held out of train
            },
            "model": {
                "name": "xception",
                "dropout": 0.5,
                "dtype": "bfloat16",  # our choice; parameters and statistics stay float32
            },
            "optimizer": {
                "name": "sgd",
                "learning_rate": 0.045,
                "momentum": 0.9,
                "schedule": "exponential",
                "decay_rate": 0.94,
                "decay_epochs": 2.0,
                "weight_decay": 1e-5,
            },
            "train": {
                "batch_size": 1024,  # our choice: 60 GPUs, synchronous; the paper gives no number
                "epochs": 90.0,  # our choice
                "average_decay": 0.9999,  # our choice; the paper says only that it averages
                "log_every_steps": 100,
            },
            "evaluation": {"batch_size": 1024},
        }
    )
