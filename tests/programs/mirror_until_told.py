"""Works in the URL that is named, for as long as nothing is written to its standard input."""

import sys
from pathlib import Path

from xception_jax.remote import mirrored

if __name__ == "__main__":
    with mirrored(Path(sys.argv[1]), print) as local:
        (local / "run.json").write_text("{}")
        print("held", flush=True)
        sys.stdin.readline()
        (local / "run.json").write_text('{"late": true}')
