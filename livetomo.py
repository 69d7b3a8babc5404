"""The pieces of LiveTomo for scripts and notebooks: the same code as the instrument runs.

    import livetomo

    recording = livetomo.open_recording("cells.h5")
    tomogram = livetomo.reconstruct(recording[0])
    better = livetomo.regularize(tomogram, "deep")
    better.index_array            # (z, y, x) float32: the refractive index
    livetomo.save_tomograms("cells-tomograms.h5", [better])

What a function needs is loaded when it is called: importing this module takes no time. Lengths are
micrometres, arrays (z, y, x) or (angle, y, x), times seconds since the epoch. All errors are
``livetomo.LiveTomoError``.
"""

from __future__ import annotations  # what a type names is loaded when it is used

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

from acquisition.choices import REGULARIZERS
from acquisition.errors import ConfigurationError, DataError, LiveTomoError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from acquisition.interferograms import InterferogramStack
    from acquisition.microscope import Microscope as Instrument
    from acquisition.optics import Optics
    from files.tomograms import TomogramSeries
    from reconstruction.reconstructor import Reconstructor
    from reconstruction.settings import ReconstructionSettings
    from reconstruction.tomogram import Spectrum
    from reconstruction.tomogram import Tomogram as Volume
    from regularizer.constraint import Constraint
    from regularizer.interface import Regularizer
    from regularizer.metrics import Comparison
    from regularizer.training.training_data import SimulatedScan

__all__ = [
    "LiveTomoError",
    "Microscope",
    "Recording",
    "Scan",
    "Tomogram",
    "Tomograms",
    "compare",
    "open_microscope",
    "open_recording",
    "open_tomograms",
    "reconstruct",
    "regularize",
    "save_tomograms",
    "simulate_scan",
]

Progress = Callable[[int, int], None]


# ---- Scans ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scan:
    """One scan: an interferogram for each angle, and the background that it is divided by.

    Parameters
    ----------
    stack : InterferogramStack
        Frames (angle, y, x) with their optics and illumination.
    background : InterferogramStack or None
        Of the empty field; None where none was taken.
    settings : mapping
        How its microscope says that it is reconstructed: fields of ``ReconstructionSettings``.
    """

    stack: InterferogramStack
    background: InterferogramStack | None
    settings: dict[str, Any] = field(default_factory=dict)
    _plans: _Plans = field(default_factory=lambda: _Plans(), repr=False)

    @property
    def frames(self) -> NDArray[Any]:
        """The interferograms, (angle, y, x) uint8 or uint16."""
        return self.stack.frames

    @property
    def optics(self) -> Optics:
        """Wavelength, numerical aperture, medium and pixel size."""
        return self.stack.optics

    @property
    def timestamp(self) -> float:
        """When it began, in seconds since the epoch."""
        return self.stack.timestamp

    @property
    def lost(self) -> tuple[int, ...]:
        """Angles whose frame is missing."""
        return self.stack.lost


class _Plans:
    """The last reconstructor of a recording: geometry is planned once for scans that share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: Reconstructor | None = None

    def reconstructor(
        self, background: InterferogramStack, device: str, settings: ReconstructionSettings
    ) -> Reconstructor:
        import numpy as np

        from reconstruction.reconstructor import Reconstructor

        with self._lock:
            last = self._last
            fits = (
                last is not None
                and (last.device.type, last.settings) == (device.partition(":")[0], settings)
                and (
                    last.background is background
                    or np.array_equal(last.background.frames, background.frames)
                )
            )
            if not fits:
                last = self._last = Reconstructor(background, device, settings)
            return cast("Reconstructor", last)


class Recording(Sequence[Scan]):
    """Scans in the order of time, read when they are asked for.

    Attributes
    ----------
    optics : Optics
    background : InterferogramStack
        The first one, of the empty field.
    truth : Tomogram or None
        What the sample is, on the voxels that ``reconstruct`` makes by default; None unless it was
        simulated.
    """

    def __init__(
        self,
        count: Callable[[], int],
        scan: Callable[[int], Scan],
        background: InterferogramStack,
        simulated: SimulatedScan | None = None,
    ) -> None:
        self._count, self._scan = count, scan
        self.background = background
        self._simulated = simulated

    @property
    def optics(self) -> Optics:
        """Wavelength, numerical aperture, medium and pixel size."""
        return self.background.optics

    @cached_property
    def truth(self) -> Tomogram | None:
        """What the sample is, on the voxels that ``reconstruct`` makes by default."""
        return None if self._simulated is None else self.truth_like(reconstruct(self[0]))

    def truth_like(self, tomogram: Tomogram) -> Tomogram:
        """Return what a simulated sample is, on the voxels of a tomogram of it.

        Raises
        ------
        DataError
            If the recording was not simulated, or the tomogram was not reconstructed from it.
        """
        from reconstruction.tomogram import index_from_contrast
        from regularizer.training.training_data import true_contrast

        if self._simulated is None or tomogram.spectrum is None:
            raise DataError(
                "the truth is known of simulated recordings, on the voxels of a tomogram that was "
                "reconstructed from one: use simulate_scan and reconstruct"
            )
        made = self._simulated
        contrast = true_contrast(made.phantom, made.position_um, tomogram.spectrum)
        index = index_from_contrast(contrast, self.optics.medium_index)
        whole = replace(
            tomogram.whole,
            index=index,
            uncertainty=None,
            data_residual=0.0,
            provenance={"regularizer": "none: the simulated sample itself"},
        )
        return Tomogram(whole)

    def __len__(self) -> int:
        return self._count()

    @overload
    def __getitem__(self, at: int) -> Scan: ...

    @overload
    def __getitem__(self, at: slice) -> list[Scan]: ...

    def __getitem__(self, at: int | slice) -> Scan | list[Scan]:
        if isinstance(at, slice):
            return [self._scan(i) for i in range(len(self))[at]]
        return self._scan(range(len(self))[at])

    def __repr__(self) -> str:
        angles, rows, columns = self.background.frames.shape
        return f"<Recording: {len(self)} scans of {angles} angles, {rows} x {columns} pixels>"


def open_recording(path: str | Path) -> Recording:
    """Open a recording file (HDF5, docs/reference).

    Parameters
    ----------
    path : str or Path
        It may still be growing; its length is that of the scans that are finished now.

    Returns
    -------
    Recording

    Raises
    ------
    DataError
        If the file is not a recording, or something in it is missing or impossible.
    """
    from files.recording import read_recording

    source = read_recording(Path(path))
    own = {} if source.series is None else dict(source.series.reconstruction)
    plans = _Plans()

    def scan(number: int) -> Scan:
        recorded = next(source.scans(number))
        return Scan(recorded.stack, recorded.background, own, plans)

    return Recording(source.finished, scan, source.background)


def simulate_scan(kind: str = "cell", seed: int = 1, frame: int = 192) -> Recording:
    """Simulate one scan of a sample whose truth is known.

    The light is scattered by the multi-slice (split-step) method, the camera has noise.

    Parameters
    ----------
    kind : str
        "cell", "cocci", "bead", "rods", "fatty", "adherent", "debris", "random" or "several".
    seed : int
        Decides the sample, its place and the noise.
    frame : int
        Camera pixels a side.

    Returns
    -------
    Recording
        In memory, of one scan; its ``truth`` is the sample.

    Raises
    ------
    ConfigurationError
        If there is no sample of that kind.
    """
    from regularizer.training.training_data import KINDS, simulated

    if kind not in KINDS:
        raise ConfigurationError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    made = simulated(kind, seed, frame)
    scan = Scan(made.stack, made.background)
    return Recording(lambda: 1, lambda number: scan, made.background, made)


# ---- The microscope ------------------------------------------------------------------------------


class Microscope:
    """An open microscope that takes scans, see ``open_microscope``."""

    def __init__(self, instrument: Instrument, settings: dict[str, Any]) -> None:
        self._instrument, self._settings = instrument, settings
        self._background: InterferogramStack | None = None
        self._plans = _Plans()

    @property
    def core(self) -> Any:
        """The ``CMMCorePlus`` with all devices."""
        return self._instrument.core

    def background(self, scans: int | None = None) -> InterferogramStack:
        """Take the background of the scans that follow, and return it.

        Parameters
        ----------
        scans : int or None
            How many are averaged; None: as the microscope's file says.

        Notes
        -----
        The stage goes to the empty field and back where the file says where that is.
        """
        self._background = self._instrument.background(scans)
        return self._background

    def scan(self) -> Scan:
        """Take one scan; it carries the last background.

        Raises
        ------
        DeviceError
            If a device fails.
        """
        return Scan(self._instrument.scan(), self._background, self._settings, self._plans)

    def snap(self) -> NDArray[Any]:
        """Take one frame (y, x) under the illumination of the normal angle."""
        return self._instrument.snap()


@contextmanager
def open_microscope(path: str | Path | None = None) -> Iterator[Microscope]:
    """Open the microscope of a microscope.toml; a context manager that closes it.

    Parameters
    ----------
    path : str, Path or None
        None: the simulated microscope.

    Yields
    ------
    Microscope

    Raises
    ------
    ConfigurationError
        If the file says something impossible.
    DeviceError
        If a device is absent or refuses its settings.
    """
    from acquisition.configuration.calibration_file import load_calibrated
    from acquisition.microscope import open_microscope as opened

    calibrated = load_calibrated(None if path is None else Path(path))
    with opened(calibrated) as instrument:
        yield Microscope(instrument, calibrated.config.reconstruction.set_values())


# ---- Tomograms -----------------------------------------------------------------------------------


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
    """

    def __init__(
        self,
        whole: Volume,
        spectrum: Spectrum | None = None,
        raw: Tomogram | None = None,
        method: str = "none",
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.whole, self.spectrum, self.raw, self.method = whole, spectrum, raw, method
        self._warnings = warnings

    @cached_property
    def _shown(self) -> Volume:
        return self.whole.windowed()

    @property
    def index_array(self) -> NDArray[np.float32]:
        """The refractive index, (z, y, x) float32."""
        return _array(self._shown.index)

    @property
    def uncertainty_array(self) -> NDArray[np.float32] | None:
        """The standard deviation of the index, (z, y, x) float32; None where it is not known."""
        spread = self._shown.uncertainty
        return None if spread is None else _array(spread)

    @property
    def voxel_size_um(self) -> tuple[float, float, float]:
        """Of ``index_array``: dz, dy, dx."""
        return self._shown.voxel_size_um

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
        size = " x ".join(map(str, self._shown.index.shape))
        low, high = (float(v) for v in self._shown.index.aminmax())
        return f"<Tomogram: {self.method}, {size} voxels, index {low:.4f} to {high:.4f}>"

    def _repr_html_(self) -> str:
        """Show the three sections through the densest point, for notebooks."""
        import base64
        import html

        from files.pictures import draw_tomograms, png

        title = "raw" if self.method == "none" else self.method
        picture = draw_tomograms(
            [(title, self.index_array)], self.voxel_size_um, self.optics.medium_index, 256
        )
        data = base64.b64encode(png(picture)).decode()
        notes = "".join(f"<br>{html.escape(warning)}" for warning in self.warnings)
        return f'<img src="data:image/png;base64,{data}"><br>{html.escape(repr(self))}{notes}'


def _array(volume: torch.Tensor) -> NDArray[np.float32]:
    return cast("NDArray[np.float32]", volume.cpu().numpy())


def reconstruct(scan: Scan, *, device: str | None = None, **settings: Any) -> Tomogram:
    """Return the raw tomogram of a scan.

    Parameters
    ----------
    scan : Scan
        Of a recording or of an open microscope.
    device : str or None
        "cpu" or "cuda"; None: the GPU where there is one.
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
    known = [one.name for one in fields(ReconstructionSettings)]
    if unknown := sorted(settings.keys() - set(known)):
        raise ConfigurationError(
            f"settings of a reconstruction are {', '.join(known)}; got {', '.join(unknown)}"
        )
    values = {**scan.settings, **settings}
    if values.get("size_um") is not None:
        values["size_um"] = tuple(values["size_um"])
    how = ReconstructionSettings(**values)
    made = scan._plans.reconstructor(scan.background, torch_device(device), how)(scan.stack)  # noqa: SLF001  # of this module
    return Tomogram(made.tomogram, made.spectrum, warnings=made.report.warnings)


def regularize(
    tomogram: Tomogram,
    method: str | Regularizer = "deep",
    *,
    constraint: Constraint = "auto",
    uncertainty: bool = False,
    progress: Progress | None = None,
) -> Tomogram:
    """Return the regularized tomogram of a raw one.

    Parameters
    ----------
    tomogram : Tomogram
        From ``reconstruct``; of a regularized one, the raw one that it was made from is taken.
    method : str or Regularizer
        "none", "gp", "tv-fast", "tv", "deep", a preset of total variation ("auto", "beads",
        "s-pyogenes", "oci-aml3"), a network's name; or an object that is called as
        ``regularizer.interface.Regularizer`` says.
    constraint : "auto", "non-negative", "non-positive" or "none"
        What may be taken for granted about the sign of the contrast; "auto": what the data show.
        An object decides that by itself.
    uncertainty : bool
        Whether "deep" estimates the standard deviation of each voxel.
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
    if raw.spectrum is None:
        raise DataError(
            "a tomogram is regularized with the spectrum that was measured, and files do not keep "
            "that: reconstruct it from its recording"
        )
    if isinstance(method, str):
        device = str(raw.whole.index.device)
        call, name = _regularizer(method, device, constraint, uncertainty), method
    else:
        call, name = method, type(method).__name__
    made = call(raw.whole, raw.spectrum, progress)
    return Tomogram(made, raw.spectrum, raw, name, raw._warnings)  # noqa: SLF001  # of this class


@lru_cache(maxsize=4)  # to load a network, and to choose what runs it, takes seconds
def _regularizer(name: str, device: str, constraint: Constraint, uncertainty: bool) -> Regularizer:
    from regularizer.constraint import check_constraint
    from regularizer.registry import regularizer

    sign = check_constraint(constraint)
    return regularizer(name, device, uncertainty=uncertainty, constraint=sign)


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
        contrast_from_index(one._shown.index.cpu(), medium)  # noqa: SLF001  # of this module
        for one in (tomogram, reference)
    )
    return compared(contrast, expected, medium)


# ---- Tomogram files ------------------------------------------------------------------------------


class Tomograms(Sequence[Tomogram]):
    """A tomogram file: its time points, read when they are asked for.

    Attributes
    ----------
    volumes : tuple of str
        The kinds of volume that it holds: "raw", and regularized ones.
    """

    def __init__(self, series: TomogramSeries) -> None:
        self._series = series

    @property
    def volumes(self) -> tuple[str, ...]:
        """The kinds of volume that it holds."""
        return ("raw", *(name for name, held in self._series.indices.items() if len(held)))

    @property
    def optics(self) -> Optics:
        """Wavelength, numerical aperture, medium and pixel size."""
        return self._series.optics

    def volume(self, time: int, kind: str) -> Tomogram | None:
        """Return the volume of that kind of a time point; None where the file has none."""
        raw = Tomogram(self._series.raw(time))
        if kind == "raw":
            return raw
        found = self._series.regularized(kind, time)
        return None if found is None else Tomogram(found, raw=raw, method=kind)

    def __len__(self) -> int:
        return len(self._series)

    @overload
    def __getitem__(self, at: int) -> Tomogram: ...

    @overload
    def __getitem__(self, at: slice) -> list[Tomogram]: ...

    def __getitem__(self, at: int | slice) -> Tomogram | list[Tomogram]:
        """Return the best volume of a time point: deep, tv, gp, or the raw one."""
        if isinstance(at, slice):
            return [self._best(i) for i in range(len(self))[at]]
        return self._best(range(len(self))[at])

    def _best(self, time: int) -> Tomogram:
        from acquisition.choices import VOLUMES

        found = (self.volume(time, kind) for kind in (*VOLUMES, "raw"))
        return next(one for one in found if one is not None)


def open_tomograms(path: str | Path) -> Tomograms:
    """Open a tomogram file (HDF5, docs/reference).

    Raises
    ------
    DataError
        If the file does not hold tomograms, or something in it is missing or impossible.
    """
    from files.tomograms import read_tomograms

    return Tomograms(read_tomograms(Path(path)))


def save_tomograms(path: str | Path, tomograms: Iterable[Tomogram]) -> None:
    """Write tomograms to a new file, each with the raw one that it was made from.

    Parameters
    ----------
    path : str or Path
        A new file.
    tomograms : iterable of Tomogram
        In the order of time, with the same voxels. Several of one scan, by different regularizers,
        become one time point.

    Raises
    ------
    DataError
        If the file exists, their voxels differ, or the format has no volume for a regularizer.
    """
    from files.tomograms import TomogramWriter

    points: dict[int, dict[str, Tomogram]] = {}
    for one in tomograms:
        raw = one.raw or one
        points.setdefault(id(raw), {"raw": raw})[_dataset(one)] = one
    if not points:
        raise DataError("a tomogram file must hold at least one tomogram, got none")
    first = next(iter(points.values()))["raw"]
    kinds = tuple(sorted({kind for held in points.values() for kind in held} - {"raw"}))
    with TomogramWriter(Path(path), first._shown, kinds) as writer:  # noqa: SLF001  # of this module
        for held in points.values():
            raw = held.pop("raw")
            shown = {kind: one._shown for kind, one in held.items()}  # noqa: SLF001
            writer.append(raw._shown, shown)  # noqa: SLF001


def _dataset(tomogram: Tomogram) -> str:
    """Return the volume of a tomogram file that holds it."""
    name = tomogram.method
    if name == "none" or name == "raw":
        return "raw"
    from regularizer.networks.trained import NETWORKS
    from regularizer.total_variation.parameters import PRESETS

    volumes = {method: choice.volume for method, choice in REGULARIZERS.items()}
    volumes |= dict.fromkeys(PRESETS, "tv") | dict.fromkeys(NETWORKS, "deep")
    if name not in volumes:
        kinds = ", ".join(sorted({*volumes.values()} - {""}))
        raise DataError(
            f"a tomogram file holds the volumes raw, {kinds}, and has none for {name!r}: set the "
            "tomogram's method to the kind that it belongs to"
        )
    return volumes[name]
