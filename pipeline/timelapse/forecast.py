"""Disk space that a time-lapse will need for its recording and its tomograms."""

import os
from dataclasses import dataclass
from pathlib import Path

from acquisition.configuration.microscope_file import AcquisitionConfig
from files.disk import check_space
from pipeline.timelapse.plan import TimelapsePlan

__all__ = ["Forecast", "tomogram_shape", "volumes_per_scan"]

_NO_CARRIER = (0.0, 0.0)  # the grid does not depend on it


@dataclass(frozen=True, slots=True)
class Forecast:
    """Bytes still to be written.

    Parameters
    ----------
    scans : int
        Scans of the whole plan.
    recording : int
        Bytes of scans and backgrounds.
    tomograms : int
        Bytes of tomograms.
    """

    scans: int
    recording: int
    tomograms: int = 0

    @classmethod
    def of(
        cls,
        config: AcquisitionConfig,
        plan: TimelapsePlan,
        method: str | None,
        recorded: int = 0,
        made: int = 0,
    ) -> "Forecast":
        """Return the forecast of a plan.

        Parameters
        ----------
        config : AcquisitionConfig
        plan : TimelapsePlan
        method : str or None
            Regularizer of the tomograms; None without tomograms.
        recorded, made : int
            Scans and tomograms already in the files.
        """
        scans = len(plan.visits)
        left = scans - recorded
        backgrounds = 1 + plan.background.count(scans, plan.seconds)
        recording = (left + backgrounds) * config.scan_bytes() if left else 0
        tomograms = 0
        if each := volumes_per_scan(method):
            z, y, x = tomogram_shape(config)
            tomograms = (scans - made) * each * 4 * z * y * x
        return cls(scans, recording, tomograms)

    def check(self, recording: Path, tomograms: Path | None) -> None:
        """Check that everything fits on the disks.

        Raises
        ------
        DataError
            If it does not; the message names file, need and free space.
        """
        what = f"a recording of {self.scans} scans"
        if tomograms is None:
            check_space(recording, self.recording, what)
        elif os.stat(recording.parent).st_dev == os.stat(tomograms.parent).st_dev:
            together = self.recording + self.tomograms
            check_space(recording, together, f"{what} with their tomograms")
        else:
            check_space(recording, self.recording, what)
            check_space(tomograms, self.tomograms, f"the tomograms of {self.scans} scans")


def volumes_per_scan(method: str | None) -> int:
    """Return the volumes written for each scan: 2, 1 for "none", 0 for None (no tomograms)."""
    if method is None:
        return 0
    return 1 if method == "none" else 2


def tomogram_shape(config: AcquisitionConfig) -> tuple[int, int, int]:
    """Return the shape (z, y, x) of the tomograms of a microscope."""
    import torch  # loaded only where tomograms are to be made

    from reconstruction.fields import FieldPlan
    from reconstruction.geometry import Views
    from reconstruction.settings import ReconstructionSettings
    from reconstruction.volume import plan_volume
    from reconstruction.wave_vectors import WaveVectors

    optics = config.build_optics()
    fields = FieldPlan(config.camera.shape, optics, _NO_CARRIER, torch.device("cpu"))
    vectors = WaveVectors(_NO_CARRIER, config.build_angles().k, ())
    views = Views(vectors, optics, fields.shape, fields.pixel_size_um)
    return plan_volume(
        ReconstructionSettings(**config.reconstruction.set_values()), views
    ).window_shape
