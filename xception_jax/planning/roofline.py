"""How fast a chip could take a step at best: arithmetic on what the compiler counts of a program.

A step takes no less time than its arithmetic at the chip's peak, than its memory traffic at the
full bandwidth, or than its messages at the full bandwidth of the links, and no less than the
longest of the three if all overlap perfectly. It is a bound, and not a measured time.
"""

from dataclasses import dataclass

HOUR = 3600.0


@dataclass(frozen=True)
class Chip:
    """What one chip can do at most.

    Attributes:
        flops: a second, of bfloat16 products.
        memory_bandwidth: to and from its HBM, bytes a second.
        link_bandwidth: bytes a second that all its links to other chips send together.
    """

    flops: float
    memory_bandwidth: float
    link_bandwidth: float


# Google's figures: cloud.google.com/tpu/docs/v4, …/v5e, …/v5p and …/v6e, read in 2026. Links: half
# of what these pages give for both directions, or, for v4, six links of 45 GB/s each, which agrees
# with the 1.1 PB/s they give for an all-reduce on 4,096 chips.
CHIPS = {
    "v4": Chip(275e12, 1200e9, 270e9),
    "v5e": Chip(197e12, 819e9, 200e9),
    "v5p": Chip(459e12, 2765e9, 600e9),
    "v6e": Chip(918e12, 1638e9, 400e9),
}


@dataclass(frozen=True)
class Roofline:
    """Seconds that each side of a step takes at the chip's best; all of one chip."""

    arithmetic: float
    memory: float
    links: float

    @property
    def seconds(self) -> float:
        """Seconds of the step, if the sides overlap perfectly."""
        return max(self.arithmetic, self.memory, self.links)

    @property
    def bound(self) -> str:
        """The side that takes longest: "arithmetic", "memory" or "links"."""
        return max(("arithmetic", "memory", "links"), key=lambda side: float(getattr(self, side)))


def roofline(chip: Chip, *, flops: float, memory_bytes: float, sent_bytes: float) -> Roofline:
    """The roofline of a step in which a chip does `flops` and moves and sends these bytes."""
    return Roofline(
        arithmetic=flops / chip.flops,
        memory=memory_bytes / chip.memory_bandwidth,
        links=sent_bytes / chip.link_bandwidth,
    )
