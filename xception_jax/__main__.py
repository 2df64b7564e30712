"""`python -m xception_jax` is the `xception-jax` command."""

from xception_jax.cli import main

if __name__ == "__main__":
    main()
