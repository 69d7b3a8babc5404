"""Loops that numba compiles for CPUs, and what they need."""
