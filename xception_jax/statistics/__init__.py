"""Tests, intervals, power, claims, verdicts and the audit of a sweep's pairing.

All of it works on the plain data of `statistics.results`, and runs without JAX.
"""
