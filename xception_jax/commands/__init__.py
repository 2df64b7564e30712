"""The commands of `xception-jax`, one module per command or small group of commands."""
