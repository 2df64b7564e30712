"""The C library's memory, arranged for train steps that take and free the same blocks.

Linux with glibc only; elsewhere nothing is done.
"""

import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xception_jax.errors import require_choice

# Of mallopt(3), by number as in malloc.h: nothing is given back to the system or mapped by itself,
# the heap grows by 64 MiB at a time, and all threads share it.
_KEEP_MEMORY = {-4: 0, -1: -1, -2: 64 << 20, -8: 1}  # MMAP_MAX, TRIM_THRESHOLD, TOP_PAD, ARENA_MAX

# Bytes. glibc finds shorter pieces without a search; longer ones are what steps make blocks of.
_SHORTEST_GAP, _LONGEST_GAP = 1040, 1 << 20


def keep_memory() -> bool:
    """Has the C library keep what is freed, for the next train step to take; whether it does.

    A train step frees and takes hundreds of megabytes. By default glibc gives large blocks back to
    the system at once, which has to clear every page of them anew in each step. The price: a
    process stays as large as it ever was.

    For Linux with glibc; elsewhere, and where XCEPTION_JAX_ALLOCATOR=system, nothing is done. Call
    it before JAX is imported. The environment does the same for a program of one's own:
    MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=16000000000 MALLOC_TOP_PAD_=67108864
    MALLOC_ARENA_MAX=1.

    Raises:
        InputError: XCEPTION_JAX_ALLOCATOR is neither "keep" nor "system".
    """
    asked = os.environ.get("XCEPTION_JAX_ALLOCATOR", "keep")
    require_choice("XCEPTION_JAX_ALLOCATOR", asked, ("keep", "system"))
    if asked == "system" or sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    taken = [mallopt(option, value) == 1 for option, value in _KEEP_MEMORY.items()]
    _heap.kept = all(taken)
    return _heap.kept


@contextmanager
def without_gaps() -> Iterator[None]:
    """Around a compilation: what it leaves of the heap in small pieces is not used by train steps.

    A compiler leaves tens of thousands of free pieces. On the one heap that `keep_memory` leaves,
    larger blocks that a step takes or frees wait for walks through lists of them (issue 4). So the
    pieces are taken, until the next compilation.

    Without `keep_memory` there is nothing to mend, and nothing is done.
    """
    _heap.give_gaps_back()
    try:
        yield
    finally:
        _heap.take_gaps()


class _Statistics(ctypes.Structure):
    """glibc's `struct mallinfo2`, of numbers of bytes or blocks."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost",
        )
    )  # fmt: skip


class _Heap:
    """The heap of this process.

    Attributes:
        kept: `keep_memory` has been called, and did what it should.
    """

    def __init__(self) -> None:
        self.kept = False
        self._gaps: list[int] = []

    def give_gaps_back(self) -> None:
        gaps, self._gaps = self._gaps, []
        if gaps:
            library = _library()
            for gap in gaps:
                library.free(gap)

    def take_gaps(self) -> None:
        """Takes every free piece, the longest first, and gives back those that are no gaps."""
        if not self.kept or not hasattr(library := _library(), "mallinfo2"):
            return
        library.malloc_trim(0)  # the pages of the pieces, which are not going to be used
        # The heap's end is one free piece as well (`keepcost`), and no gap.
        found = library.mallinfo2()
        end, length = library.sbrk(0) - found.keepcost, found.fordblks - found.keepcost
        pieces: list[int] = []
        while length >= _SHORTEST_GAP:
            piece = library.malloc(length)
            if piece and piece < end:
                (self._gaps if length <= _LONGEST_GAP else pieces).append(piece)
                continue
            library.free(piece)
            length = length * 4 // 5
        for piece in pieces:
            library.free(piece)


def _library() -> Any:
    library = ctypes.CDLL(None)
    library.malloc.argtypes, library.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    library.free.argtypes, library.free.restype = [ctypes.c_void_p], None
    library.sbrk.argtypes, library.sbrk.restype = [ctypes.c_ssize_t], ctypes.c_void_p
    library.mallinfo2.restype = _Statistics
    return library


_heap = _Heap()
