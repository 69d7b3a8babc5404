"""Reconstruct recordings: one tomogram for each scan.

Several recordings, a folder of them or a pattern in quotes ("day*/*.h5") give a tomogram file each,
NAME_tomograms.h5 in the folder after -o; started again, it skips what is done and goes on where it
was interrupted. docs/how-to/batches.md says how several processes or a cluster share the work.
Results are printed on standard output, as text or as one JSON object; progress on standard error.
"""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from acquisition.choices import (
    CONSTRAINTS,
    REFINABLE,
    check_constraint,
    check_refine,
    check_regularizer,
)
from acquisition.errors import ConfigurationError
from acquisition.loading import loading
from acquisition.scan_name import scan_name
from commands.many_files import add_cluster, check_cluster, on_cluster, run_works, say_needs
from commands.options import METHODS, add_device, add_json, add_output, add_positions
from files.batch_files import BatchFile, batch_files, is_batch
from regularizer.total_variation.parameters import PRESETS

if TYPE_CHECKING:
    from pipeline.tomograms.file_work import RecordingWork, Row
    from pipeline.tomograms.job import ScanResult, TomogramJob
    from pipeline.tomograms.recipe import Recipe

__all__ = ["HELP", "RECONSTRUCTION", "add_options", "run", "run_reconstruct"]

HELP = "reconstruct tomograms from a recording"
RECONSTRUCTION = {  # fields of ReconstructionSettings: type and help of their options
    "approximation": (str, "rytov or born"),
    "planes": (int, "number of depths at which the Rytov logarithm is taken; 1 is fastest"),
    "gridding": (str, "nearest or linear: interpolation in k-space"),
    "oversampling": (int, "factor by which k-space is sampled finer than the volume requires"),
    "apodisation": (float, "fraction of the measured band over which it falls off, 0 to 1"),
    "slices": (int, "z size of the volume in voxels; default: 64"),
    "dz_um": (float, "z step"),
    "voxel_um": (float, "lateral voxel"),
    "size_um": (float, "lateral size, y and x; default: the field of view"),
    "refocus_um": (float, "z of the volume's centre above the plane in focus"),
    "objects": (str, "denser or lighter (than the medium): selects the sideband if k is unknown"),
    "anchor": (str, "zero of the phase: field (its empty part), background, lowest or highest"),
    "offset": (float, "added to the index, for a sample that fills the field"),
}


def add_options(parser: ArgumentParser) -> None:
    """Add the recording, the regularizer, and the settings of the reconstruction."""
    add_device(parser)
    add_output(parser, "a new tomogram file, or a folder for those of several recordings")
    add_json(parser)
    text = "the recording to reconstruct; or several, folders of recordings, patterns"
    parser.add_argument("recordings", nargs="+", type=Path, metavar="RECORDING", help=text)
    parser.add_argument("--regularizer", choices=METHODS, default="deep", help="default: deep")
    text = "parameters of tv: tuned for LiveTomo (tv, tv-fast), from the noise of each scan "
    text += "(auto), or those of the paper"
    parser.add_argument("--preset", choices=PRESETS, help=text)
    text = "sign of the contrast: non-negative for a sample denser than its medium, "
    text += "non-positive for a lighter one, none for both, auto to decide from the data"
    parser.add_argument("--constraint", choices=tuple(CONSTRAINTS), default="auto", help=text)
    text = "take the error of the Rytov approximation off, by multi-slice scattering, at most N "
    text += "times, as long as the light fits better; default: 0"
    parser.add_argument("--corrections", type=int, metavar="N", default=0, help=text)
    text = "refine k, the wave vector of each angle, on the object of each scan, as far as light "
    text += "then fits better, and say how far it is from the calibration"
    parser.add_argument("--refine", choices=REFINABLE, help=text)
    text = "compare every N-th tomogram with total variation and write the result to the file"
    parser.add_argument("--check", type=int, metavar="N", default=0, help=text)
    text = (
        "a volume with more than N voxels is made in tiles of at most so many; default: only one "
    )
    text += "that does not fit into memory"
    parser.add_argument("--tile-voxels", type=int, metavar="N", help=text)
    add_positions(parser)
    add_cluster(parser)
    group = parser.add_argument_group(
        "reconstruction", "settings of the reconstruction, all optional"
    )
    for name, (kind, text) in RECONSTRUCTION.items():
        how: dict[str, Any] = {"dest": name, "type": kind, "help": text}
        how |= {"metavar": "UM"} if name.endswith("_um") else {}
        how |= {"nargs": 2} if name == "size_um" else {}
        group.add_argument("--" + name.removesuffix("_um").replace("_", "-"), **how)


def run(options: Namespace) -> int:
    """Reconstruct the recordings."""
    given = {name: getattr(options, name) for name in RECONSTRUCTION}
    chosen = {name: value for name, value in given.items() if value is not None}
    check_cluster(options)
    if on_cluster(options) or is_batch(options.recordings, options.output):
        return _run_batch(options, chosen)
    return run_reconstruct(
        options.recordings[0],
        options.output,
        options.regularizer,
        options.device,
        options.json,
        chosen,
        options.preset,
        options.check,
        options.position,
        options.constraint,
        options.corrections,
        options.tile_voxels,
        options.refine or "",
    )


def run_reconstruct(
    recording: Path,
    output: Path,
    method: str = "deep",
    device: str | None = None,
    as_json: bool = False,
    chosen: Mapping[str, Any] | None = None,
    preset: str | None = None,
    check_every: int = 0,
    positions: Sequence[str] = (),
    constraint: str = "auto",
    corrections: int = 0,
    tile_voxels: int | None = None,
    refine: str = "",
) -> int:
    """Reconstruct and regularize every scan of a recording.

    Parameters
    ----------
    recording : Path
    output : Path
        A new tomogram file.
    method : str
        "none", "gp", "tv" (converged), "tv-fast", "deep" or "multislice".
    device : str or None
        "cpu", "cuda", or None for the best available.
    as_json : bool
        Print the result as JSON.
    chosen : mapping or None
        Fields of ``ReconstructionSettings``; the others are those that the recording keeps from its
        microscope file, or the defaults.
    preset : str or None
        Parameters of total variation: a name in
        ``regularizer.total_variation.parameters.PRESETS``; None: "tv".
    check_every : int
        Compare every N-th tomogram with total variation, and write the result to the file; 0: none.
    positions : sequence of str
        Names or numbers (from 1) of stage positions; empty: all.
    constraint : str
        Constraint on the sign of the contrast: a name in ``acquisition.choices.CONSTRAINTS``.
    corrections : int
        How often the error of the Rytov approximation is taken off, at most.
    tile_voxels : int or None
        A volume with more voxels is made in tiles of at most so many; None: only one that does not
        fit into memory.
    refine : str
        "k": wave vectors are refined on the object of each scan; "": they are not.

    Returns
    -------
    int
        0 if every scan was complete and gave a tomogram, otherwise 1.
    """
    with loading():
        from commands.progress import progress_bar
        from files.disk import check_output
        from files.recording import read_recording
        from pipeline.tomograms.file_work import on_this_machine
        from pipeline.tomograms.job import TomogramJob
        from pipeline.tomograms.recipe import Recipe

    _check_choices(method, preset, corrections, check_every, tile_voxels, refine)
    check_output(output)
    sign = check_constraint(constraint)
    open_recipe = Recipe(
        method,
        device or "auto",
        preset=preset,
        check_every=check_every,
        constraint=sign,
        corrections=corrections,
        tile_voxels=tile_voxels,
        refine=check_refine(refine),
    )
    work = _work(recording, output, open_recipe, chosen or {}, positions).settled()
    source, count = read_recording(recording), len(work.all())
    at = source.log().positions.select(positions)
    recipe = on_this_machine(work.recipe_for(source))
    say_needs([work], device=device, memory=False)
    with progress_bar("Reconstructing", len(source)) as bar:
        bar.say("planning")
        with TomogramJob(source, output, recipe, bar) as job:
            scans = source.scans(positions=at if positions else ())
            # only the scans present at the start: the recording may still be growing
            rows = [job.run(next(scans)) for _ in range(count)]
    _print_reconstructed(job, rows, as_json)
    return 0 if all(row.complete for row in rows) else 1


def _check_choices(
    method: str,
    preset: str | None,
    corrections: int,
    check_every: int,
    tile_voxels: int | None,
    refine: str,
) -> None:
    from regularizer.scattering.defect_correction import check_corrections

    check_regularizer(method)
    if preset is not None and method != "tv":
        raise ConfigurationError(
            f"a preset needs the regularizer tv, got {preset!r} with {method!r}: choose tv, or "
            "leave the preset out"
        )
    check_corrections(corrections)
    if corrections and method in ("none", "multislice"):
        raise ConfigurationError(
            f"corrections are of a regularized tomogram, got {corrections} with {method!r}: choose "
            "another regularizer (multislice has a correction of its own), or leave them out"
        )
    if check_every < 0:
        raise ConfigurationError(f"--check must be at least 0 (no check), got {check_every}")
    whole = method == "multislice" or corrections or check_every or refine
    if tile_voxels is not None and whole:
        raise ConfigurationError(
            "multislice, --corrections, --check and --refine need the whole volume: leave them or "
            "--tile-voxels out"
        )


def _run_batch(options: Namespace, chosen: Mapping[str, Any]) -> int:
    from pipeline.tomograms.recipe import Recipe

    _check_choices(
        options.regularizer,
        options.preset,
        options.corrections,
        options.check,
        options.tile_voxels,
        options.refine or "",
    )
    if is_batch(options.recordings, options.output):
        files = batch_files(options.recordings, options.output, "_tomograms.h5", _is_recording)
    else:
        files = [BatchFile(options.recordings[0].resolve(), options.output.resolve())]
    recipe = Recipe(
        options.regularizer,
        options.device or "auto",
        preset=options.preset,
        check_every=options.check,
        constraint=check_constraint(options.constraint),
        corrections=options.corrections,
        tile_voxels=options.tile_voxels,
        refine=options.refine or "",
    )
    share = options.workers or 1
    works = [
        _work(one.source, one.output, recipe, chosen, options.position, share) for one in files
    ]

    def describe(row: "Row") -> Sequence[str]:
        return _lines(cast("ScanResult", row), recipe.method)

    return run_works(works, options, "Reconstructing", "scans", describe)


def _work(
    source: Path,
    output: Path,
    recipe: "Recipe",
    chosen: Mapping[str, Any],
    positions: Sequence[str],
    processes: int = 1,
) -> "RecordingWork":
    from pipeline.tomograms.file_work import RecordingWork, file_stamp

    # lists are not hashable, and a worker finds its plans again by the work
    settings = tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in chosen.items())
    open_size = processes if recipe.tile_voxels is None else 0
    stamp = file_stamp(source)
    return RecordingWork(source, output, recipe, settings, tuple(positions), stamp, open_size)


def _is_recording(path: Path) -> bool:
    from files.kinds import may_be

    return may_be(path, "recording")


def _print_reconstructed(job: "TomogramJob", rows: "Sequence[ScanResult]", as_json: bool) -> None:
    if as_json:
        figures = {
            "output": str(job.output),
            "regularizer": job.recipe.method,
            "device": job.recipe.device,
            "scans": [asdict(row) for row in rows],
        }
        print(json.dumps(figures))
        return
    for row in rows:
        print("\n".join(_lines(row, job.recipe.method)))
    made = sum(not row.error for row in rows)
    print(f"{made} of {len(rows)} tomograms: {job.output if made else 'no file'}")


def _lines(row: "ScanResult", method: str) -> list[str]:
    scan = scan_name(row.time) + (f" at {row.position}" if row.position else "")
    said = [row.error or _figures(row, method)]
    said += [f"made in {row.tiles} tiles"] if row.tiles > 1 else []
    said += [row.wave_vectors] if row.wave_vectors else []
    said += [f"corrections {row.corrections}"] if row.corrections else []
    said += [*row.warnings, *([] if row.check is None else [row.check.summary()])]
    return [f"{scan}: {line}" for line in said]


def _figures(row: "ScanResult", method: str) -> str:
    return (
        f"mean RI {row.mean_index:.4f}, highest {row.max_index:.4f}; reconstruction "
        f"{row.reconstruction_s:.2f} s, {method} {row.regularization_s:.2f} s"
    )
