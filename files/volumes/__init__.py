"""Finished RI volumes of other programs: their files, axes, voxels and scales."""
