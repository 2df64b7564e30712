"""Directories in an object store (`gs://`, `s3://`): worked on here, kept there.

A store has no appending, renaming or locking. So nothing but this package knows of one: a command
works in a directory of this machine, `mirrored` sends what changes there at a bounded interval and
at the end, and whoever comes next begins with what has been sent. A kill loses nothing on the same
machine, and on another at most what the last interval had not sent.
"""

from xception_jax.remote.mirror import copied, mirrored
from xception_jax.remote.store import fetched, require_local, url_of

__all__ = ["copied", "fetched", "mirrored", "require_local", "url_of"]
