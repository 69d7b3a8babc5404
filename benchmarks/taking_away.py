"""Makes the pictures of docs/how-to/taking-results-away.md, and times what the window writes.

A simulated scan of several cells is reconstructed, regularized and shown in a window; the figure
and the movies are made of that window by the code behind its dialogs. With a display the 3D view is
in them: `xvfb-run -a python -m benchmarks.taking_away`.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.machine import machine

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication

    from pipeline.wire.state import MeasuredView
    from ui.window import Window

__all__ = ["main"]

_IMAGES = Path(__file__).parents[1] / "docs" / "images"
_TURN, _WIDTH_PX = 36, 640


def main(argv: Sequence[str] = ()) -> int:
    """Make the pictures and print the times."""
    parser = argparse.ArgumentParser(prog="benchmarks.taking_away", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=_IMAGES, help="a folder")
    parser.add_argument("--kind", default="several", help="of the simulated sample")
    options = parser.parse_args(argv)
    if not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cells.h5"
        _simulate(file, options.kind)
        _make(file, options.output)
    return 0


def _simulate(file: Path, kind: str) -> None:
    import livetomo

    scan = livetomo.simulate_scan(kind, seed=2, frame=256)[0]
    raw = livetomo.reconstruct(scan)
    livetomo.save_tomograms(file, [livetomo.regularize(raw, "deep")])


def _make(file: Path, output: Path) -> None:
    from PySide6.QtWidgets import QApplication

    from pipeline.live.playback import open_playback
    from ui.window import Window

    application = QApplication.instance() or QApplication(["LiveTomo"])
    assert isinstance(application, QApplication)
    with open_playback(file) as playback:
        window = Window(playback, title=f"LiveTomo - {file.name}", timeline=playback)
        window.resize(1280, 800)
        window.show()
        try:
            _show(application, window)
            _write(window, output)
        finally:
            window.close_without_asking()
            window.finish_commands()


def _show(application: "QApplication", window: "Window") -> None:
    """Show the regularized volume around its cells, in 3D, too, with the outlines of objects."""
    while window.tomogram is None:
        application.processEvents()
        time.sleep(0.01)
    window.show_objects(_measured(window))
    largest = window.measured.objects[0] if window.measured is not None else None
    near = dict(enumerate(largest.centroid_um)) if largest is not None else {}
    state = window.state.cursor_at(near)
    window.show_state(replace(state, solid=True).zoomed(1.8))
    solid = window.picture.solid
    while solid is not None and not solid.problem and solid.canvas.drawn is None:
        application.processEvents()
        time.sleep(0.01)


def _measured(window: "Window") -> "MeasuredView":
    """Return the objects of the scan on display."""
    from measuring.measure_volume import measure_volume
    from measuring.measuring_settings import MeasuringSettings
    from pipeline.wire.state import MeasuredView

    view = window.tomogram
    assert view is not None and view.regularized is not None and view.optics is not None
    settings = MeasuringSettings()
    found = measure_volume(view.regularized, view.voxel_size_um, view.optics, settings)
    return MeasuredView(
        found.objects, found.labels, view.voxel_size_um, view.medium_index, view.method,
        found.threshold, settings, view.sequence, view.timestamp, 0.0,
    )  # fmt: skip


def _write(window: "Window", output: Path) -> None:
    from files.figures.movies import write_movie
    from files.figures.writing import save_figure
    from ui.taking_away.figure_dialog import FigurePlan
    from ui.taking_away.movie_frames import MoviePlan, frames_of
    from ui.taking_away.snapshot import take_snapshot
    from ui.taking_away.worker import Progress

    snapshot = take_snapshot(window)
    assert snapshot is not None
    pictures = None
    if snapshot.solid is not None:
        from ui.taking_away.solid_pictures import SolidPictures

        pictures = SolidPictures()
    progress = Progress(lambda done, total: None)
    output.mkdir(parents=True, exist_ok=True)
    print(f"machine: {machine()}")
    try:
        plan = FigurePlan(dpi=150.0)
        for ending in (".png", ".svg", ".pdf"):
            begin = time.perf_counter()
            path = output / f"figure{ending}" if ending == ".png" else output / f"unused{ending}"
            save_figure(plan.drawn(snapshot, progress, pictures), path, plan.dpi)
            print(f"a figure as {ending[1:].upper()}: {time.perf_counter() - begin:.2f} s")
            if ending != ".png":
                path.unlink()
        kind = "sweep" if pictures is None else "turn"
        begin = time.perf_counter()
        movie = MoviePlan(kind, _WIDTH_PX, _TURN)
        frames = frames_of(movie, snapshot, progress, pictures)
        count = write_movie(output / "movie.gif", frames, 12.0)
        each = (time.perf_counter() - begin) / count
        print(f"a frame of a {kind} as GIF, {_WIDTH_PX} pixels wide: {each:.2f} s")
    finally:
        if pictures is not None:
            pictures.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
