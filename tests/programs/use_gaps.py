"""Prints, in and out of `without_gaps`, whether short and long pieces fill gaps left by others.

The third word says whether gaps are held, so that nothing can fill them.
"""

import sys

from xception_jax.runtime import allocator


def main() -> None:
    if sys.argv[1] == "keep":
        assert allocator.keep_memory()
    library = allocator._library()
    assert library is not None
    pieces = [library.malloc(6000) for _ in range(2000)]
    long = library.malloc(8 << 20)
    library.malloc(6000)  # so that what is freed before it is a gap
    for piece in pieces[::2]:
        library.free(piece)
    library.free(long)

    def within(length: int, first: int, last: int) -> bool:
        piece = library.malloc(length)
        library.free(piece)
        return bool(first <= piece <= last)

    def show() -> None:
        short, whole = within(4000, pieces[0], pieces[-1]), within(7 << 20, long, long + (1 << 20))
        print(short, whole, bool(allocator._heap._gaps), flush=True)

    show()
    for _ in range(2):
        with allocator.without_gaps():
            show()
        show()
    with allocator.without_gaps():
        with allocator.without_gaps():  # as in another thread
            show()
        show()
    show()


if __name__ == "__main__":
    main()
