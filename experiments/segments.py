"""The paper's untested conjecture (section 4.7): does depth decide what the nonlinearity does?

Run it with `xception-jax sweep experiments/segments.py --workdir results/segments`.
`docs/studies/segments_one_rate.md` says what came out.

Inception modules profit from the activation between their operations; separable convolutions do
not. The paper conjectures that this depends on the depth of the intermediate feature space. With
many channels in each segment the nonlinearity helps; with one channel it loses information. Each
arm gets the width at which it has as many parameters as the first arm.

With the paper's settings (not run). The first arm is its Xception with 22,855,952 parameters:

    xception-jax sweep experiments/segments.py --base configs/imagenet.py \
--workdir results/segments-imagenet
"""

from xception_jax.sweep import Claim, Experiment, Trend

SEGMENTS = ("per_channel", 8, 4, 2, 1)
ACTIVATIONS = ("none", "relu")


def get_experiment(model: str = "xception_tiny") -> Experiment:
    """Segments of the spatial convolution times the intermediate activation.

    Args:
        model: name of the base config's model. The paper's keeps its width; smaller ones get wider.
    """
    # Segments must divide the widths, so widths come in steps; at this one all arms can be equal.
    width = {} if model == "xception" else {"model.width": 1.93}
    return Experiment(
        name="segments",
        hypothesis="The intermediate nonlinearity harms where each segment has one channel, and "
        "helps where segments are deep: what it does gets better as the segments get deeper.",
        reference="paper section 4.7, last paragraph; section 5",
        base="../configs/fashion_mnist_mini.py",
        factors={
            "model.segments": {f"{each}": {"model.segments": each, **width} for each in SEGMENTS},
            "model.intermediate_activation": ACTIVATIONS,
        },
        seeds=8,
        # The conjecture is the trend of the effect; a change of its sign is a stronger claim.
        claims=(
            Trend(
                tuple(f"{segments}-relu" for segments in SEGMENTS),
                "final_top1",
                "better",
                baselines=tuple(f"{segments}-none" for segments in SEGMENTS),
            ),
            Claim("per_channel-relu", "per_channel-none", "worse"),
            Claim("1-relu", "1-none", "better"),
        ),
        equal="parameters",
    )
