"""Tomograms for scripts: reconstructed, regularized, compared."""

from __future__ import annotations  # what a type names is loaded when it is used

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, cast

from acquisition.choices import Constraint, check_constraint, check_refine
from acquisition.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from acquisition.optics import Optics
    from reconstruction.finished.finished_volume import (
        FinishedVolume,
        KnownOptics,
        Support,
        SupportFound,
    )
    from reconstruction.tomogram import Spectrum
    from reconstruction.tomogram import Tomogram as Volume
    from regularizer.interface import Regularizer
    from regularizer.metrics import Comparison
    from regularizer.scattering.vectors_report import RefinedVectors
    from scripting.recordings import Scan

__all__ = ["FinishedSource", "Tomogram", "compare", "reconstruct", "regularize"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class FinishedSource:
    """A volume of another program, and what is known of how it was measured."""

    volume: FinishedVolume
    known: KnownOptics
    support: Support


class Tomogram:
    """A refractive-index volume with all that is known about it.

    Attributes
    ----------
    whole : reconstruction.tomogram.Tomogram
        The volume as it was computed: the whole field, whatever part of it was asked for.
    spectrum : Spectrum or None
        What was measured; None of one that was read from a file.
    raw : Tomogram or None
        The raw tomogram that this one was regularized from; None: it is raw itself.
    method : str
        The regularizer's name; "none" of a raw one.
    finished : FinishedSource or None
        Where ``open_volume`` has read it from; None of all others.
    support : reconstruction.finished.finished_volume.SupportFound or None
        Which part of k-space was measured and how that was found, of one that ``regularize`` has
        made from a volume of ``open_volume``.
    refined_vectors : regularizer.scattering.vectors_report.RefinedVectors or None
        How far wave vectors that were refined on the object are from the calibration.
    """

    def __init__(
        self,
        whole: Volume,
        spectrum: Spectrum | None = None,
        raw: Tomogram | None = None,
        method: str = "none",
        warnings: tuple[str, ...] = (),
        finished: FinishedSource | None = None,
        support: SupportFound | None = None,
        refined_vectors: RefinedVectors | None = None,
    ) -> None:
        self.whole, self.spectrum, self.raw, self.method = whole, spectrum, raw, method
        self.finished, self.support = finished, support
        self.refined_vectors = refined_vectors
        self._warnings = warnings

    @cached_property
    def windowed(self) -> Volume:
        """The part that was asked for, as ``reconstruction.tomogram.Tomogram``."""
        return self.whole.windowed()

    @property
    def index_array(self) -> NDArray[np.float32]:
        """The refractive index, (z, y, x) float32."""
        return _array(self.windowed.index)

    @property
    def uncertainty_array(self) -> NDArray[np.float32] | None:
        """The standard deviation of the index, (z, y, x) float32; None where it is not known."""
        spread = self.windowed.uncertainty
        return None if spread is None else _array(spread)

    @property
    def voxel_size_um(self) -> tuple[float, float, float]:
        """Of ``index_array``: dz, dy, dx."""
        return self.windowed.voxel_size_um

    @property
    def optics(self) -> Optics:
        """Wavelength, numerical aperture, medium and pixel size."""
        return self.whole.optics

    @property
    def timestamp(self) -> float:
        """When its scan began, in seconds since the epoch."""
        return self.whole.timestamp

    @property
    def data_residual(self) -> float:
        """How far it is from what was measured, over that; 0 of a raw one."""
        return self.whole.data_residual

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on what is doubtful about it; empty when all is well."""
        return (*self._warnings, *self.whole.warnings)

    @property
    def provenance(self) -> dict[str, str]:
        """Stage by stage, what made it."""
        return dict(self.whole.provenance)

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.windowed.index.shape))
        low, high = (float(v) for v in self.windowed.index.aminmax())
        return f"<Tomogram: {self.method}, {size} voxels, index {low:.4f} to {high:.4f}>"

    def _repr_html_(self) -> str:
        """Show the three sections through the densest point, for notebooks."""
        import base64
        import html

        from files.pictures import draw_tomograms, encode_png

        title = "raw" if self.method == "none" else self.method
        picture = draw_tomograms(
            [(title, self.index_array)], self.voxel_size_um, self.optics.medium_index, 256
        )
        data = base64.b64encode(encode_png(picture)).decode()
        notes = "".join(f"<br>{html.escape(warning)}" for warning in self.warnings)
        return f'<img src="data:image/png;base64,{data}"><br>{html.escape(repr(self))}{notes}'


def _array(volume: torch.Tensor) -> NDArray[np.float32]:
    return cast("NDArray[np.float32]", volume.cpu().numpy())


def reconstruct(
    scan: Scan, *, device: str | None = None, refine: str = "", **settings: Any
) -> Tomogram:
    """Return the raw tomogram of a scan.

    Parameters
    ----------
    scan : Scan
        Of a recording or of an open microscope.
    device : str or None
        "cpu" or "cuda"; None: the GPU where there is one.
    refine : str
        "k": the wave vector of each angle is refined on the object, as far as the light then fits
        better; ``refined_vectors`` of the result says how far they are from the calibration. It
        takes a minute or more. "": none is.
    **settings
        Fields of ``reconstruction.settings.ReconstructionSettings``, such as ``slices=96`` or
        ``size_um=(8, 8)``; what is left out is as the microscope's file says, or the default.

    Returns
    -------
    Tomogram
        It knows its spectrum, so that ``regularize`` needs nothing else.

    Raises
    ------
    DataError
        If the scan has no background, or cannot be reconstructed.
    ConfigurationError
        If there is no setting of that name, or its value is impossible.
    """
    from dataclasses import fields

    from pipeline.tomograms.torch_device import torch_device
    from reconstruction.settings import ReconstructionSettings

    if scan.background is None:
        raise DataError(
            "a scan is reconstructed with a background of the empty field, and none was taken: "
            "call background() before scan()"
        )
    check_refine(refine)
    known = [one.name for one in fields(ReconstructionSettings)]
    if unknown := sorted(settings.keys() - set(known)):
        raise ConfigurationError(
            f"settings of a reconstruction are {', '.join(known)}; got {', '.join(unknown)}"
        )
    values = {**scan.settings, **settings}
    if values.get("size_um") is not None:
        values["size_um"] = tuple(values["size_um"])
    how = ReconstructionSettings(**values)
    made = scan.reconstructors.reconstructor(scan.background, torch_device(device), how)(scan.stack)
    warnings = made.report.warnings
    if not refine:
        return Tomogram(made.tomogram, made.spectrum, warnings=warnings)
    from regularizer.scattering.refined_vectors import refined

    moved, spectrum, vectors = refined(made.tomogram, made.spectrum)
    return Tomogram(moved, spectrum, warnings=warnings, refined_vectors=vectors)


def regularize(
    tomogram: Tomogram,
    method: str | Regularizer = "deep",
    *,
    constraint: Constraint = "auto",
    uncertainty: bool = False,
    corrections: int = 0,
    progress: Progress | None = None,
) -> Tomogram:
    """Return the regularized tomogram of a raw one.

    Parameters
    ----------
    tomogram : Tomogram
        From ``reconstruct`` or ``open_volume``; of a regularized one, the raw one that it was made
        from is taken.
    method : str or Regularizer
        "none", "gp", "tv-fast", "tv", "deep", "multislice", a preset of total variation ("auto",
        "beads", "s-pyogenes", "oci-aml3"), a network's name; or an object that is called as
        ``regularizer.interface.Regularizer`` says.
    constraint : "auto", "non-negative", "non-positive" or "none"
        What may be taken for granted about the sign of the contrast; "auto": what the data show.
        An object decides that by itself.
    uncertainty : bool
        Whether "deep" estimates the standard deviation of each voxel.
    corrections : int
        How often the error of the Rytov approximation is taken off, at most. An object decides that
        by itself.
    progress : callable or None
        Told (done, of).

    Returns
    -------
    Tomogram

    Raises
    ------
    ConfigurationError
        If there is no regularizer of that name.
    DataError
        If the tomogram does not know what was measured, since it was read from a file.
    """
    raw = tomogram.raw or tomogram
    if raw.spectrum is None and raw.finished is None:
        raise DataError(
            "a tomogram is regularized with the spectrum that was measured, and files do not keep "
            "that: reconstruct it from its recording, or open its file with open_volume"
        )
    if isinstance(method, str):
        device = _device(raw)
        call = _regularizer(method, device, constraint, uncertainty, corrections)
        name = method
    else:
        call, name = method, type(method).__name__
    if raw.spectrum is None:
        return _regularized_finished(raw, call, name, progress)
    made = call(raw.whole, raw.spectrum, progress)
    return Tomogram(made, raw.spectrum, raw, name, raw._warnings)  # noqa: SLF001  # of this class


def _device(raw: Tomogram) -> str:
    from pipeline.tomograms.torch_device import torch_device

    return torch_device(None) if raw.finished is not None else str(raw.whole.index.device)


def _regularized_finished(
    raw: Tomogram, call: Regularizer, name: str, progress: Progress | None
) -> Tomogram:
    from regularizer.finished_volumes import regularize_finished

    source = raw.finished
    assert source is not None  # ``regularize`` has looked
    made = regularize_finished(
        source.volume, source.known, call, source.support, device=_device(raw), progress=progress
    )
    notes = made.support.notes
    return Tomogram(made.regularized, None, raw, name, notes, support=made.support)


@lru_cache(maxsize=4)  # to load a network, and to choose what runs it, takes seconds
def _regularizer(
    name: str, device: str, constraint: Constraint, uncertainty: bool, corrections: int
) -> Regularizer:
    from regularizer.registry import regularizer

    sign = check_constraint(constraint)
    return regularizer(
        name, device, uncertainty=uncertainty, constraint=sign, corrections=corrections
    )


def compare(tomogram: Tomogram, reference: Tomogram) -> Comparison:
    """Return how near a tomogram is to a reference: the strict metrics.

    Parameters
    ----------
    tomogram, reference : Tomogram
        With the same voxels.

    Returns
    -------
    Comparison
        ssim, psnr_db, mse, correlation of the contrast over the reference's range, and the paper's
        looser scale by name (``regularizer.metrics``).

    Raises
    ------
    DataError
        If their voxels differ, or the reference is constant.
    """
    from reconstruction.tomogram import contrast_from_index
    from regularizer.metrics import compare as compared

    medium = reference.optics.medium_index
    if tomogram.voxel_size_um != reference.voxel_size_um:
        raise DataError(
            f"compared tomograms must have the same voxels, got {tomogram.voxel_size_um} and "
            f"{reference.voxel_size_um} um: reconstruct both with the same settings"
        )
    contrast, expected = (
        contrast_from_index(one.windowed.index.cpu(), medium) for one in (tomogram, reference)
    )
    return compared(contrast, expected, medium)
