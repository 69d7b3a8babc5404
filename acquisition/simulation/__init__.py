"""The physics of the simulated microscope: phantoms, scattering, interference, noise.

Pure numpy and scipy; the devices that a core loads are in ``acquisition.devices``.
"""
