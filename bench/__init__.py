"""Measurements, run by hand: `make bench`. Each prints ratios against a baseline taken in the same run."""
