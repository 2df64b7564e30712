"""Settings of batch normalization over groups of rows, and the learning rate of a batch."""

import pytest

from xception_jax.errors import InputError
from xception_jax.training.setup import data_notes, open_data, require_trainable
from xception_jax.training.sharding import make_mesh


def test_a_group_that_does_not_fit_is_refused(shrunk):
    config = shrunk("model.norm_group_size=24")
    with pytest.raises(InputError, match=r"norm_group_size=24: must divide the 32 .*: 16"):
        require_trainable(config, open_data(config).info, make_mesh())


@pytest.mark.parametrize(("batch_size", "is_said"), [(96, False), (97, True)])
def test_a_batch_larger_than_the_training_split_is_said(shrunk, batch_size, is_said):
    config = shrunk(f"train.batch_size={batch_size}")
    said = " ".join(data_notes(config, open_data(config)))
    larger = "train.batch_size=97) is larger than the training split, which has 96"
    assert (larger in said) == is_said


def test_the_learning_rate_scales_with_the_batch(shrunk):
    from xception_jax.training.state import hyperparameters

    words = ("optimizer.learning_rate=0.1", "train.batch_size=64")
    plain, scaled = (
        hyperparameters(shrunk(*words, *more), ("none",)).learning_rate
        for more in ((), ("optimizer.reference_batch_size=16",))
    )
    assert float(plain) == pytest.approx(0.1)
    assert float(scaled) == pytest.approx(0.4)
