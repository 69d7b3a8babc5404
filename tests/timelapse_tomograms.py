"""Tomogram files of a time-lapse at two stage positions, and their exports."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from acquisition.optics import Optics
from commands.export import run_export
from files.series import ScanLocation
from files.tomograms import TomogramWriter
from launcher import main
from reconstruction.tomogram import Tomogram

BEGUN = 1.7e9
NAMES = ("control", "treated")
PLACES = ((0.0, 0.0, 3.0), (850.0, -40.0, 12.0))
OPTICS = Optics(0.532, 1.2, 1.337, 0.08)
VOXEL = (0.4, 0.2, 0.25)
KINDS = ("ome-tiff", "ome-zarr", "tcf")
NAN = float("nan")
Place = tuple[float, float, float]


@dataclass(frozen=True)
class Scan:
    """A scan of a time-lapse."""

    time_s: float
    position: int = 0
    stage_um: Place = PLACES[0]


# every 60 s, the second position 7.5 s after the first
LAPSE = tuple(Scan(60.0 * t + 7.5 * p, p, PLACES[p]) for t in range(2) for p in range(2))


def volume(seed: int, timestamp: float = BEGUN) -> Tomogram:
    values = torch.rand((4, 16, 16), generator=torch.Generator().manual_seed(seed))
    return Tomogram(1.337 + values / 20, VOXEL, OPTICS, timestamp, seed)


def written(
    path: Path,
    scans: Sequence[Scan] = LAPSE,
    names: tuple[str, ...] | None = NAMES,
    zero_s: float = BEGUN,
) -> Path:
    """Write a tomogram file; the seed of each volume is the number of its scan."""
    with TomogramWriter(path, volume(0), positions=names) as writer:
        for number, scan in enumerate(scans):
            made = volume(number, zero_s + scan.time_s)
            writer.append(made, location=ScanLocation(scan.position, scan.stage_um))
    return path


def at_times(path: Path, *times_s: float, zero_s: float = 0.0) -> Path:
    return written(path, [Scan(time_s) for time_s in times_s], None, zero_s)


def exported(file: Path, kind: str, *positions: str) -> Path:
    output = file.parent / f"out.{'TCF' if kind == 'tcf' else kind}"
    assert run_export(file, kind, output, positions=positions) == 0
    return output


def described(capsys: pytest.CaptureFixture[str], *argv: object) -> dict[str, Any]:
    """Run a command; return its JSON."""
    capsys.readouterr()
    assert main([*map(str, argv), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def truth(*scans: int) -> NDArray[np.float32]:
    return np.stack([volume(scan).index.numpy() for scan in scans])
