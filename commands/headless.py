"""Runs the live pipeline without a window: tomograms, a quality check, a file and an image."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from acquisition.choices import REGULARIZERS
from acquisition.errors import DataError
from files.pictures import draw_tomograms, write_png
from files.tomograms import TomogramWriter
from pipeline.live.instrument_client import InstrumentClient
from pipeline.live.quality_comparison import check_view
from pipeline.live.supervisor import Instrument
from pipeline.wire.sockets import PipelineError
from pipeline.wire.state import Phase, TomogramView
from pipeline.wire.tomogram_view import windowed
from reconstruction.tomogram import Tomogram

__all__ = ["run_headless"]

_PATIENCE_S = 180.0  # for the next tomogram


def run_headless(
    output_dir: Path, microscope: Path | None = None, device: str | None = None, scans: int = 3
) -> int:
    """Run the live pipeline without a window for ``scans`` tomograms.

    Writes them to a tomogram file in ``output_dir``, and an image of the last one.

    Returns
    -------
    int
        0; an error raises LiveTomoError.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    print(f"Running without a window: {scans} tomograms, then a file and an image.", flush=True)
    running = Instrument(microscope, device, quality=False, measuring=False)
    with running as instrument, instrument.client() as client:
        views = _collect(client, scans)
        whole = client.newest()
    views[-1] = windowed(whole)
    name = output_dir / f"livetomo-{time.strftime('%Y%m%d-%H%M%S')}"
    _write_views(name.with_suffix(".h5"), views, whole)
    _draw_view(name.with_suffix(".png"), views[-1])
    print(f"{len(views)} tomograms: {name.with_suffix('.h5')}")
    print(f"image of the last one: {name.with_suffix('.png')}")
    return 0


def _collect(client: InstrumentClient, count: int) -> list[TomogramView]:
    """Return the next tomograms; print the state of the instrument meanwhile."""
    views: list[TomogramView] = []
    message = "starting"
    deadline = time.monotonic() + _PATIENCE_S
    while len(views) < count:
        updates = client.poll(timeout_ms=500)
        state, view = updates.state, updates.tomogram
        if state is not None and state.phase is Phase.FAILED:
            raise PipelineError(state.message)
        if state is not None and state.phase is not Phase.LIVE and state.message != message:
            message = state.message
            print(message, flush=True)
        if view is not None:
            views.append(view)
            deadline = time.monotonic() + _PATIENCE_S
            print(f"tomogram {len(views)} of {count}: latency {view.latency_s:.2f} s", flush=True)
        if time.monotonic() > deadline:
            raise PipelineError(
                f"no tomogram within {_PATIENCE_S:g} s; the last status was: {message}"
            )
    return views


def _write_views(path: Path, views: Sequence[TomogramView], whole: TomogramView) -> None:
    """Write the tomograms, and how the last one, here ``whole``, compares with total variation."""
    first = _tomogram(views[0], views[0].raw)
    methods = {view.method for view in views if view.regularized is not None}
    held = {method: REGULARIZERS[method].volume for method in methods}
    with TomogramWriter(path, first, tuple(sorted({*held.values(), "tv"}))) as writer:
        for view in views:
            volumes = {}
            if view.regularized is not None:
                volumes[held[view.method]] = _tomogram(view, view.regularized)
            last = writer.append(_tomogram(view, view.raw), volumes)
        try:
            check = check_view(whole)
        except DataError as error:
            print(f"quality check of the last one failed: {error}")
            return
        reference = None if "tv" in volumes else _tomogram(view, check.reference)
        writer.append_quality(last, check.report, reference)
        print(f"the last one {check.report.summary()}")


def _tomogram(view: TomogramView, volume: Any) -> Tomogram:
    if view.optics is None:
        raise DataError("a tomogram must have its optics to be written to a file, got none")
    provenance = {"source": "live pipeline", "regularizer": view.method}
    return Tomogram(
        torch.from_numpy(volume),
        view.voxel_size_um,
        view.optics,
        view.timestamp,
        view.sequence,
        provenance,
    )


def _draw_view(path: Path, view: TomogramView) -> None:
    rows = [("raw", view.raw)]
    if view.regularized is not None:
        rows.append((view.method, view.regularized))
    write_png(path, draw_tomograms(rows, view.voxel_size_um, view.medium_index))
