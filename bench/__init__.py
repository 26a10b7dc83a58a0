"""Benchmarks: `make bench` runs all. Each prints ratios to a baseline that is measured in the same run.

Tests are in `tests`; CI runs no benchmark.
"""
