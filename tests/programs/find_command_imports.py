"""Runs a command, and prints its exit code and which packages of the first word it has imported.

The first word lists them, with commas; the others are the command's.
"""

import sys

from xception_jax import cli

if __name__ == "__main__":
    heavy = set(sys.argv.pop(1).split(","))
    try:
        cli.main()
    except SystemExit as end:
        print(end.code or 0, sorted(heavy & {*sys.modules}))
