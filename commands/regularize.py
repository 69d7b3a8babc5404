"""Regularize finished RI volumes of another program, without interferograms.

FILE is a TCF, an OME-TIFF, ImageJ or plain TIFF stack, an OME-Zarr folder, a NumPy (.npy, .npz) or
MATLAB (.mat) file, or a tomogram file of LiveTomo. What was measured is found from the volume's own
spectrum or from the optics, and the result says which. A job that was interrupted continues when it
is started again. docs/how-to/regularizing-volumes.md says what each kind of file needs.
"""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acquisition.choices import CONSTRAINTS
from acquisition.errors import ConfigurationError
from commands.options import METHODS, add_device, add_json, add_output
from files.exporting.formats import FORMATS
from regularizer.total_variation.parameters import PRESETS

if TYPE_CHECKING:
    from files.volumes.open_volumes import FinishedVolumes
    from pipeline.tomograms.volume_job import VolumeRecipe, VolumeResult
    from reconstruction.finished.finished_volume import KnownOptics

__all__ = ["HELP", "add_options", "run"]

HELP = "regularize finished RI volumes of another program (TCF, TIFF, OME-Zarr, NumPy, MATLAB)"
_SUPPORTS = ("auto", "optics", "measured")
_OPTICS = {  # by option: field of KnownOptics and help
    "wavelength-um": ("wavelength_um", "vacuum wavelength"),
    "numerical-aperture": ("numerical_aperture", "NA of the objective"),
    "medium-index": ("medium_index", "default: the most frequent index of the volume"),
    "illumination-aperture": (
        "illumination_aperture",
        "NA of the circle that the light was scanned on; default: 0.9 of the objective's",
    ),
}


def add_options(parser: ArgumentParser) -> None:
    """Add the file, the regularizer, the optics, and what the file does not say."""
    add_device(parser)
    add_output(parser, "a new tomogram file, or one to be continued")
    add_json(parser)
    parser.add_argument("file", type=Path, metavar="FILE", help="the volumes")
    parser.add_argument("--regularizer", choices=METHODS, default="deep", help="default: deep")
    text = "parameters of tv: tuned for LiveTomo (tv, tv-fast), from the noise of each volume "
    text += "(auto), or those of the paper"
    parser.add_argument("--preset", choices=PRESETS, help=text)
    text = "sign of the contrast; default: auto, what the data show"
    parser.add_argument("--constraint", choices=tuple(CONSTRAINTS), default="auto", help=text)
    text = "export the result as well, beside the tomogram file and under its name"
    parser.add_argument("--to", nargs="+", choices=tuple(FORMATS), default=[], help=text)
    _add_optics(parser)
    group = parser.add_argument_group("file", "what the file does not say itself")
    text = "voxel size"
    group.add_argument("--volume-um", nargs=3, type=float, metavar=("DZ", "DY", "DX"), help=text)
    text = "order of the axes in the file, of T, C, Z, Y, X"
    group.add_argument("--axes", default="", metavar="ZYX", help=text)
    text = "factor from the file's numbers to refractive index; default: 1 or 1e-4, by the numbers"
    group.add_argument("--scale", type=float, metavar="FACTOR", help=text)
    text = "variable of a .mat or .npz, series of a TIFF, image of an OME-Zarr, or volume of a "
    text += "tomogram file"
    group.add_argument("--dataset", default="", metavar="NAME", help=text)
    group.add_argument("--channel", type=int, metavar="N", help="channel, from 0")


def _add_optics(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("optics", "override what the file says")
    text = "where to find what was measured; default: auto, the volume where its spectrum has a "
    text += "noise floor, else the optics"
    group.add_argument("--support", choices=_SUPPORTS, default="auto", help=text)
    text = "a TOML with the keys wavelength_um, numerical_aperture, medium_index, or a "
    text += "microscope.toml"
    group.add_argument("--optics", type=Path, metavar="TOML", help=text)
    for option, (name, text) in _OPTICS.items():
        metavar = "UM" if name.endswith("_um") else "NA" if "aperture" in name else "RI"
        group.add_argument(f"--{option}", type=float, dest=name, metavar=metavar, help=text)


def run(options: Namespace) -> int:
    """Regularize the volumes, print what was found, and return 0."""
    from commands.progress import progress_bar
    from files.disk import check_output
    from files.exporting.export_tomograms import export_tomograms
    from files.volumes.open_volumes import open_volumes
    from pipeline.tomograms.volume_job import VolumeJob

    if options.preset is not None and options.regularizer != "tv":
        raise ConfigurationError(
            f"a preset needs the regularizer tv, got {options.preset!r} with "
            f"{options.regularizer!r}: choose tv, or leave the preset out"
        )
    for kind in options.to:  # before the work is done
        check_output(options.output.with_name(options.output.stem + FORMATS[kind].suffix))
    volumes = open_volumes(options.file, _of_file(options))
    recipe = _recipe(options, volumes)
    with progress_bar("Regularizing", len(volumes)) as bar:
        with VolumeJob(volumes, options.output, recipe, bar) as job:
            rows = list(job.run())
        exported: list[str] = []
        for kind in options.to:
            bar.say(f"writing {kind}")
            files, _ = export_tomograms(options.output, kind)
            exported += [str(file.path) for file in files]
    _tell(options, volumes, job.done, rows, exported)
    return 0


def _of_file(options: Namespace) -> Any:
    from files.volumes.volume_source import VolumeOptions

    voxel = None if options.volume_um is None else tuple(options.volume_um)
    return VolumeOptions(options.dataset, options.axes, options.channel, options.scale, voxel)


def _recipe(options: Namespace, volumes: "FinishedVolumes") -> "VolumeRecipe":
    from pipeline.tomograms.torch_device import torch_device
    from pipeline.tomograms.volume_job import VolumeRecipe
    from regularizer.constraint import check_constraint

    return VolumeRecipe(
        options.regularizer,
        torch_device(options.device),
        _known(options, volumes),
        options.support,
        options.preset,
        check_constraint(options.constraint),
    )


def _known(options: Namespace, volumes: "FinishedVolumes") -> "KnownOptics":
    """Return what is known of the optics: options, then the TOML, then the file."""
    from dataclasses import replace

    from files.volumes.optics_file import read_optics_file

    known = volumes.known
    if options.optics is not None:
        told = asdict(read_optics_file(options.optics))
        known = replace(known, **{k: v for k, v in told.items() if v is not None})
    given = {name: getattr(options, name) for name, _ in _OPTICS.values()}
    return replace(known, **{k: v for k, v in given.items() if v is not None})


def _tell(
    options: Namespace,
    volumes: "FinishedVolumes",
    resumed: int,
    rows: "Sequence[VolumeResult]",
    exported: Sequence[str],
) -> None:
    notes = volumes.source.notes
    if options.json:
        figures = {
            "output": str(options.output),
            "kind": volumes.source.kind,
            "shape": list(volumes.shape),
            "voxel_size_um": list(volumes.voxel_size_um),
            "regularizer": options.preset or options.regularizer,
            "resumed": resumed,
            "volumes": [asdict(row) for row in rows],
            "fluorescence": [one.name for one in volumes.source.fluorescence],
            "exported": list(exported),
            "warnings": list(notes),
        }
        print(json.dumps(figures))
        return
    for note in notes:
        print(note)
    for row in rows:
        print(f"volume {row.time}: {row.sentence}")
        print(
            f"volume {row.time}: highest index {row.max_index:.4f}, medium {row.medium_index:.4f}"
            + (f", {row.tiles} tiles" if row.tiles > 1 else "")
            + f"; {row.seconds:.1f} s"
        )
        for warning in row.warnings:
            print(f"volume {row.time}: {warning}")
    made = f"{resumed + len(rows)} of {len(volumes)} volumes"
    print("\n".join([f"{made}: {options.output}", *exported]))
