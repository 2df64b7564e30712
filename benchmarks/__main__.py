"""`python -m benchmarks NAME …` from a checkout: measures, and writes what was measured."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from benchmarks.command import BENCHMARKS, run
from xception_jax.errors import INVALID, InputError


class _Parser(argparse.ArgumentParser):
    """An argument parser that refuses bad input in one line, as `xception-jax` does."""

    def error(self, message: str) -> NoReturn:
        """Prints the message on standard error and exits with code 2."""
        self.exit(INVALID, f"benchmarks: {message}\n")


def _rounds(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer from 1, not {text!r}")
    return int(text)


def _directory(text: str) -> Path:
    if Path(text).exists() and not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a file; a directory is needed")
    return Path(text)


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m benchmarks",
        description="Measures this project beside plain Flax, Keras and PyTorch on this machine. "
        "Results that `--quick` gives mean nothing.",
        epilog='Example: python -m benchmarks train_step --case "96 px"',
        allow_abbrev=False,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; default: all"
    )
    parser.add_argument("--quick", action="store_true", help="tiny shapes and two rounds")
    parser.add_argument(
        "--output",
        type=_directory,
        default=Path("results/benchmarks"),
        metavar="DIR",
        help="where the results go; default: results/benchmarks",
    )
    parser.add_argument(
        "--rounds", type=_rounds, metavar="N", help="of every case; default: by how long it takes"
    )
    parser.add_argument(
        "--case", default="", metavar="TEXT", help="only the cases with this text in their name"
    )
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="TEXT",
        help="only the variants with this text in their name; may be given several times",
    )
    return parser


def main(words: list[str]) -> int:
    """Runs the benchmarks that `words` name.

    Returns:
        0; 1 if a benchmark had nothing to measure.

    Raises:
        SystemExit: with code 2 after bad input, with 0 after `--help`.
    """
    parser = _parser()
    asked = parser.parse_intermixed_args(words)
    try:
        return run(
            asked.names,
            quick=asked.quick,
            output=asked.output,
            rounds=asked.rounds,
            only=asked.case,
            variants=asked.variant,
            command=shlex.join(["python", "-m", "benchmarks", *words]),
            console=Console(soft_wrap=True, markup=False, highlight=False),
        )
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
