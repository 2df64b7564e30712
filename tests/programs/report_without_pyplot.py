"""Writes the report of a sweep, and prints whether that imported Matplotlib's global state."""

import sys
from pathlib import Path

from xception_jax.report import write_report

if __name__ == "__main__":
    write_report(Path(sys.argv[1]))
    print("matplotlib.pyplot" in sys.modules)
