"""The last snap: a single scan that stays in memory, so that the user can look before saving it."""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from acquisition.errors import DataError
from acquisition.interferograms import InterferogramStack
from files.disk import check_output, check_space
from files.recording import RecordingWriter
from files.sample_notes import SampleNotes
from files.series import ScanLocation, SeriesDescription
from pipeline.timelapse.plan import interval_plan
from pipeline.wire.places import SnapRequest
from pipeline.wire.sockets import PipelineError

__all__ = ["KeptSnap", "SnapOrigin"]

_REQUEST = TypeAdapter(SnapRequest)


@dataclass(frozen=True, slots=True)
class SnapOrigin:
    """What the recording of a snap says of where it comes from.

    Parameters
    ----------
    microscope : str
        JSON: the ``AcquisitionConfig``; "{}" where nothing is known of it.
    reconstruction : mapping
        As in ``SeriesDescription``.
    stage_um : (x, y, z)
        Of the stage; nan where unknown.
    attributes : mapping
        More attributes of the file.
    """

    microscope: str = "{}"
    reconstruction: Mapping[str, Any] = field(default_factory=dict)
    stage_um: tuple[float, float, float] = (math.nan, math.nan, math.nan)
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Snap:
    stack: InterferogramStack
    background: InterferogramStack
    origin: SnapOrigin


class KeptSnap:
    """Keeps the last snap with its background and place, and writes it as a recording of one scan.

    It is kept by the thread that scans, and written by that of the command server.
    """

    def __init__(self) -> None:
        self._snap: _Snap | None = None
        self._lock = threading.Lock()

    @property
    def number(self) -> int | None:
        """The number of its scan; None: there is none."""
        snap = self._snap
        return None if snap is None else snap.stack.sequence

    def keep(
        self, stack: InterferogramStack, background: InterferogramStack, origin: SnapOrigin
    ) -> None:
        """Keep a scan; its frames are copied, since scans in shared memory are written over."""
        self._snap = _Snap(replace(stack, frames=stack.frames.copy()), background, origin)

    def save(self, text: str) -> str:
        """Write it as a ``SnapRequest`` in JSON asks for.

        Raises
        ------
        LiveTomoError
            If there is no snap, or it cannot be written. No partial file is left.
        """
        snap = self._snap
        if snap is None:
            raise PipelineError("save snap: there is none, take one first (Snap)")
        try:
            request = _REQUEST.validate_json(text)
        except ValidationError as error:
            raise DataError(f"save snap: {error.errors()[0]['msg']}") from error
        output = Path(request.output)
        check_output(output)
        check_space(output, snap.stack.frames.nbytes + snap.background.frames.nbytes, "the snap")
        with self._lock:
            try:
                _write(snap, request, output)
            except OSError as error:  # this thread answers all commands: it must go on
                raise DataError(
                    f"{output} could not be written: {error}; check the folder and its disk"
                ) from error
        return f"saved {output}"


def _write(snap: _Snap, request: SnapRequest, output: Path) -> None:
    origin = snap.origin
    description = SeriesDescription(
        interval_plan(1, 0.0).to_json(),
        origin.microscope,
        (request.place_name,),
        origin.reconstruction,
    )
    notes = SampleNotes(request.sample_name, request.notes)
    attributes = {**origin.attributes, **notes.attributes()}
    unfinished = output.with_name(f"{output.name}.unfinished")
    unfinished.unlink(missing_ok=True)  # of a process that was killed
    try:
        with RecordingWriter(unfinished, snap.background, attributes, description) as file:
            file.append(snap.stack, ScanLocation(0, origin.stage_um))
        unfinished.rename(output)
    finally:
        unfinished.unlink(missing_ok=True)
