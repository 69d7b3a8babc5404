"""The quality check: a low-priority process that compares live tomograms with a reference.

<<<<<<< HEAD
When idle it asks the processor for the newest tomogram, makes the reference of the same scan, and
publishes the comparison. The reference is total variation on the spectrum of the raw tomogram, or
the multi-slice inversion of the measured fields, which takes minutes. Tomograms that arrive
meanwhile are skipped. It runs at the lowest priority on the CPU, even if the live path uses a GPU.
=======
When idle it asks the processor for the newest tomogram, runs total variation on the spectrum of the
raw tomogram, and publishes the comparison. Tomograms that arrive meanwhile are skipped. It runs at
the lowest priority on the CPU, even if the live path uses a GPU, and loads torch when there is a
tomogram to check: until then the cores belong to those that make the first one.
>>>>>>> main
"""

import os
import threading
import time

<<<<<<< HEAD
import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.configuration.microscope_file import load_configuration
=======
>>>>>>> main
from acquisition.errors import DataError, LiveTomoError, Stopped
from pipeline.live.light_to_check import PlannedLight
from pipeline.live.newest_tomogram import NewestTomogram
from pipeline.live.service import CommandServer, ProcessSettings, Publisher
from pipeline.wire.bound_sockets import Context, Socket
from pipeline.wire.messages import (
    Command,
    QualityStatus,
    Stamp,
    quality_message,
)
from pipeline.wire.sockets import PipelineError
from pipeline.wire.state import TomogramView

__all__ = ["QualityCheck"]

_ASK_AGAIN_S = 0.2


class QualityCheck:
    """Compares the newest tomograms with a reference, one at a time.

    Parameters
    ----------
    settings : ProcessSettings
    context : zmq context
    commands : socket
        REP, bound.
    publisher : Publisher
        For reports and status.
    stamp : Stamp
        Numbers the messages.
    """

    def __init__(
        self,
        settings: ProcessSettings,
        context: Context,
        commands: Socket,
        publisher: Publisher,
        stamp: Stamp,
    ) -> None:
        self._publisher, self._stamp = publisher, stamp
        configuration = load_configuration(settings.microscope_file)
        self._reference = configuration.processing.quality_reference
        self._tomograms = NewestTomogram(
            context,
            settings.endpoint("processor_commands"),
            stamp,
            fields=self._reference == "multislice",
        )
        self._planned = PlannedLight()
        self._life = settings.life
        self._server = CommandServer(commands, publisher, stamp, self._handle, self._status)
        self._message = "waiting for a tomogram"

    def run(self, ending: threading.Event) -> None:
        """Serve until ``ending`` is set."""
        self._server.start()
        try:
            while not ending.is_set():
                view = self._newest()
                if view is None:
                    ending.wait(_ASK_AGAIN_S)
                else:
                    self._check(view, ending)
        finally:
            self._server.end()

    def _newest(self) -> TomogramView | None:
        """Return the newest tomogram of the processor; None if it was checked already."""
        try:
            return self._tomograms.take()
        except (PipelineError, DataError) as error:
            self._message = f"waiting for a tomogram: {error}"
            return None

    def _check(self, view: TomogramView, ending: threading.Event) -> None:
        begin = time.monotonic()

        def progress(done: int, of: int) -> None:
            if done:
                left_s = (time.monotonic() - begin) * (of - done) / done
                self._message = f"scan {view.sequence}: {done / of:.0%}, {left_s:.0f} s left"

        self._message = f"scan {view.sequence}: starting"
        import torch

        from pipeline.live.quality_comparison import check_view

        torch.set_num_threads(max(1, (os.cpu_count() or 1) // 4))
        try:
            found = check_view(view, progress, ending, self._reference, self._planned)
        except Stopped:
            return
        except LiveTomoError as error:
            self._message = f"scan {view.sequence} cannot be checked: {error}"
            return
        self._publisher.publish(quality_message(found, self._stamp))
        self._message = "waiting for a tomogram"

    def _handle(self, command: Command) -> str:
        raise PipelineError(f"the quality check has no command {command.name!r}")

    def _status(self) -> QualityStatus:
        return QualityStatus(life=self._life, message=self._message, **self._stamp())
<<<<<<< HEAD


def check_view(
    view: TomogramView,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    reference: str = "tv",
    planned: PlannedLight | None = None,
) -> QualityView:
    """Compare the regularized volume of a view, or else the raw one, with a reference.

    Parameters
    ----------
    view : TomogramView
    progress, stop
        As in ``regularizer.interface.Regularizer``.
    reference : str
        "tv" or "multislice"; the latter is total variation for a view without fields.
    planned : PlannedLight or None
        Keeps the plan of views with fields from one to the next.

    Raises
    ------
    DataError
        If the view lacks optics or mask, or shows no object.
    Stopped
        When ``stop`` is set.
    """
    begin = time.monotonic()
    if view.fields is None or view.optics is None:
        spectrum, reference = spectrum_of(view), "tv"
    else:
        spectrum = (planned or PlannedLight()).spectrum(view.fields, view.optics)
    medium = view.medium_index
    regularized = None
    if view.regularized is not None:
        regularized = contrast_from_index(_tensor(view.regularized), medium)
    window = None if view.window is None else VolumeWindow(*view.window)
    found = check(
        regularized,
        spectrum,
        view.method,
        window=window,
        constraint=check_constraint(view.constraint),
        reference=reference,
        progress=progress,
        stop=stop,
    )
    solved = index_from_contrast(found.reference, medium).numpy()
    shown = windowed(view)
    compared = shown.raw if shown.regularized is None else shown.regularized
    return QualityView(
        report=found.report,
        reference=solved,
        error=compared - solved,
        voxel_size_um=shown.voxel_size_um,
        sequence=view.sequence,
        timestamp=view.timestamp,
        seconds=time.monotonic() - begin,
    )


def spectrum_of(view: TomogramView) -> Spectrum:
    """Return the measured spectrum of a live tomogram.

    Raises
    ------
    DataError
        If the view lacks the optics, or a mask that fits its volume.
    """
    slices, rows, columns = view.raw.shape
    half = (slices, rows, columns // 2 + 1)
    voxels = slices * rows * half[2]
    if view.measured is None or view.optics is None or len(view.measured) != -(-voxels // 8):
        raise DataError(
            f"a tomogram must have its optics and one bit for each of the {voxels} voxels of its "
            f"half spectrum to be checked, scan {view.sequence} came without"
        )
    measured = np.unpackbits(view.measured, count=voxels).reshape(half)
    raw = contrast_from_index(_tensor(view.raw), view.medium_index)
    mask = torch.from_numpy(measured.astype(np.float32))
    values = torch.fft.rfftn(torch.fft.ifftshift(raw), norm="ortho") * mask
    return Spectrum(values, mask, (slices, rows, columns), view.voxel_size_um, view.optics)


def _tensor(volume: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(np.array(volume))  # its own copy: messages are read-only
=======
>>>>>>> main
