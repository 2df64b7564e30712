"""Benchmarks of the project, run by `python -m benchmarks`; README.md describes them."""
