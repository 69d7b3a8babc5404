"""The whole way from one scan to a raw tomogram, planned once for a background.

interferograms -> fields over the background -> Rytov fields -> spectrum on Ewald caps -> index.
What depends on geometry (bands, caps, the background's field) is computed when the background
arrives; a scan then costs a few batched transforms. The same code runs on CPU and CUDA.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.errors import DataError
from acquisition.interferograms import InterferogramStack
from reconstruction.empty_field import anchored, fit_empty_field
from reconstruction.field_inversion import FieldInversion, rytov_fields
from reconstruction.fields import FieldPlan, FieldStack
from reconstruction.frame_quality import FrameQuality, assess, noteworthy, saturation, visibility
from reconstruction.geometry import Views
from reconstruction.inversion import contrast_of
from reconstruction.light_places import LightPlaces
from reconstruction.memory import check_memory
from reconstruction.settings import ReconstructionSettings
from reconstruction.tomogram import Spectrum, Tomogram, index_from_contrast
from reconstruction.wave_vectors import WaveVectors, find_wave_vectors

__all__ = ["Reconstruction", "Reconstructor", "ScanReport"]

_SHOWN = 3  # reasons
_DARK = 0.15  # background amplitude over its mean below which there is nothing to divide by


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What was left out of a scan, how good its frames are and where the time went.

    Parameters
    ----------
    reasons : dict of int to str
        Angles that are not in the tomogram, and why.
    quality : FrameQuality
    outliers : tuple of int
        Angles whose light is not where the plan says (see ``WaveVectors``).
    measured_fraction : float
        Part of the k-space voxels that was measured.
    imaginary_part : float
        Of the contrast, rms over the real part's, where K and -K were measured: absorption, noise
        and what the approximation leaves. It is not in the tomogram.
    stages_s : dict
        Seconds by stage.
    remarks : tuple of str
        On the optics, and on what had to be assumed.
    zero_stated : bool
        Whether the settings say where the phase, or the index, has its zero.
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
        """Sentences for the user; empty when all is well."""
        notes = list(self.remarks)
        for reason in dict.fromkeys(self.reasons.values()):
            angles = tuple(i for i, said in self.reasons.items() if said == reason)
            notes.append(f"left out, {reason}: angles {_listed(angles)}")
        if saturated := self.quality.saturated():
            notes.append(f"saturated, lower the exposure: angles {_listed(saturated)}")
        if self.outliers:
            notes.append(f"light is not where it was planned: angles {_listed(self.outliers)}")
        if self.quality.full() and not self.zero_stated:
            notes.append(
                "the sample fills the field: without an empty part the index has no zero and may "
                "be some 0.001 too low; record with an empty part, or state --anchor or --offset"
            )
        if beyond := self.quality.beyond_rytov():
            notes.append(beyond)
        return tuple(notes)


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """A raw tomogram, the spectrum it was made from and what is to be known about it."""

    tomogram: Tomogram
    spectrum: Spectrum
    report: ScanReport


class Reconstructor:
    """Turns scans into raw tomograms, given the background they are divided by.

    Parameters
    ----------
    background : InterferogramStack
        Of the empty field. Its ``illumination_k`` may be None: it is then estimated, and the first
        scan with an object tells which sideband is not the conjugate one: that in which objects are
        as ``settings.objects`` says.
    device : str or torch.device
    settings : ReconstructionSettings or None
        None: the defaults.
    each_voxel : float
        Bytes of memory a voxel that will be needed for what follows, such as a regularizer.

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
        each_voxel: float = 0.0,
    ) -> None:
        self.device = torch.device(device)
        self._each_voxel = each_voxel
        self.background = background
        self.optics = background.optics
        self.settings = settings or ReconstructionSettings()
        self._oriented = background.illumination_k is not None
        self._plan(find_wave_vectors(background))

    def _plan(self, vectors: WaveVectors) -> None:
        """Compute everything that depends on the geometry."""
        self.wave_vectors = vectors
        _check_usable(self._without_background(), len(vectors.k))
        rows, columns = self.background.frames.shape[1:]
        self.fields = FieldPlan((rows, columns), self.optics, vectors.carrier, self.device)
        views = Views(
            vectors,
            self.optics,
            self.fields.shape,
            self.fields.pixel_size_um,
            self.background.rotations,
        )
        check_memory(self.settings, views, self.device, self._each_voxel)
        self.inversion = FieldInversion(views, self.settings, self.device)
        k = vectors.usable_k(self.background.lost)
        self.places = LightPlaces(self.fields, k, self.optics, self.device)
        self._prepare_background()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) of the tomograms, as they were asked for."""
        return self.inversion.caps.grid.shown_shape

    def _prepare_background(self) -> None:
        """Keep 1/u0, zero where the background is dark, and u/u0 = 1 for there.

        At the frame's rim the cut spectrum rings, and a pixel of it that happens to be near zero
        would put a spike into the logarithm.
        """
        frames = torch.tensor(self.background.frames, device=self.device)
        sideband = self.fields.sideband(frames)
        shift_x, shift_y, own = self.places.look(sideband).cpu().numpy()
        shift = np.stack([shift_x, shift_y], axis=1)
        self._outshone = self.places.astray(shift, own, own < 1, least_own=1.0)
        field = self.fields.fields_of(sideband)
        power = field.abs().square()
        lit = power > _DARK**2 * power.mean(dim=(1, 2), keepdim=True)
        self._reference = torch.where(lit, field.conj() / power, 0)
        self._dark = (~lit).to(field.dtype)
        self._visibility = visibility(field, frames).clamp_min(1e-9)
        empty = self.background
        self._saturated = noteworthy(saturation(empty.frames, empty.provenance))

    def __call__(self, stack: InterferogramStack) -> Reconstruction:
        """Reconstruct one scan.

        Raises
        ------
        DataError
            If the scan does not fit the background, or no angle is usable.
        """
        known_bad = self.known_bad(stack)
        clock = _Clock()
        fields, quality = self.retrieved(stack.frames, stack, lost=tuple(known_bad))
        self.check_order(quality)
        left_out = {**self.unfit(quality), **known_bad}
        _check_usable(left_out, len(stack.frames))
        clock.lap("fields")
        if not self._oriented and self._turn(fields, quality):
            return self(stack)
        scattered = self.inversion.scattered(fields)
        quality = quality.with_phase(scattered.residues, scattered.bending)
        clock.lap("caps")
        return self.inverted(scattered.samples, left_out, quality, stack, clock.laps)

    def inverted(
        self,
        samples: tuple[torch.Tensor, ...],
        left_out: dict[int, str],
        quality: FrameQuality,
        stack: InterferogramStack,
        stages_s: dict[str, float],
    ) -> Reconstruction:
        """Return the reconstruction that all views' samples give, less those left out."""
        clock = _Clock()
        spectrum, imaginary = self.inversion.spectrum(samples, tuple(left_out))
        index = index_from_contrast(contrast_of(spectrum), self.optics.medium_index)
        measured = float((spectrum.measured > 0).float().mean())
        clock.lap("inverse")
        report = ScanReport(
            left_out,
            quality,
            self.wave_vectors.outliers,
            measured,
            imaginary,
            {**stages_s, **clock.laps},
            (*self.optics.remarks, *self._on_background()),
            self.settings.anchor != "field" or self.settings.offset != 0,
        )
        provenance = dict(stack.provenance)
        provenance["reconstruction"] = self.inversion.described(imaginary)
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

    def retrieved(
        self, frames: NDArray[np.uint8 | np.uint16], stack: InterferogramStack, *, first: int = 0,
        lost: tuple[int, ...] = (),
    ) -> tuple[torch.Tensor, FrameQuality]:  # fmt: skip
        """Return u/u0 (views, y, x), drift and tilt removed, and how good the frames are.

        Parameters
        ----------
        frames : (views, y, x)
            Of the angles ``first``, first + 1, ...
        stack : InterferogramStack
            The scan they belong to; says what the highest grey value is.
        lost : tuple of int
            Angles without a field: their row is 1.
        """
        angles = slice(first, first + len(frames))
        light = torch.from_numpy(frames).to(self.device)
        sideband = self.fields.sideband(light)
        field = self.fields.fields_of(sideband)
        seen = visibility(field, light) / self._visibility[angles]
        quotient = torch.addcmul(self._dark[angles], field, self._reference[angles])
        # an absent field must not become NaN
        quotient[[a - first for a in lost if angles.start <= a < angles.stop]] = 1
        empty = anchored(fit_empty_field(quotient), quotient, self.settings.anchor)
        places = self.places.look(sideband, first)
        quality = assess(seen, saturation(frames, stack.provenance), empty, places)
        return empty.remove(quotient), quality

    def field_stack(self, stack: InterferogramStack) -> FieldStack:
        """Return the fields of a scan over the background's, drift and tilt removed."""
        lost = self.known_bad(stack)
        fields, quality = self.retrieved(stack.frames, stack, lost=tuple(lost))
        self.check_order(quality)
        fields[[*self.unfit(quality), *lost]] = 1
        return FieldStack(
            fields,
            self.fields.pixel_size_um,
            self.optics,
            self.wave_vectors.k,
            self.background.rotations,
        )

    def _turn(self, fields: torch.Tensor, quality: FrameQuality) -> bool:
        """Decide by the sign of an object's phase; return whether the plan was turned around.

        A denser object retards the wave. A mirrored one that is lighter looks the same.
        """
        phase = rytov_fields(fields)[0].imag
        beyond = phase.abs() > 6 * float(quality.noise.max())
        evidence = torch.where(beyond, phase, 0)
        total, size = float(evidence.sum()), float(evidence.abs().sum())
        if float(beyond.float().mean()) < 1e-3 or abs(total) < 0.5 * size:
            return False  # nothing there yet, or nothing clear: wait for an object
        self._oriented = True
        if (total > 0) == (self.settings.objects == "denser"):
            return False
        self._plan(self.wave_vectors.mirrored())
        return True

    def _on_background(self) -> tuple[str, ...]:
        """Return what is to be said of the background: its exposure, and what it left to assume."""
        angles = _listed(self._saturated)
        again = "background saturated, lower the exposure and take it again"
        exposure = (f"{again}: angles {angles}",) if self._saturated else ()
        if self.background.illumination_k is not None or not self._oriented:
            return exposure
        objects = self.settings.objects
        other = "lighter" if objects == "denser" else "denser"
        return (
            *exposure,
            f"without wave vectors the sample was taken to be {objects} than its medium: if it is "
            f"{other}, the tomogram is mirrored in z, with the opposite contrast; give the wave "
            f"vectors, or --objects {other}",
        )

    def _without_background(self) -> dict[int, str]:
        """Return the angles for which there is nothing to divide by, and why."""
        absent = dict.fromkeys(self.background.lost, "no background frame")
        return absent | self.wave_vectors.reasons()

    def check_order(self, quality: FrameQuality) -> None:
        """Raise DataError where most frames do not show the light of their angle."""
        self.places.check(quality.shift, quality.own, quality.lit)

    def unfit(self, quality: FrameQuality) -> dict[int, str]:
        """Return the angles that are left out by what their frames show, and why."""
        astray = self.places.astray(quality.shift, quality.own, quality.lit)
        why = {a: f"light {d:.1f} NA/wavelength from the background's" for a, d in astray.items()}
        return why | quality.reasons()

    def known_bad(self, stack: InterferogramStack) -> dict[int, str]:
        """Return the angles of a scan that cannot be used whatever they show, and why.

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
                f"a scan must have the background's optics {self.optics}, got {stack.optics}"
            )
        why = dict.fromkeys(stack.lost, "no frame")
        why |= self._without_background()
        stronger = "another beam in the background outshines the angle's own"
        why |= dict.fromkeys(self._outshone, stronger)
        _check_usable(why, len(stack.frames))
        return why


def _check_usable(left_out: dict[int, str], angles: int) -> None:
    if len(left_out) == angles:
        reasons = list(dict.fromkeys(left_out.values()))
        shown = "; ".join(reasons[:_SHOWN]) + ("; ..." if len(reasons) > _SHOWN else "")
        raise DataError(
            f"at least one angle must be usable, all {angles} are left out ({shown}): check laser "
            "and reference beam, and that the pictures lie as the background's do"
        )


def _listed(angles: tuple[int, ...]) -> str:
    shown = ", ".join(str(angle) for angle in angles[:8])
    return shown if len(angles) <= 8 else f"{shown}, ... ({len(angles)} in all)"


class _Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now
