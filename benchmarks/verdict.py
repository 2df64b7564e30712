"""Seconds from a process's start to a decided verdict of `experiments/nonlinearity.py`.

Both claims are decided once all seeds have run, since the experiment declares no earlier look. Ours
is `sweep` and then `report`, which tests the claims and draws the figures; with nothing in the
caches, and with all programs and the size of the packs found there. The peer is one process that
trains the same runs in PyTorch, one after another, and tests the same claims with SciPy
(`peers.scipy_claims`); see `sweeps` for what it is spared.
"""

from collections.abc import Iterator

from benchmarks.cases import KEEP_MEMORY, Case, Settings, Variant
from benchmarks.sweeps import OURS, PEER
from benchmarks.train_step import PEERS

PEER_NAME = "PyTorch and SciPy, one by one"


def cases(settings: Settings) -> Iterator[Case]:
    """All seeds and epochs of the experiment; quick: next to no training, caches warm."""
    seeds, epochs = (4, 0.02) if settings.quick else (8, 4.0)
    size = {"seeds": seeds, "epochs": epochs, "verdict": True}
    ours = []
    for kernels in (False,) if settings.quick or settings.gpu else (False, True):
        for cold in (False,) if settings.quick else (True, False):
            name = f"packing auto{' with kernels' * kernels}, caches {'empty' if cold else 'warm'}"
            arguments = size | {"packing": "auto", "kernels": kernels, "cold": cold}
            ours.append(Variant(name, OURS, arguments))
    theirs = size | {"module": f"{PEERS}.pytorch_runs", "cold": True}  # nothing is ever cached
    malloc = {} if settings.gpu else KEEP_MEMORY  # ours sets its allocator itself
    yield Case(
        f"nonlinearity, 3 arms x {seeds} seeds, {epochs:g} epochs, and its verdict",
        "s",
        (*ours, Variant(PEER_NAME, PEER, theirs, malloc, ("torch",))),
        reference=PEER_NAME,
        once=True,
    )
