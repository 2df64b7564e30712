"""How a process that computes is set up."""

import os
import platform
import subprocess
import sys

import pytest

from xception_jax.commands.process import keep_memory
from xception_jax.errors import InputError

PROGRAM = """
from pathlib import Path
from xception_jax.commands.process import keep_memory

def megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20

print(keep_memory())
before = megabytes()
block = bytearray(200 << 20)
del block
print(megabytes() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc's allocator")
@pytest.mark.parametrize(("asked", "kept"), [(None, True), ("keep", True), ("system", False)])
def test_freed_memory_is_kept_unless_told_otherwise(asked, kept):
    variables = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    variables.pop("XCEPTION_JAX_ALLOCATOR", None)
    if asked is not None:
        variables["XCEPTION_JAX_ALLOCATOR"] = asked
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=variables, capture_output=True, text=True, check=True
    )
    said, megabytes = done.stdout.split()
    assert said == str(kept)
    assert (int(megabytes) > 150) == kept


def test_another_allocator_is_refused(monkeypatch):
    monkeypatch.setenv("XCEPTION_JAX_ALLOCATOR", "systen")
    with pytest.raises(InputError, match=r"XCEPTION_JAX_ALLOCATOR='systen'.*'system'"):
        keep_memory()
