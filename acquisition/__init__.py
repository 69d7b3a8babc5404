"""From light to interferograms: devices, illumination and the simulated microscope.

This package module imports nothing, so that ``reconstruction`` and ``regularizer`` can use its
light modules (optics, illumination, gratings, interferograms, simulation) without pymmcore.
"""
