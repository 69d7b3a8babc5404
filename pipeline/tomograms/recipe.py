"""How the tomograms of a recording are made: chosen once, and kept in their file to go on with."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from acquisition.choices import REGULARIZERS, Constraint
from acquisition.errors import DataError
from files.quality_rows import finished_time_points
from files.recording import Recording
from files.tomograms import read_tomograms
from reconstruction.settings import ReconstructionSettings
from regularizer.registry import needs_fields

__all__ = ["Recipe", "provenance_of", "scans_held", "settings_for"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How scans become tomograms.

    Parameters
    ----------
    method : str
        "none", "gp", "tv", "tv-fast", "deep" or "multislice".
    device : str
        "cpu", "cuda", ...
    settings : ReconstructionSettings
    preset : str or None
        Parameter preset of total variation; None: the default of the method.
    check_every : int
        Compare every N-th tomogram with total variation; 0: none.
    constraint : "auto", "non-negative", "non-positive" or "none"
        Constraint on the sign of the contrast.
    corrections : int
        How often the error of the Rytov approximation is taken off, at most.
    tile_voxels : int or None
        A volume with more voxels is made in tiles of at most so many; None: never.
    refine : str
        "k": wave vectors are refined on the object of each scan; "": they are not.
    """

    method: str
    device: str = "cpu"
    settings: ReconstructionSettings = field(default_factory=ReconstructionSettings)
    preset: str | None = None
    check_every: int = 0
    constraint: Constraint = "auto"
    corrections: int = 0
    tile_voxels: int | None = None
    refine: str = ""

    @property
    def regularizer(self) -> str:
        """Name of the regularizer in ``regularizer.registry``."""
        return self.preset or self.method

    @property
    def needs_fields(self) -> bool:
        """Whether spectra must carry the fields that they were made from."""
        return bool(self.refine) or needs_fields(self.regularizer, self.corrections)

    @property
    def datasets(self) -> tuple[str, ...]:
        """The regularized volumes that the tomogram file holds."""
        held = {REGULARIZERS[self.method].volume} if self.method != "none" else set()
        return tuple(sorted(held | ({"tv"} if self.check_every else set())))


def settings_for(recording: Recording, chosen: Mapping[str, Any]) -> ReconstructionSettings:
    """Return the reconstruction settings: as chosen, else as stored in the recording."""
    own = {} if recording.series is None else recording.series.reconstruction
    values: dict[str, Any] = {**own, **chosen}
    if values.get("size_um") is not None:
        values["size_um"] = tuple(values["size_um"])  # JSON knows lists only
    return ReconstructionSettings(**values)


def provenance_of(source: Recording, recipe: Recipe) -> dict[str, Any]:
    """Return what a tomogram file keeps of its recording and recipe, as JSON takes it."""
    return {
        "recording": source.path.name,
        "recording_attributes": {k: str(v) for k, v in source.attributes.items()},
        "regularizer": recipe.regularizer,
        "device": recipe.device,
        "settings": asdict(recipe.settings),
        "constraint": recipe.constraint,
        "corrections": recipe.corrections,
        "tile_voxels": recipe.tile_voxels,
        "check_every": recipe.check_every,
        "refine": recipe.refine,
    }


def scans_held(output: Path, recipe: Recipe) -> set[int]:
    """Return the numbers of the scans that are finished in a tomogram file.

    Raises
    ------
    DataError
        If they were made with other settings than ``recipe``.
    """
    series = read_tomograms(output)
    before = series.provenance
    settings = json.loads(json.dumps(asdict(recipe.settings)))  # as the file gives them back
    ways: dict[str, Any] = {"regularizer": recipe.regularizer, "constraint": recipe.constraint}
    # files of before they were there
    before = {"corrections": 0, "tile_voxels": None, "refine": "", **before}
    ways |= {"corrections": recipe.corrections, "tile_voxels": recipe.tile_voxels}
    ways |= {"refine": recipe.refine, "settings": settings}
    for name, now in ways.items():
        if before.get(name, now) != now:
            raise DataError(
                f"{output} must be continued with the {name} it was made with, "
                f"{before.get(name)}, got {now}: use the same, or choose another file"
            )
    every = before.get("check_every", 0)
    return set(series.scans[: finished_time_points(series.scans, series.quality, every)].tolist())
