"""The commands of `xception-jax`, a module for each kind."""
