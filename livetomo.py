"""The pieces of LiveTomo for scripts and notebooks: the same code as the instrument runs.

    import livetomo

    recording = livetomo.open_recording("cells.h5")
    tomogram = livetomo.reconstruct(recording[0])
    better = livetomo.regularize(tomogram, "deep")
    better.index_array            # (z, y, x) float32: the refractive index
    livetomo.save_tomograms("cells-tomograms.h5", [better])
    livetomo.measure(better).objects      # volume, dry mass, place, ... of each object

    volume = livetomo.open_volume("cells.TCF")[0]       # of another program
    livetomo.regularize(volume, "deep").support         # what was measured, and how that was found

What a function needs is loaded when it is called: importing this module takes no time. Lengths are
micrometres, arrays (z, y, x) or (angle, y, x), times seconds since the epoch. All errors are
``livetomo.LiveTomoError``.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acquisition.errors import LiveTomoError
    from scripting.finished_volumes import Volumes, open_volume
    from scripting.measured import measure
    from scripting.microscope_handle import Microscope, open_microscope
    from scripting.recordings import Recording, Scan, open_recording, simulate_scan
    from scripting.tomogram_files import Tomograms, open_tomograms, save_tomograms
    from scripting.tomogram_handle import Tomogram, compare, reconstruct, regularize

__all__ = [
    "LiveTomoError",
    "Microscope",
    "Recording",
    "Scan",
    "Tomogram",
    "Tomograms",
    "Volumes",
    "compare",
    "measure",
    "open_microscope",
    "open_recording",
    "open_tomograms",
    "open_volume",
    "reconstruct",
    "regularize",
    "save_tomograms",
    "simulate_scan",
]

_MODULES = (
    "acquisition.errors",
    "scripting.tomogram_handle",
    "scripting.recordings",
    "scripting.tomogram_files",
    "scripting.microscope_handle",
    "scripting.measured",
    "scripting.finished_volumes",
)


def __getattr__(name: str) -> Any:
    """Load a name when it is first used."""
    if name in __all__:
        for module in map(importlib.import_module, _MODULES):
            if name in module.__all__:
                value = globals()[name] = getattr(module, name)
                return value
    raise AttributeError(f"module 'livetomo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
