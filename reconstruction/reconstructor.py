"""Reconstructs a raw tomogram from one scan, planned once for a background.

interferograms -> fields over the background -> Rytov fields -> spectrum on Ewald caps -> index.
Everything that depends on geometry (bands, caps, the background's field) is computed when the
background arrives; a scan then costs a few batched transforms. The code runs on CPU and CUDA.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.errors import DataError
from acquisition.interferograms import InterferogramStack
from reconstruction.empty_field import fit_empty_field, with_anchor
from reconstruction.field_inversion import FieldInversion, rytov_fields
from reconstruction.fields import FieldPlan, FieldStack
from reconstruction.frame_quality import (
    FrameQuality,
    assess,
    saturated_angles,
    saturation,
    visibility,
)
from reconstruction.geometry import Views
from reconstruction.inversion import contrast_of
from reconstruction.light_places import LightPlaces
from reconstruction.memory import check_memory
from reconstruction.scattering.measured_fields import MeasuredFields
from reconstruction.settings import ReconstructionSettings
from reconstruction.tomogram import Spectrum, Tomogram, index_from_contrast
from reconstruction.wave_vectors import WaveVectors, find_wave_vectors

__all__ = [
    "BackgroundLight",
    "Reconstruction",
    "Reconstructor",
    "ScanReport",
    "check_usable",
    "phase_evidence",
]

_SHOWN = 3  # reasons listed in a message
_DARK = 0.15  # background amplitude over its mean, below which a pixel is not divided by


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What was left out of a scan, the quality of its frames, and the times of the stages.

    Parameters
    ----------
    reasons : dict of int to str
        Angles that are not in the tomogram, and the reason for each.
    quality : FrameQuality
    outliers : tuple of int
        Angles whose light is not where it was planned (see ``WaveVectors``).
    measured_fraction : float
        Share of the k-space voxels that was measured.
    imaginary_part : float
        Rms of the contrast's imaginary over that of its real part, where K and -K were measured:
        absorption, noise and errors of the approximation. It is not in the tomogram.
    stages_s : dict
        Duration of each stage, in seconds.
    remarks : tuple of str
        Remarks on the optics and on assumptions that had to be made.
    zero_stated : bool
        Whether the settings define the zero of the phase or of the index.
    """

    reasons: dict[int, str]
    quality: FrameQuality
    outliers: tuple[int, ...]
    measured_fraction: float
    imaginary_part: float
    stages_s: dict[str, float]
    remarks: tuple[str, ...] = ()
    zero_stated: bool = False

    @property
    def left_out(self) -> tuple[int, ...]:
        """Angles that are not in the tomogram."""
        return tuple(sorted(self.reasons))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings for the user; empty if there are none."""
        notes = list(self.remarks)
        for reason in dict.fromkeys(self.reasons.values()):
            angles = tuple(i for i, said in self.reasons.items() if said == reason)
            notes.append(f"left out, {reason}: angles {_listed(angles)}")
        if saturated := self.quality.saturated():
            notes.append(f"saturated, lower the exposure: angles {_listed(saturated)}")
        if self.outliers:
            notes.append(f"light is not where it was planned: angles {_listed(self.outliers)}")
        if self.quality.fills_field() and not self.zero_stated:
            notes.append(
                "the sample fills the field: without an empty part the zero of the index is "
                "unknown and it may be some 0.001 too low; record with an empty part, or set "
                "--anchor or --offset"
            )
        if beyond := self.quality.beyond_rytov():
            notes.append(beyond)
        return tuple(notes)


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """A raw tomogram, the spectrum it was made from, and the report of its scan."""

    tomogram: Tomogram
    spectrum: Spectrum
    report: ScanReport


@dataclass(frozen=True, slots=True)
class BackgroundLight:
    """The background's light in some angles.

    Parameters
    ----------
    reference : (angles, y, x) complex64
        1/u0; zero where the background is dark and u/u0 = 1 is assumed: the cut spectrum rings at
        the frame's rim, and a pixel near zero would put a spike into the logarithm.
    dark : (angles, y, x) complex64
        1 there, else 0.
    visibility : (angles,) float32
        Of its fringes.
    """

    reference: torch.Tensor
    dark: torch.Tensor
    visibility: torch.Tensor

    def of(self, angles: slice) -> "BackgroundLight":
        """Return that of some of the angles."""
        return BackgroundLight(self.reference[angles], self.dark[angles], self.visibility[angles])


class Reconstructor:
    """Turns scans into raw tomograms, by dividing them by a background.

    Parameters
    ----------
    background : InterferogramStack
        Scan of the empty field. If its ``illumination_k`` is None, the wave vectors are estimated,
        and the first scan with an object shows which sideband is not the conjugate: the one in
        which objects are as ``settings.objects`` says.
    device : str or torch.device
    settings : ReconstructionSettings or None
        None: the defaults.
    extra_bytes_per_voxel : float
        Memory needed for further processing, such as a regularizer, in bytes per voxel.
    keep_fields : bool
        Whether spectra carry the fields that they were made from, for regularizers that know the
        scattering (``regularizer.scattering``).

    Raises
    ------
    DataError
        If the background shows no fringes or does not fit its optics.
    ConfigurationError
        If the volume asked for does not fit into memory.
    """

    def __init__(
        self,
        background: InterferogramStack,
        device: str | torch.device = "cpu",
        settings: ReconstructionSettings | None = None,
        extra_bytes_per_voxel: float = 0.0,
        *,
        keep_fields: bool = False,
    ) -> None:
        self.device = torch.device(device)
        self.keep_fields = keep_fields
        self._each_voxel = extra_bytes_per_voxel
        self.background = background
        self.optics = background.optics
        self.settings = settings or ReconstructionSettings()
        self._oriented = background.illumination_k is not None
        self._plan(find_wave_vectors(background))

    def _plan(self, vectors: WaveVectors) -> None:
        """Compute everything that depends on the wave vectors."""
        self.wave_vectors = vectors
        check_usable(self._angles_without_background(), len(vectors.k))
        rows, columns = self.background.frames.shape[1:]
        self.fields = FieldPlan((rows, columns), self.optics, vectors.carrier, self.device)
        views = Views(
            vectors,
            self.optics,
            self.fields.shape,
            self.fields.pixel_size_um,
            self.background.rotations,
        )
        self._plan_inversion(views)
        k = vectors.usable_k(self.background.lost)
        self.places = LightPlaces(self.fields, k, self.optics, self.device)
        self._prepare_background()

    def _plan_inversion(self, views: Views) -> None:
        check_memory(
            self.settings, views, self.device, self._each_voxel, keep_fields=self.keep_fields
        )
        self.inversion = FieldInversion(views, self.settings, self.device)

    @property
    def oriented(self) -> bool:
        """Whether it is known which sideband is not the conjugate; else the next scan may show."""
        return self._oriented

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) of the tomograms, cut to the requested window."""
        return self.inversion.caps.grid.window_shape

    def _prepare_background(self) -> None:
        angles = slice(0, len(self.background.frames))
        self._empty, place = self._background_light(angles)
        self._judge_background(place)

    def _background_light(self, angles: slice) -> tuple[BackgroundLight, NDArray[np.float32]]:
        """Return the background's light in some angles, and the place of each, (3, angles)."""
        frames = torch.tensor(self.background.frames[angles], device=self.device)
        sideband = self.fields.sideband(frames)
        place = self.places.measure(sideband, angles.start).cpu().numpy()
        field = self.fields.fields_of(sideband)
        power = field.abs().square()
        lit = power > _DARK**2 * power.mean(dim=(1, 2), keepdim=True)
        reference = torch.where(lit, field.conj() / power, 0)
        seen = visibility(field, frames).clamp_min(1e-9)
        return BackgroundLight(reference, (~lit).to(field.dtype), seen), place

    def _judge_background(self, place: NDArray[np.float32]) -> None:
        """Find the angles that another beam outshines, and those that are saturated."""
        shift, own = place[:2].T, place[2]
        self._outshone = self.places.misplaced(shift, own, own < 1, least_own=1.0)
        empty = self.background
        self._saturated = saturated_angles(saturation(empty.frames, empty.provenance))

    def _light_of(self, angles: slice) -> BackgroundLight:
        """Return the background's light in some angles."""
        return self._empty.of(angles)

    def __call__(self, stack: InterferogramStack) -> Reconstruction:
        """Reconstruct one scan.

        Raises
        ------
        DataError
            If the scan does not fit the background, or no angle is usable.
        """
        unusable_angles = self.unusable_angles(stack)
        clock = _Clock()
        fields, quality = self.retrieve(stack.frames, stack, lost=tuple(unusable_angles))
        self.check_order(quality)
        left_out = {**self.unusable_frames(quality), **unusable_angles}
        check_usable(left_out, len(stack.frames))
        clock.lap("fields")
        if not self._oriented and self._orient([phase_evidence(fields, quality)]):
            return self(stack)
        scattered = self.inversion.scattered(fields)
        quality = quality.with_phase(scattered.residues, scattered.bending)
        clock.lap("caps")
        kept = fields if self.keep_fields else None
        return self.invert(scattered.samples, left_out, quality, stack, clock.laps, kept)

    def invert(
        self,
        samples: tuple[torch.Tensor, ...],
        left_out: dict[int, str],
        quality: FrameQuality,
        stack: InterferogramStack,
        stages_s: dict[str, float],
        fields: torch.Tensor | None = None,
    ) -> Reconstruction:
        """Return the reconstruction from all views' samples, without the angles left out.

        Its spectrum carries ``fields`` (views, y, x) complex64, where they are given.
        """
        clock = _Clock()
        spectrum, imaginary = self.inversion.spectrum(samples, tuple(left_out))
        if fields is not None:
            spectrum = replace(
                spectrum, fields=MeasuredFields(fields, self.inversion, tuple(left_out))
            )
        index = index_from_contrast(contrast_of(spectrum), self.optics.medium_index)
        measured = len(spectrum.voxels) / spectrum.measured.numel()
        clock.lap("inverse")
        report = ScanReport(
            left_out,
            quality,
            self.wave_vectors.outliers,
            measured,
            imaginary,
            {**stages_s, **clock.laps},
            (*self.optics.remarks, *self._background_remarks()),
            self.settings.anchor != "field" or self.settings.offset != 0,
        )
        provenance = dict(stack.provenance)
        provenance["reconstruction"] = self.inversion.description(imaginary)
        if left_out:
            provenance["left_out"] = _listed(report.left_out)
        tomogram = Tomogram(
            index,
            spectrum.voxel_size_um,
            self.optics,
            stack.timestamp,
            stack.sequence,
            provenance,
            window=self.inversion.caps.grid.window,
        )
        return Reconstruction(tomogram, spectrum, report)

    def look(self, stack: InterferogramStack) -> None:
        """Let a scan show which sideband is not the conjugate, if it can."""
        self(stack)

    def retrieve(
        self, frames: NDArray[np.uint8 | np.uint16], stack: InterferogramStack, *, first: int = 0,
        lost: tuple[int, ...] = (),
    ) -> tuple[torch.Tensor, FrameQuality]:  # fmt: skip
        """Return u/u0 (views, y, x), drift and tilt removed, and the quality of the frames.

        Parameters
        ----------
        frames : (views, y, x)
            Frames of the angles ``first``, first + 1, ...
        stack : InterferogramStack
            The scan they belong to, for its highest grey value.
        lost : tuple of int
            Angles without a frame; their field is 1.
        """
        angles = slice(first, first + len(frames))
        light = torch.from_numpy(frames).to(self.device)
        sideband = self.fields.sideband(light)
        field = self.fields.fields_of(sideband)
        empty_light = self._light_of(angles)
        seen = visibility(field, light) / empty_light.visibility
        quotient = torch.addcmul(empty_light.dark, field, empty_light.reference)
        if gone := [a - first for a in lost if angles.start <= a < angles.stop]:
            quotient[gone] = 1  # an absent field must not become NaN
        empty = with_anchor(fit_empty_field(quotient), quotient, self.settings.anchor)
        places = self.places.measure(sideband, first)
        quality = assess(seen, saturation(frames, stack.provenance), empty, places)
        return empty.remove(quotient), quality

    def field_stack(self, stack: InterferogramStack) -> FieldStack:
        """Return the fields of a scan over the background's, drift and tilt removed."""
        lost = self.unusable_angles(stack)
        fields, quality = self.retrieve(stack.frames, stack, lost=tuple(lost))
        self.check_order(quality)
        fields[[*self.unusable_frames(quality), *lost]] = 1
        return FieldStack(
            fields,
            self.fields.pixel_size_um,
            self.optics,
            self.wave_vectors.k,
            self.background.rotations,
        )

    def _orient(self, evidence: Sequence[tuple[float, float, float]]) -> bool:
        """Choose the sideband by the sign of an object's phase; return whether it was swapped.

        A denser object retards the wave. A mirrored, lighter one looks the same. ``evidence`` is
        that of parts of the scan of equal size.
        """
        shares, totals, sizes = zip(*evidence, strict=True)
        total = sum(totals)
        if sum(shares) < 1e-3 * len(shares) or abs(total) < 0.5 * sum(sizes):
            return False  # nothing there yet, or nothing clear: wait for an object
        self._oriented = True
        if (total > 0) == (self.settings.objects == "denser"):
            return False
        self._plan(self.wave_vectors.mirrored())
        return True

    def _background_remarks(self) -> tuple[str, ...]:
        """Return remarks on the background: saturation, and assumptions made without k."""
        angles = _listed(self._saturated)
        again = "background saturated, lower the exposure and take it again"
        exposure = (f"{again}: angles {angles}",) if self._saturated else ()
        if self.background.illumination_k is not None or not self._oriented:
            return exposure
        objects = self.settings.objects
        other = "lighter" if objects == "denser" else "denser"
        return (
            *exposure,
            f"without wave vectors the sample was assumed to be {objects} than its medium: if it "
            f"is {other}, the tomogram is mirrored in z, with the opposite contrast; give the wave "
            f"vectors, or --objects {other}",
        )

    def _angles_without_background(self) -> dict[int, str]:
        """Return the angles without a usable background frame, with the reason for each."""
        absent = dict.fromkeys(self.background.lost, "no background frame")
        return absent | self.wave_vectors.reasons()

    def check_order(self, quality: FrameQuality) -> None:
        """Raise DataError if most frames do not show the light of their own angle."""
        self.places.check(quality.shift, quality.own, quality.lit)

    def unusable_frames(self, quality: FrameQuality) -> dict[int, str]:
        """Return the angles to leave out because of their frames, with the reason for each."""
        astray = self.places.misplaced(quality.shift, quality.own, quality.lit)
        why = {a: f"light {d:.1f} NA/wavelength from the background's" for a, d in astray.items()}
        return why | quality.reasons()

    def unusable_angles(self, stack: InterferogramStack) -> dict[int, str]:
        """Return the angles that cannot be used whatever their frames show, with the reasons.

        Raises
        ------
        DataError
            If the scan does not fit the background, or no angle is left.
        """
        if stack.frames.shape != self.background.frames.shape:
            raise DataError(
                f"a scan must have the background's shape {self.background.frames.shape}, "
                f"got {stack.frames.shape}: take a new background"
            )
        if stack.optics != self.optics:
            raise DataError(
                f"a scan must have the background's optics {self.optics}, got {stack.optics}: "
                "take a new background"
            )
        why = dict.fromkeys(stack.lost, "no frame")
        why |= self._angles_without_background()
        stronger = "another beam in the background outshines the angle's own"
        why |= dict.fromkeys(self._outshone, stronger)
        check_usable(why, len(stack.frames))
        return why


def phase_evidence(fields: torch.Tensor, quality: FrameQuality) -> tuple[float, float, float]:
    """Return the share of u/u0 (frames, y, x) whose phase is an object's, its sum and size."""
    phase = rytov_fields(fields)[0].imag
    beyond = phase.abs() > 6 * float(quality.noise.max())
    evidence = torch.where(beyond, phase, 0)
    return float(beyond.float().mean()), float(evidence.sum()), float(evidence.abs().sum())


def check_usable(left_out: dict[int, str], angles: int) -> None:
    """Raise DataError if all ``angles`` are left out, for the reasons given for each."""
    if len(left_out) == angles:
        reasons = list(dict.fromkeys(left_out.values()))
        shown = "; ".join(reasons[:_SHOWN]) + ("; ..." if len(reasons) > _SHOWN else "")
        raise DataError(
            f"at least one angle must be usable, all {angles} are left out ({shown}): check laser "
            "and reference beam, and that camera and DMD are set as for the background"
        )


def _listed(angles: tuple[int, ...]) -> str:
    shown = ", ".join(str(angle) for angle in angles[:8])
    return shown if len(angles) <= 8 else f"{shown}, ... ({len(angles)} in all)"


class _Clock:
    """Measures the duration of each stage, in seconds."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now
