"""Joins a run of several processes as the arguments or the environment say, waiting two seconds."""

import sys

from xception_jax.commands.process import prepare_jax


def main() -> None:
    prepare_jax()
    from xception_jax.runtime import hosts

    hosts._START_SECONDS = 2
    words = sys.argv[1:]
    with hosts.together(*((words[0], int(words[1]), int(words[2])) if words else (None,) * 3)):
        print("several" if hosts.several() else "alone")


if __name__ == "__main__":
    main()
