"""The command ``export``: a tomogram file in the format of other programs.

Everything is written under another name first, so that what has the export's name is whole.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from acquisition.errors import ConfigurationError
from pipeline.archive.tomograms import read_tomograms
from pipeline.commands import Bar, progress_bar
from pipeline.disk import check_output, check_space
from pipeline.exporting.image import Image, Volume, image_of
from pipeline.exporting.ome_tiff import write_ome_tiff
from pipeline.exporting.ome_zarr import write_ome_zarr
from pipeline.exporting.tcf import write_tcf

__all__ = ["run_export"]

Write = Callable[[Image, Iterator[Volume], Path], None]


@dataclass(frozen=True, slots=True)
class _Format:
    """How a format is written, how its files end, and its size over that of float32."""

    write: Write
    ending: str
    size: float


_FORMATS = {
    "ome-tiff": _Format(write_ome_tiff, ".ome.tiff", 1.0),
    "ome-zarr": _Format(write_ome_zarr, ".ome.zarr", 1.15),  # an eighth for the halved copies
    "tcf": _Format(write_tcf, ".TCF", 0.5),
}


def run_export(
    file: Path,
    kind: str,
    output: Path | None = None,
    volumes: Sequence[str] = (),
    as_json: bool = False,
) -> int:
    """Write a tomogram file in another format.

    Parameters
    ----------
    file : Path
        The tomogram file; it may still be growing.
    kind : str
        "ome-tiff", "ome-zarr", "tcf".
    output : Path or None
        New; None: beside the file, with its name and the format's ending.
    volumes : sequence of str
        "raw", "deep", "tv", "gp", each becomes a channel; empty: the best that is complete.
    as_json : bool
        Print the result as JSON.

    Returns
    -------
    int
        0; what cannot be exported raises LiveTomoError and leaves nothing behind.
    """
    if kind not in _FORMATS:
        raise ConfigurationError(f"--to must be one of {', '.join(_FORMATS)}, got {kind!r}")
    made = _FORMATS[kind]
    output = file.with_name(file.stem + made.ending) if output is None else output
    check_output(output)
    image = image_of(read_tomograms(file), volumes)
    check_space(output, int(made.size * image.nbytes), f"{output.name} of {image.shape}")
    with progress_bar("Exporting", image.shape[0] * image.shape[1]) as bar:
        _write(made, image, output, bar)
    if as_json:
        figures = {
            "output": str(output),
            "format": kind,
            "volumes": list(image.channels),
            "shape": list(image.shape),
            "voxel_size_um": list(image.series.voxel_size_um),
        }
        print(json.dumps(figures))
    else:
        t, _, *shape = image.shape
        times = f"{t} time point{'s' if t > 1 else ''}"
        print(f"{output}: {', '.join(image.channels)}, {times} of {' x '.join(map(str, shape))}")
    return 0


def _write(made: _Format, image: Image, output: Path, bar: Bar) -> None:
    """Write under another name; keep that only if all of it went well."""
    partial = output.with_name(f"{output.name}.partial")
    _remove(partial)  # of an export that was killed

    def told() -> Iterator[Volume]:
        for done, volume in enumerate(image.volumes(), 1):
            yield volume
            bar.advance_to(done)

    try:
        made.write(image, told(), partial)
        partial.rename(output)
    finally:
        _remove(partial)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
