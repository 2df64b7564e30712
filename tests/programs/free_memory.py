"""Prints whether freed memory is kept, and the megabytes that are left of 200 freed ones."""

from pathlib import Path

from xception_jax.runtime.allocator import keep_memory


def megabytes() -> int:
    """That are resident."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20


if __name__ == "__main__":
    print(keep_memory())
    before = megabytes()
    block = bytearray(200 << 20)
    del block
    print(megabytes() - before)
