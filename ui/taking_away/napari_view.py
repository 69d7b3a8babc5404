"""Shows volumes in napari, as a program of its own: ``python napari_view.py FOLDER``.

FOLDER holds layers.npz and layers.json, and is removed once they are read. Nothing of LiveTomo is
imported: napari and the window may each have their own version of Qt.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["main"]


def main(folder: Path) -> None:
    """Show the layers of a folder until the window of napari is closed."""
    import napari

    about: dict[str, Any] = json.loads((folder / "layers.json").read_text("utf-8"))
    with np.load(folder / "layers.npz") as held:
        volumes = {name: held[name] for name in held.files}
    shutil.rmtree(folder, ignore_errors=True)
    viewer: Any = napari.Viewer(title=about["title"])
    for layer in about["layers"]:
        place = {"scale": about["voxel_size_um"], "units": ["um"] * 3, "name": layer["name"]}
        data = volumes[layer["key"]]
        if layer["kind"] == "labels":
            viewer.add_labels(data, **place)
        else:
            viewer.add_image(
                data, **place, contrast_limits=layer["limits"], visible=layer["visible"]
            )
    viewer.dims.axis_labels = ("z", "y", "x")
    viewer.scale_bar.visible = True
    napari.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
