"""The project's benchmarks, which `xception-jax bench` runs; README.md tells of them."""
