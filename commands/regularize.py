"""Regularize finished RI volumes of another program, without interferograms.

FILE is a TCF, an OME-TIFF, ImageJ or plain TIFF stack, an OME-Zarr folder, a NumPy (.npy, .npz) or
MATLAB (.mat) file, or a tomogram file of LiveTomo. What was measured is found from the volume's own
spectrum or from the optics, and the result says which. A job that was interrupted continues when it
is started again. docs/how-to/regularizing-volumes.md says what each kind of file needs.

Several files, a folder of them or a pattern in quotes ("day*/*.TCF") give a tomogram file each,
NAME_regularized.h5 in the folder after -o; started again, it skips what is done.
docs/how-to/batches.md says how several processes or a cluster share the work.
"""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from acquisition.choices import CONSTRAINTS, REGULARIZERS, check_constraint
from acquisition.errors import ConfigurationError, DataError
from commands.many_files import add_cluster, check_cluster, on_cluster, run_works, say_needs
from commands.options import METHODS, add_device, add_json, add_output
from files.batch_files import BatchFile, batch_files, is_batch
from files.exporting.formats import FORMATS, default_exports
from regularizer.total_variation.parameters import PRESETS

if TYPE_CHECKING:
    from files.volumes.open_volumes import FinishedVolumes
    from pipeline.tomograms.batch import BatchProgress, FileResult
    from pipeline.tomograms.file_work import Row, VolumeWork
    from pipeline.tomograms.volume_job import VolumeResult
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
    text = "a new tomogram file, or one to be continued; or a folder for those of several files"
    add_output(parser, text)
    add_json(parser)
    text = "the volumes; or several files, folders of them, patterns"
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=text)
    # others need the light that a tomogram was made from
    methods = [name for name in METHODS if not REGULARIZERS[name].needs_fields]
    parser.add_argument("--regularizer", choices=methods, default="deep", help="default: deep")
    text = "parameters of tv: tuned for LiveTomo (tv, tv-fast), from the noise of each volume "
    text += "(auto), or those of the paper"
    parser.add_argument("--preset", choices=PRESETS, help=text)
    text = "sign of the contrast; default: auto, what the data show"
    parser.add_argument("--constraint", choices=tuple(CONSTRAINTS), default="auto", help=text)
    text = "export the result as well, beside the tomogram file and under its name"
    parser.add_argument("--to", nargs="+", choices=tuple(FORMATS), default=[], help=text)
    add_cluster(parser)
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
    """Regularize the volumes, print what was found, and return 0 unless a file failed."""
    if options.preset is not None and options.regularizer != "tv":
        raise ConfigurationError(
            f"a preset needs the regularizer tv, got {options.preset!r} with "
            f"{options.regularizer!r}: choose tv, or leave the preset out"
        )
    check_cluster(options)
    _check_exports(options)
    if on_cluster(options) or is_batch(options.files, options.output):
        return _run_batch(options)
    return _run_one(options)


def _check_exports(options: Namespace) -> None:
    """Leave double formats out; refuse two that would write one file, and what cannot be made."""
    from files.figures.movies import missing_encoder

    options.to = list(dict.fromkeys(options.to))
    by_suffix: dict[str, str] = {}
    for kind in options.to:
        suffix = FORMATS[kind].suffix
        if FORMATS[kind].movie and (missing := missing_encoder(suffix)):
            raise ConfigurationError(missing)
        if suffix in by_suffix:
            raise ConfigurationError(
                f"--to {by_suffix[suffix]} and {kind} would both write a file that ends in "
                f"{suffix}: choose one, and make the other with `launcher.py export -o`"
            )
        by_suffix[suffix] = kind


def _run_one(options: Namespace) -> int:
    from commands.progress import progress_bar
    from files.disk import check_output
    from pipeline.tomograms.file_work import on_this_machine
    from pipeline.tomograms.volume_job import VolumeJob

    work = _work(options, options.files[0], options.output)
    volumes, recipe = work.opened()
    left = _exports_left(options, options.output, len(volumes))
    if left and options.output.exists() and not work.left():  # it ended in the exports
        with progress_bar("Exporting", len(left)) as bar:
            work.finish(bar)
            exported = _export(options.output, left, bar.say)
        _tell(options, volumes, len(volumes), (), exported)
        return 0
    if not options.output.exists():
        check_output(options.output)  # that its folder does
    for kind in options.to:  # before the work is done
        for path in default_exports(options.output, kind, len(volumes)):
            check_output(path)
    recipe = on_this_machine(recipe)
    say_needs([work], device=options.device)
    with progress_bar("Regularizing", len(volumes)) as bar:
        with VolumeJob(volumes, options.output, recipe, bar) as job:
            rows = list(job.run())
        exported = _export(options.output, options.to, bar.say)
    _tell(options, volumes, job.done, rows, exported)
    return 0


def _exports_left(options: Namespace, output: Path, scans: int) -> list[str]:
    """Return the formats of which a file is missing."""
    return [
        kind
        for kind in options.to
        if not all(path.exists() for path in default_exports(output, kind, scans))
    ]


def _run_batch(options: Namespace) -> int:
    if is_batch(options.files, options.output):
        files = batch_files(options.files, options.output, "_regularized.h5", _is_volume)
    else:
        files = [BatchFile(options.files[0].resolve(), options.output.resolve())]
    works = [_work(options, file.source, file.output) for file in files]

    def describe(row: "Row") -> Sequence[str]:
        return _lines(cast("VolumeResult", row))

    def finish(made: "FileResult", progress: "BatchProgress") -> Sequence[str]:
        scans = made.held + len(made.rows)
        return _export(made.output, _exports_left(options, made.output, scans), progress.say)

    return run_works(works, options, "Regularizing", "volumes", describe, finish)


def _is_volume(path: Path) -> bool:
    from files.kinds import kind_of
    from files.volumes.open_volumes import SUFFIXES

    if path.suffix.lower() not in SUFFIXES:
        return False
    try:
        return kind_of(path) != "recording"
    except DataError:
        return True  # not a file of LiveTomo


def _export(output: Path, kinds: Sequence[str], say: Callable[[str], None]) -> list[str]:
    from files.exporting.export_tomograms import export_tomograms

    exported: list[str] = []
    for kind in kinds:
        say(f"writing {kind}")
        exported += [str(file.path) for file in export_tomograms(output, kind)[0]]
    return exported


def _work(options: Namespace, source: Path, output: Path) -> "VolumeWork":
    from pipeline.tomograms.file_work import VolumeWork, file_stamp
    from pipeline.tomograms.volume_job import VolumeRecipe

    recipe = VolumeRecipe(
        options.regularizer,
        options.device or "auto",
        _told_optics(options),
        options.support,
        options.preset,
        check_constraint(options.constraint),
    )
    return VolumeWork(source, output, recipe, _of_file(options), file_stamp(source))


def _of_file(options: Namespace) -> Any:
    from files.volumes.volume_source import VolumeOptions

    voxel = None if options.volume_um is None else tuple(options.volume_um)
    return VolumeOptions(options.dataset, options.axes, options.channel, options.scale, voxel)


def _told_optics(options: Namespace) -> "KnownOptics":
    """Return what is told of the optics: by options, else by the TOML."""
    from files.volumes.optics_file import read_optics_file
    from reconstruction.finished.finished_volume import KnownOptics

    known = KnownOptics() if options.optics is None else read_optics_file(options.optics)
    given = {name: getattr(options, name) for name, _ in _OPTICS.values()}
    return replace(known, **{k: v for k, v in given.items() if v is not None})


def _tell(
    options: Namespace,
    volumes: "FinishedVolumes",
    resumed: int,
    rows: "Sequence[VolumeResult]",
    exported: Sequence[str],
) -> None:
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
            "warnings": list(volumes.source.notes),
        }
        print(json.dumps(figures))
        return
    for row in rows:
        print("\n".join(_lines(row)))
    made = f"{resumed + len(rows)} of {len(volumes)} volumes"
    print("\n".join([f"{made}: {options.output}", *exported]))


def _lines(row: "VolumeResult") -> list[str]:
    said = [
        row.sentence,
        f"highest index {row.max_index:.4f}, medium {row.medium_index:.4f}"
        + (f", {row.tiles} tiles" if row.tiles > 1 else "")
        + f"; {row.seconds:.1f} s",
        *row.warnings,
    ]
    return [f"volume {row.time}: {line}" for line in said]
