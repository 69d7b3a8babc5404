"""The work behind the command line's reconstruct.

It returns the exit status: 0 only when all that was asked for was done. Results go to standard
output, as text or as one JSON object; progress goes to standard error where that is a terminal.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from acquisition.errors import ConfigurationError, DataError
from pipeline.archive.recording import read_recording
from pipeline.computing import torch_device
from pipeline.disk import check_output
from pipeline.progress import progress_bar
from pipeline.service import check_regularizer
from pipeline.tomogram_job import Recipe, ScanRow, TomogramJob, settings_for
from regularizer.constraint import check_constraint

__all__ = ["run_reconstruct"]


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
) -> int:
    """Reconstruct and regularize every scan of a recording.

    Parameters
    ----------
    recording : Path
    output : Path
        A new tomogram file.
    method : str
        "none", "gp", "tv" (converged), "tv-fast" or "deep".
    device : str or None
        "cpu", "cuda", or None for the best there is.
    as_json : bool
        Print the result as JSON.
    chosen : mapping or None
        Fields of ``ReconstructionSettings``; the others are those of the microscope's file, as far
        as the recording has kept them, or the defaults.
    preset : str or None
        Of total variation; a name in ``regularizer.total_variation.PARAMETERS``, or "auto"; None is
        "tv".
    check_every : int
        Compare every so manieth tomogram with total variation and write that to the file; 0: none.
    positions : sequence of str
        Names or numbers (from 1) of the stage positions whose scans are taken; empty: all.
    constraint : str
        On the sign of the contrast; a name in ``regularizer.constraint.CONSTRAINTS``.

    Returns
    -------
    int
        0 if every scan was whole and gave a tomogram, otherwise 1.
    """
    check_regularizer(method)
    if preset is not None and method != "tv":
        raise ConfigurationError(
            f"a preset is one of total variation, got {preset!r} with the regularizer "
            f"{method!r}: choose tv, or leave the preset out"
        )
    if check_every < 0:
        raise ConfigurationError(f"check must be at least 0 (none), got {check_every}")
    check_output(output)
    source = read_recording(recording)
    if len(source) == 0:
        raise DataError(f"{recording} must hold at least one finished scan, found none")
    where = source.log().positions
    at = where.chosen(positions)
    count = sum(len(where.times(position)) for position in at)
    how = settings_for(source, chosen or {})
    sign = check_constraint(constraint)
    recipe = Recipe(method, torch_device(device), how, preset, check_every, sign)
    with progress_bar("Reconstructing", len(source)) as bar:
        bar.say("planning")
        with TomogramJob(source, output, recipe, bar) as job:
            scans = source.scans(positions=at if positions else ())
            # those that were there at the start: it may still be growing
            rows = [job.run(next(scans)) for _ in range(count)]
    _print_reconstructed(job, rows, as_json)
    return 0 if all(row.whole for row in rows) else 1


def _print_reconstructed(job: TomogramJob, rows: Sequence[ScanRow], as_json: bool) -> None:
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
        scan = f"scan {row.time}" + (f" at {row.position}" if row.position else "")
        print(f"{scan}: {row.error or _figures(row, job.recipe.method)}")
        for warning in row.warnings:
            print(f"{scan}: {warning}")
        if row.check is not None:
            print(f"{scan}: {row.check.summary()}")
    made = sum(not row.error for row in rows)
    print(f"{made} of {len(rows)} tomograms: {job.output if made else 'no file'}")


def _figures(row: ScanRow, method: str) -> str:
    return (
        f"mean RI {row.mean_index:.4f}, highest {row.max_index:.4f}; reconstruction "
        f"{row.reconstruction_s:.2f} s, {method} {row.regularization_s:.2f} s"
    )
