"""A worker that would sleep for ten minutes, but ends with whoever started it."""

import time

from xception_jax.launchers import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    print("up", flush=True)
    time.sleep(600)
