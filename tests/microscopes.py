"""Descriptions of small microscopes, for tests of the instrument and of the commands."""

__all__ = ["LIVE_SMALL", "QUICK_SMALL", "SMALL"]

SMALL = """
[microscope]
name = "Small"
[optics]
preset = "cell"
pixel_size_um = 0.07
[camera]
width = 96
height = 96
[illumination.circle]
angles = 9
[background]
scans = 1
[scan]
patience_s = 20.0
[reconstruction]
slices = 32
[processing]
device = "cpu"
regularizer = "none"
"""
# Four scans a second, of few pixels and mirrors: more would only keep the processes busy while a
# test waits for something else.
LIVE_SMALL = (
    SMALL.replace(" 96", " 64").replace("slices = 32", "slices = 16")
    + """
[dmd]
picture_ms = 25.0
shape = [480, 480]
carrier = [0.22, 0.385]
mirror_pitch_um = 0.05
stop_radius = 0.118
[simulation]
phantom = "bead"
"""
)
# For tests that take single scans.
QUICK_SMALL = LIVE_SMALL.replace("picture_ms = 25.0", "picture_ms = 4.0")
