"""Imports the module that is named, and prints which of the other words it has imported too."""

import importlib
import sys

if __name__ == "__main__":
    module, *heavy = sys.argv[1:]
    importlib.import_module(module)
    print(*sorted({*heavy} & {*sys.modules}))
