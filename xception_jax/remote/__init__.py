"""Run directories in object stores (`gs://`, `s3://`): used on this machine, mirrored to the store.

An object store cannot append, rename or lock. So only this package knows about stores: a command
works in a directory of this machine, `mirrored` uploads what changes at a fixed interval and at the
end, and the next command starts from what was uploaded. A killed run loses nothing on the same
machine, and on another machine at most what changed during the last interval.

Commands do not write to a store through `etils.epath` and Orbax instead. Tried with etils 1.15,
Orbax 0.12.8 and s3fs 2026.9 on moto's S3 server:

- Orbax has a driver for `gs://` only; a save to `s3://` fails with
  "Checkpoint path should be absolute".
- epath opens neither `file://` nor `memory://`, so every test would need a server.
- A file that epath writes in a store shows no row before it is closed. It cannot be locked (it has
  no file descriptor) or created exclusively (mode "x" is refused).

The lease, the whole lines of a log and the order of uploads, without which `run.json` speaks of a
checkpoint that is not there yet, would still be ours to write. And training would wait for the
store at every row, where a mirror lets it go on while the store is away.

`fsspec.generic.rsync` does not replace the mirror either. It compares files by size alone, uploads
them in no particular order, and when told to delete what is gone, it also deletes a report that
another machine has put there.
"""

from xception_jax.remote.mirror import copied, mirrored
from xception_jax.remote.store import as_typed, fetched, require_local, url_of

__all__ = ["as_typed", "copied", "fetched", "mirrored", "require_local", "url_of"]
