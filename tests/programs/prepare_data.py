"""`prepare(NAME, DIRECTORY, SOURCE)` as a process, to be killed."""

import sys

from xception_jax.data import prepare

if __name__ == "__main__":
    prepare(*sys.argv[1:])
