"""The commands to an instrument, as a file answers them: with a refusal."""

from typing import NoReturn

from pipeline.wire.pipeline_error import PipelineError
from pipeline.wire.places import SnapRequest, StagePlace
from pipeline.wire.state import (
    ForecastRequest,
    RecordingForecast,
    RecordRequest,
)

__all__ = ["RefusesInstrument"]


class RefusesInstrument:
    """Refuses what only an instrument can do; ``shown_name`` is that of the file."""

    @property
    def shown_name(self) -> str:
        """Name of the file, for the message."""
        raise NotImplementedError

    def keep_in_middle(self, on: bool) -> None:
        """Refuse: a file has no instrument."""
        self._refuse()

    def retake_background(self) -> None:
        """Refuse: a file has no instrument."""
        self._refuse()

    def snap(self) -> None:
        """Refuse: a file has no instrument."""
        self._refuse()

    def save_snap(self, request: SnapRequest) -> None:
        """Refuse: a file has no instrument."""
        self._refuse()

    def stage_place(self) -> StagePlace:
        """Refuse: a file has no instrument."""
        self._refuse()

    def move_stage(self, place: StagePlace) -> None:
        """Refuse: a file has no instrument."""
        self._refuse()

    def record(self, request: RecordRequest) -> None:
        """Refuse: a file has no instrument."""
        self._refuse()

    def forecast(self, request: ForecastRequest) -> RecordingForecast:
        """Refuse: a file has no instrument."""
        self._refuse()

    def pause_recording(self) -> None:
        """Refuse: a file has no instrument."""
        self._refuse()

    def continue_recording(self) -> None:
        """Refuse: a file has no instrument."""
        self._refuse()

    def finish_recording(self) -> None:
        """Refuse: a file has no instrument."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise PipelineError(
            f"{self.shown_name} is a file: open an instrument with `launcher.py live`"
        )
