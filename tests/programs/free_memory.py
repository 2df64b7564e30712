"""Prints whether freed memory is kept, and the megabytes that are left of 200 freed ones."""

import os
from pathlib import Path

from xception_jax.runtime.allocator import keep_memory


def megabytes() -> int:
    """The memory of this process that is resident, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


if __name__ == "__main__":
    print(keep_memory())
    before = megabytes()
    block = bytearray(200 << 20)
    del block
    print(megabytes() - before)
