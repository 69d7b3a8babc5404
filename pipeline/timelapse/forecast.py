"""How much room a time-lapse will take: its recording, and its tomograms where they are made."""

import os
from dataclasses import dataclass
from pathlib import Path

from acquisition.configuration.microscope_file import AcquisitionConfig
from files.disk import check_space
from pipeline.timelapse.plan import TimelapsePlan

__all__ = ["Forecast", "tomogram_shape", "volumes"]

_NO_CARRIER = (0.0, 0.0)  # the grid does not depend on it


@dataclass(frozen=True, slots=True)
class Forecast:
    """Bytes that are still to be written.

    Parameters
    ----------
    scans : int
    recording : int
        Of the scans and backgrounds.
    tomograms : int
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
        """Return what is left to write.

        Parameters
        ----------
        config : AcquisitionConfig
        plan : TimelapsePlan
        method : str or None
            The tomograms' regularizer; None without tomograms.
        recorded, made : int
            Scans and tomograms that are in the files already.
        """
        scans = len(plan.visits)
        left = scans - recorded
        backgrounds = 1 + plan.background.count(scans, plan.seconds)
        recording = (left + backgrounds) * config.scan_bytes() if left else 0
        tomograms = 0
        if each := volumes(method):
            z, y, x = tomogram_shape(config)
            tomograms = (scans - made) * each * 4 * z * y * x
        return cls(scans, recording, tomograms)

    def check(self, recording: Path, tomograms: Path | None) -> None:
        """Refuse what does not fit.

        Raises
        ------
        DataError
            That says what needs how much on which disk.
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


def volumes(method: str | None) -> int:
    """Return how many volumes a scan becomes: the raw one, and that of the regularizer ``method``.

    None is for no tomograms at all.
    """
    if method is None:
        return 0
    return 1 if method == "none" else 2


def tomogram_shape(config: AcquisitionConfig) -> tuple[int, int, int]:
    """Return the shape (z, y, x) that tomograms of a microscope will have."""
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
