"""Tuning of glibc's heap for train steps that allocate and free the same blocks over and over.

It applies to Linux with glibc; elsewhere nothing is done.
"""

import ctypes
import os
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xception_jax.errors import require_choice

# Options of mallopt(3) by their number in malloc.h: no memory is returned to the system, no block
# is mapped separately, the heap grows by 64 MiB at a time, and all threads share it.
_KEEP_MEMORY = {-4: 0, -1: -1, -2: 64 << 20, -8: 1}  # MMAP_MAX, TRIM_THRESHOLD, TOP_PAD, ARENA_MAX

# Sizes in bytes of the free chunks that compilation leaves and steps should not search: glibc finds
# shorter ones without a search, and steps allocate their blocks from longer ones.
_SHORTEST_GAP, _LONGEST_GAP = 1040, 1 << 20


def keep_memory() -> bool:
    """Makes glibc keep freed memory for the next train step instead of returning it.

    A train step allocates and frees hundreds of megabytes. By default glibc returns large blocks to
    the system at once, and the kernel has to zero every page of them again in each step. The price
    of keeping them: the process never shrinks.

    It must be called before JAX is imported. It does nothing outside of Linux with glibc, or where
    XCEPTION_JAX_ALLOCATOR=system. A program that does not call it can set MALLOC_MMAP_MAX_=0
    MALLOC_TRIM_THRESHOLD_=16000000000 MALLOC_TOP_PAD_=67108864 MALLOC_ARENA_MAX=1 in its
    environment to the same effect.

    Returns:
        Whether memory is kept.

    Raises:
        InputError: XCEPTION_JAX_ALLOCATOR is neither "keep" nor "system".
    """
    choice = os.environ.get("XCEPTION_JAX_ALLOCATOR", "keep")
    require_choice("XCEPTION_JAX_ALLOCATOR", choice, ("keep", "system"))
    if choice == "system" or sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    succeeded = [mallopt(option, value) == 1 for option, value in _KEEP_MEMORY.items()]
    _heap.kept = all(succeeded)
    return _heap.kept


def is_memory_kept() -> bool:
    """Whether `keep_memory` was called and has succeeded in this process."""
    return _heap.kept


@contextmanager
def without_gaps() -> Iterator[None]:
    """Context of a compilation that keeps train steps from searching the free chunks it leaves.

    A compiler leaves tens of thousands of small free chunks. On the single heap that `keep_memory`
    sets up, every larger block that a step allocates or frees would walk lists of them.
    So these chunks are allocated on exit and freed when the next compilation starts. Of several at
    the same time, in threads, the first to start frees them and the last to end allocates them.

    Without `keep_memory` it does nothing.
    """
    _heap.enter_compilation()
    try:
        yield
    finally:
        _heap.leave_compilation()


class _Statistics(ctypes.Structure):
    """glibc's `struct mallinfo2`: statistics of the heap, in bytes or blocks."""

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
        kept: whether `keep_memory` has been called and succeeded.
    """

    def __init__(self) -> None:
        self.kept = False
        self._gaps: list[int] = []
        self._compilations = 0
        self._lock = threading.Lock()

    def enter_compilation(self) -> None:
        with self._lock:
            self._compilations += 1
            if self._compilations == 1:
                self._free_gaps()

    def leave_compilation(self) -> None:
        with self._lock:
            self._compilations -= 1
            if self._compilations == 0:
                self._allocate_gaps()

    def _free_gaps(self) -> None:
        gaps, self._gaps = self._gaps, []
        if gaps:
            library = _library()
            for gap in gaps:
                library.free(gap)

    def _allocate_gaps(self) -> None:
        """Allocates every free chunk, longest first, and frees those that are too long for gaps."""
        if not self.kept or not hasattr(library := _library(), "mallinfo2"):
            return
        library.malloc_trim(0)  # returns the pages of the chunks, which will not be used
        # The free chunk at the heap's end (`keepcost`) is no gap.
        info = library.mallinfo2()
        end, length = library.sbrk(0) - info.keepcost, info.fordblks - info.keepcost
        long_chunks: list[int] = []
        while length >= _SHORTEST_GAP:
            chunk = library.malloc(length)
            if chunk and chunk < end:
                (self._gaps if length <= _LONGEST_GAP else long_chunks).append(chunk)
                continue
            library.free(chunk)
            length = length * 4 // 5
        for chunk in long_chunks:
            library.free(chunk)


def _library() -> Any:
    library = ctypes.CDLL(None)
    library.malloc.argtypes, library.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    library.free.argtypes, library.free.restype = [ctypes.c_void_p], None
    library.sbrk.argtypes, library.sbrk.restype = [ctypes.c_ssize_t], ctypes.c_void_p
    if hasattr(library, "mallinfo2"):  # from glibc 2.33
        library.mallinfo2.restype = _Statistics
    return library


_heap = _Heap()
