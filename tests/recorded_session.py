"""A recorded session for the window: a drifting cell, raw and regularized, and its fringes.

The raw volumes are the true ones without the spatial frequencies that no illumination angle
reaches (the missing cone), so they have the shadows and the axial blur of real raw tomograms.
"""

import threading
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.wire.places import SnapRequest, StagePlace, StageState
from pipeline.wire.state import (
    ForecastRequest,
    InstrumentState,
    InterferogramView,
    MeasuringRequest,
    MeasuringState,
    Phase,
    ProcessState,
    QualityView,
    RecordingForecast,
    RecordingState,
    RecordRequest,
    TomogramView,
    Updates,
)

MEDIUM = 1.337
PROCESSES = (ProcessState("acquirer", True), ProcessState("processor", True, restarts=1))


def cell(
    shape: tuple[int, int, int], voxel_um: tuple[float, float, float], centre_um: tuple[float, ...]
) -> NDArray[np.float32]:
    """Return a cell with nucleus, nucleolus and granules, (z, y, x) RI."""
    axes = [(np.arange(n) - n // 2) * d for n, d in zip(shape, voxel_um, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    index = np.full(shape, MEDIUM, dtype=np.float32)
    granules = [((0.5, 2.6, -1.2), 0.35, 1.41), ((-0.8, -2.4, 1.9), 0.3, 1.405)]
    body = [((0, 0, 0), 4.2, 1.362), ((0.2, -0.6, 0.9), 2.2, 1.375), ((0.3, -0.9, 1.3), 0.6, 1.392)]
    for offset, radius, value in [*body, *granules]:
        dz, dy, dx = (a - c - o for a, c, o in zip((z, y, x), centre_um, offset, strict=True))
        squash = 1.25 if radius == 4.2 else 1.0
        index[(dz * squash) ** 2 + dy**2 + (dx * 0.9) ** 2 < radius**2] = value
    return index


def without_missing_cone(
    index: NDArray[np.float32], voxel_um: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Return the part of a volume that an NA 1.2 scan measures."""
    kz, ky, kx = np.meshgrid(
        np.fft.fftfreq(index.shape[0], voxel_um[0]),
        np.fft.fftfreq(index.shape[1], voxel_um[1]),
        np.fft.rfftfreq(index.shape[2], voxel_um[2]),
        indexing="ij",
        sparse=True,
    )
    transverse = np.hypot(ky, kx)
    measured = (np.abs(kz) <= 1.2 * transverse) & (transverse < 4.4) | (
        transverse + np.abs(kz) == 0
    )
    noise = np.random.default_rng(7).normal(0, 5e-4, index.shape)
    spectrum = np.fft.rfftn(index - MEDIUM + noise) * measured
    return (MEDIUM + np.fft.irfftn(spectrum, index.shape, axes=(0, 1, 2))).astype(np.float32)


def fringes(shape: tuple[int, int], angle: int, gain: float = 1.0) -> NDArray[np.uint8]:
    """Return an 8 bit interferogram with a carrier that turns with the angle."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    r2 = ((y - shape[0] / 2) ** 2 + (x - shape[1] / 2) ** 2) / (shape[0] / 5) ** 2
    phase = 0.9 * x + 0.5 * y + 0.12 * (x * np.cos(angle) + y * np.sin(angle))
    light = 100 + 70 * np.cos(phase + 2.5 * np.sqrt(np.clip(1 - r2, 0, None)))
    frame: NDArray[np.uint8] = np.clip(light * gain, 0, 255).astype(np.uint8)
    return frame


def volumes(
    count: int, shape: tuple[int, int, int], voxel_um: tuple[float, float, float]
) -> list[TomogramView]:
    """Return tomograms of a cell that drifts sideways and sinks."""
    views = []
    for i in range(count):
        turn = 2 * np.pi * i / max(count, 1)
        true = cell(shape, voxel_um, (0.4 * np.sin(turn), 1.2 * np.sin(turn), 1.2 * np.cos(turn)))
        views.append(
            TomogramView(
                raw=without_missing_cone(true, voxel_um),
                regularized=true,
                method="deep",
                voxel_size_um=voxel_um,
                medium_index=MEDIUM,
                sequence=i,
                timestamp=1.7e9 + i,
                latency_s=0.42,
                stages_s={"field retrieval": 0.11, "network": 0.31},
            )
        )
    return views


@dataclass
class RecordedSession:
    """Returns one tomogram at each poll, and answers commands like an instrument."""

    tomograms: list[TomogramView]
    state: InstrumentState = field(
        default_factory=lambda: InstrumentState(
            Phase.LIVE, "Live: regularizing scans with the network", processes=PROCESSES
        )
    )
    played: int = 0
    commands: list[tuple[str, str]] = field(default_factory=list)
    refusal: Exception | None = None
    next_state: InstrumentState | None = None
    quality: QualityView | None = None
    every: int = 1
    recorded: RecordRequest | None = None
    saved: SnapRequest | None = None
    forecasts: list[ForecastRequest] = field(default_factory=list)
    foreseen: RecordingForecast = field(default_factory=RecordingForecast)
    polls: int = 0

    def poll(self, timeout_ms: int = 0) -> Updates:
        state, self.next_state = self.next_state, None
        self.polls += 1
        if not self.tomograms or self.polls % self.every:
            return Updates(state)
        view = self.tomograms[self.played % len(self.tomograms)]
        view = replace(view, sequence=self.played)
        self.played += 1
        angle = self.played % 49
        frame = InterferogramView(fringes((96, 96), angle), angle, 49, self.played, 8)
        return Updates(state, frame, view, self.quality)

    def announce(self, **changes: object) -> None:
        """Publish another state."""
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]  # any of its fields
        self.next_state = self.state

    def _carry_out(self, command: str) -> None:
        self.commands.append((command, threading.current_thread().name))
        if self.refusal is not None:
            raise self.refusal

    def start(self) -> None:
        self._carry_out("start")
        self.announce(phase=Phase.LIVE, message="Live again")

    def stop(self) -> None:
        self._carry_out("stop")
        self.announce(phase=Phase.STOPPED, message="Stopped: the last tomogram stays")

    def show_angle(self, angle: int | None) -> None:
        self._carry_out(f"angle {angle}")

    def set_regularizer(self, name: str) -> None:
        self._carry_out(f"regularizer {name}")
        self.announce(regularizer=name)

    def set_constraint(self, name: str) -> None:
        self._carry_out(f"constraint {name}")
        self.announce(constraint=name)

    def set_measuring(self, request: MeasuringRequest) -> None:
        self._carry_out(f"measuring {request.on}")
        self.announce(measuring=MeasuringState("off", request.on, request.settings))

    def keep_in_middle(self, on: bool) -> None:
        self._carry_out(f"keep {on}")
        self.announce(drift=replace(self.state.drift, on=on))

    def retake_background(self) -> None:
        self._carry_out("background")

    def snap(self) -> None:
        self._carry_out("snap")
        self.announce(snapped=self.played)

    def save_snap(self, request: SnapRequest) -> None:
        self._carry_out(f"save snap {request.sample_name}")
        self.saved = request

    def stage_place(self) -> StagePlace:
        self._carry_out("where")
        assert self.state.stage is not None
        return self.state.stage.place

    def move_stage(self, place: StagePlace) -> None:
        self._carry_out(f"move {place.name}")
        assert self.state.stage is not None
        went = replace(self.state.stage.place, x_um=place.x_um, y_um=place.y_um, z_um=place.z_um)
        self.announce(stage=StageState(went))

    def forecast(self, request: ForecastRequest) -> RecordingForecast:
        self.commands.append(("forecast", threading.current_thread().name))
        self.forecasts.append(request)
        return self.foreseen

    def record(self, request: RecordRequest) -> None:
        self.recorded = request
        self._carry_out(f"record {request.stacks} {request.tomograms is not None}")
        state = RecordingState(request.output, "1 of 20 scans, 95 s left", done=1, total=20)
        self.announce(recording=state)

    def pause_recording(self) -> None:
        self._carry_out("pause")
        assert self.state.recording is not None
        self.announce(recording=replace(self.state.recording, paused=True))

    def continue_recording(self) -> None:
        self._carry_out("continue")
        assert self.state.recording is not None
        self.announce(recording=replace(self.state.recording, paused=False))

    def finish_recording(self) -> None:
        self._carry_out("finish")
        assert self.state.recording is not None
        self.announce(recording=replace(self.state.recording, running=False))
