"""The paper's conjecture, tuned: does the depth of a segment decide what the activation does?

    xception-jax data prepare fashion_mnist --from DIR
    xception-jax sweep experiments/studies/segments.py --workdir results/studies/segments

All arms have as many parameters as the first. `docs/studies/segments.md` says what
came out.
"""

from xception_jax.sweep import Effect, Experiment, Interaction, Trend, Tune

ACTIVATION = "model.intermediate_activation"
SPATIAL = "model.segments"  # the name of a factor of which the order is a part
DEPTHS = ("per_channel", 8, 4, 2, 1)  # segments, from the shallowest to the deepest
ENDS = ("per_channel", 1)
Claims = tuple[Effect | Interaction | Trend, ...]


def get_experiment() -> Experiment:
    """Five segmentations and, at the two ends, both orders; each with three activations."""
    levels = {f"{segments}": _spatial(segments, "depthwise_first") for segments in DEPTHS} | {
        f"pointwise_first-{segments}": _spatial(segments, "pointwise_first") for segments in ENDS
    }
    return Experiment(
        name="study_segments",
        hypothesis="The intermediate nonlinearity harms where each segment has one channel, and "
        "helps where segments are deep: what it does gets better as the segments get deeper.",
        reference="paper section 4.7, last paragraph; section 5",
        base="../../configs/fashion_mnist_tiny.py",
        factors={SPATIAL: levels, ACTIVATION: ("none", "relu", "elu")},
        tune=Tune("optimizer.learning_rate", (0.05, 0.1, 0.2, 0.4), seeds=2),
        seeds=32,
        looks=(16, 32),
        spending="pocock",
        equal="parameters",
        claims=tuple(
            claim for activation in ("relu", "elu") for claim in _claims(activation, levels)
        ),
    )


def _spatial(segments: str | int, order: str) -> dict[str, object]:
    # Segments divide the widths, so widths come in steps; at this one all arms can be equal.
    return {SPATIAL: segments, "model.order": order, "model.width": 1.93}


def _claims(activation: str, levels: dict[str, dict[str, object]]) -> Claims:
    """The claims that the conjecture makes of an activation: over depth, and at both ends."""
    return (
        Trend(
            tuple(f"{segments}-{activation}" for segments in DEPTHS),
            baselines=tuple(f"{segments}-none" for segments in DEPTHS),
        ),
        Interaction((SPATIAL, ACTIVATION), ("1", activation), ("per_channel", "none")),
        *(
            Effect(
                ACTIVATION,
                activation,
                "none",
                "better" if settings[SPATIAL] == 1 else "worse",
                at={SPATIAL: level},
            )
            for level, settings in levels.items()
            if settings[SPATIAL] in ENDS
        ),
    )
