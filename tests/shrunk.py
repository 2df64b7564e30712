"""The real config, shrunk to seconds: tests that train share its compiled programs."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "fashion_mnist_mini.py"
EXPERIMENT = ROOT / "experiments" / "nonlinearity.py"
# 9 steps: rows and checkpoints after 2, 4, 6, 8 and 9, validations after 3, 6 and 9.
SHRUNK = (
    "data.name=digits",
    "data.image_size=8",
    "data.train_examples=96",
    "model.width=0.25",
    "model.middle_modules=0",
    "model.dropout=0.2",
    "train.batch_size=32",
    "train.epochs=3",
    "train.log_every_steps=2",
    "train.evaluate_every_epochs=1",
    "checkpoint.every_epochs=0.67",
    "wandb.mode=disabled",
)

# The model that is compiled soonest, for tests to which it does not matter which one it is.
SOONEST = ("model.name=alexnet_tiny", "model.fully_connected=[]")

# Long enough to be met in the middle: 60 steps, with a validation and a checkpoint every few.
SIXTY_STEPS = (
    "train.epochs=20",
    "train.evaluate_every_epochs=0.67",
    "checkpoint.every_epochs=0.67",
)
LONG = (*SIXTY_STEPS, *SOONEST)

MULTI_LABEL_CONFIG = ROOT / "configs" / "jft_style.py"
# 6 steps on mosaics of a quarter of their size.
MULTI_LABEL_SHRUNK = (
    "data.image_size=14",
    "data.train_examples=64",
    "model.width=0.25",
    "model.middle_modules=0",
    "train.batch_size=32",
    "train.epochs=3",
    "train.log_every_steps=2",
    "train.evaluate_every_epochs=1",
    "checkpoint.every_epochs=1",
    "wandb.mode=disabled",
)
