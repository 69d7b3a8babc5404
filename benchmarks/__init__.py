"""Benchmarks of LiveTomo: ratios measured in one run, with the name of the machine."""
