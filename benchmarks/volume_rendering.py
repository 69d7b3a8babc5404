"""Ways to draw a volume in 3D, side by side: pictures a second, upload, memory, start, size.

Each runs in a process of its own on the same volume (64 x 320 x 320, a cell with noise) at
500 x 500 pixels: LiveTomo's own ray caster, and those of vispy, pygfx and pyqtgraph.opengl that are
installed (``pip install vispy``; ``pygfx rendercanvas``; ``PyOpenGL``). A picture counts when its
pixels have been read back. Reduced sampling is half of the pixels along an edge and half of the
samples along a ray. The processor's time is that of all cores: on a busy machine it tells more.
"""

import argparse
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine, peak_mb, resident_mb

__all__ = ["main", "measure"]

_RESULT = Path(__file__).parent / "results" / "volume_rendering.txt"
_SHAPE = (64, 320, 320)
_VOXEL_UM = (0.356, 0.111, 0.111)
_MEDIUM = 1.337
_PIXELS = 500
_PEERS = {
    "LiveTomo": (),
    "vispy": ("vispy",),
    "pygfx": ("pygfx", "wgpu", "rendercanvas"),
    "pyqtgraph": ("pyqtgraph", "PyOpenGL"),
}
Volume = NDArray[np.float32]
Figures = dict[str, Any]
Draw = Callable[[], object]


def cell(seed: int = 0) -> Volume:
    """Return RI of a cell with a nucleus, and noise: (64, 320, 320) float32."""
    z, y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in _SHAPE)
    radius = np.sqrt(
        (1.2 * z[:, None, None]) ** 2 + 2 * y[None, :, None] ** 2 + 2 * x[None, None, :] ** 2
    )
    noise = np.random.default_rng(seed).standard_normal(_SHAPE, np.float32)
    values = _MEDIUM + 0.03 * (radius < 0.9) + 0.01 * (radius < 0.4) + 0.001 * noise
    return np.asarray(values, np.float32)


def measure(name: str, seconds: float) -> Figures:
    """Return the figures of one way to draw, in this process."""
    ways = {
        "LiveTomo": _own,
        "vispy": _vispy,
        "pygfx": _pygfx,
        "pyqtgraph": _pyqtgraph,
    }
    volumes = (cell(0), cell(1))
    before = resident_mb()
    begun = time.perf_counter()
    figures: Figures = {"name": name} | ways[name](volumes, seconds, begun)
    return figures | {"memory_mb": peak_mb() - before, "installed_mb": _installed_mb(name)}


def _rate(draw: Draw, seconds: float) -> Figures:
    """Return pictures a second and processor time of all cores for one, after a first picture."""
    draw()
    begun, used, count = time.perf_counter(), time.process_time(), 0
    while count < 2 or time.perf_counter() - begun < seconds:
        draw()
        count += 1
    took = time.perf_counter() - begun
    return {"fps": count / took, "cpu_ms": 1000 * (time.process_time() - used) / count}


def _uploads(take: Callable[[Volume], object], volumes: tuple[Volume, Volume]) -> float:
    """Return the ms of a new volume, its first picture included: the best of four."""
    times = []
    for number in range(4):
        begun = time.perf_counter()
        take(volumes[number % 2])
        times.append(time.perf_counter() - begun)
    return 1000 * min(times)


def _own(volumes: tuple[Volume, Volume], seconds: float, begun: float) -> Figures:
    from dataclasses import replace

    from PySide6.QtGui import QGuiApplication, QOffscreenSurface

    from ui.sections.contrast import Contrast
    from ui.sections.voxel_grid import VoxelGrid
    from ui.volume.pace import Quality
    from ui.volume.prepared_volume import prepare
    from ui.volume.ray_caster import RayCaster, Scene, surface_format
    from ui.volume.volume_state import Mode, Surface, VolumeState

    application = QGuiApplication([])
    loaded = time.perf_counter() - begun
    screen = QOffscreenSurface()
    screen.setFormat(surface_format())
    screen.create()
    caster = RayCaster(screen)
    grid = VoxelGrid(_SHAPE, _VOXEL_UM)
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    surface = Surface("membrane", 1.35, "#b4cdec", 1.0)  # one, opaque: as the peers draw it
    state = VolumeState(grid=grid, surfaces=(surface,))
    full, reduced = Quality(1.0, 1.0), Quality(0.5, 2.0)

    def draw(mode: Mode, quality: Quality) -> object:
        scene = Scene(
            state=replace(state, mode=mode),
            cursor_um=(0.0, 0.0, 0.0),
            medium_index=_MEDIUM,
            contrast=Contrast(1.33, 1.38),
            colormap="gray",
            width=_PIXELS,
            height=_PIXELS,
            colours=grey,
        )
        return caster.draw(scene, quality)

    def take(volume: Volume) -> None:
        caster.upload(prepare(volume, 10**9))
        draw(Mode.MAXIMUM, full)

    caster.upload(prepare(volumes[0], 10**9))
    figures: Figures = {"import_s": loaded, "renderer": caster.renderer}
    for mode in Mode:
        figures[f"{mode}"] = _rate(partial(draw, mode, full), seconds)
        figures[f"{mode} reduced"] = _rate(partial(draw, mode, reduced), seconds)
    figures["upload_ms"] = _uploads(take, volumes)
    caster.close()
    screen.destroy()
    application.quit()
    return figures


def contrast_of(volume: Volume) -> Volume:
    """Return the contrast from 0 to 1: vispy's methods end a ray where a value reaches its top."""
    return np.asarray(np.clip((volume - np.float32(_MEDIUM)) / np.float32(0.045), 0, 1))


def _vispy(volumes: tuple[Volume, Volume], seconds: float, begun: float) -> Figures:
    vispy: Any = importlib.import_module("vispy")
    vispy.use("pyside6")
    scene: Any = importlib.import_module("vispy.scene")
    application: Any = importlib.import_module("vispy.app")
    loaded = time.perf_counter() - begun
    canvas = scene.SceneCanvas(size=(_PIXELS, _PIXELS), show=True)
    view = canvas.central_widget.add_view()
    volume = scene.visuals.Volume(
        contrast_of(volumes[0]), clim=(0, 1), method="mip", texture_format="auto", parent=view.scene
    )
    scales = [size / _VOXEL_UM[2] for size in reversed(_VOXEL_UM)]
    volume.transform = scene.transforms.STTransform(scale=scales)
    volume.attenuation = 0.02
    view.camera = scene.cameras.TurntableCamera(fov=0, elevation=30, azimuth=30)
    view.camera.set_range()
    application.process_events()
    gl: Any = importlib.import_module("vispy.gloo.gl")
    figures: Figures = {"import_s": loaded, "renderer": str(gl.glGetParameter(gl.GL_RENDERER))}
    methods = {"maximum": "mip", "attenuated": "attenuated_mip", "surfaces": "iso"}
    for mode, method in methods.items():
        volume.method = method
        if method == "iso":
            volume.threshold = 0.3
        for suffix, pixels, step in (("", _PIXELS, 1.0), (" reduced", _PIXELS // 2, 2.0)):
            volume.relative_step_size = step
            render = partial(canvas.render, size=(pixels, pixels))
            figures[mode + suffix] = _rate(render, seconds)
    volume.method, volume.relative_step_size = "mip", 1.0

    def take(data: Volume) -> None:
        volume.set_data(contrast_of(data), clim=(0, 1))
        canvas.render(size=(_PIXELS, _PIXELS))

    figures["upload_ms"] = _uploads(take, volumes)
    canvas.close()
    return figures


def _pygfx(volumes: tuple[Volume, Volume], seconds: float, begun: float) -> Figures:
    gfx: Any = importlib.import_module("pygfx")
    offscreen: Any = importlib.import_module("rendercanvas.offscreen")
    loaded = time.perf_counter() - begun
    figures: Figures = {"import_s": loaded}
    for suffix, pixels, step in (("", _PIXELS, 1.0), (" reduced", _PIXELS // 2, 2.0)):
        canvas = offscreen.RenderCanvas(size=(pixels, pixels), pixel_ratio=1)
        renderer = gfx.renderers.WgpuRenderer(canvas)
        if "renderer" not in figures:
            figures["renderer"] = str(renderer.device.adapter.info.get("device", "wgpu"))
        scene = gfx.Scene()
        texture = gfx.Texture(volumes[0], dim=3)
        geometry = gfx.Geometry(grid=texture)
        clim = {"clim": (1.33, 1.38)}
        kinds = {
            "maximum": gfx.VolumeMipMaterial(**clim),
            "surfaces": gfx.VolumeIsoMaterial(threshold=1.35, step_size=step, **clim),
        }
        volume = gfx.Volume(geometry, kinds["maximum"])
        volume.local.scale = [size / _VOXEL_UM[2] for size in reversed(_VOXEL_UM)]
        scene.add(volume, gfx.AmbientLight(), gfx.DirectionalLight())
        camera = gfx.OrthographicCamera(400, 400)
        camera.show_object(volume, view_dir=(1, 1, 1))

        def draw(renderer: Any = renderer, scene: Any = scene, camera: Any = camera) -> object:
            renderer.render(scene, camera)
            return renderer.snapshot()

        for mode, material in kinds.items():
            volume.material = material
            figures[mode + suffix] = _rate(draw, seconds)
        if not suffix:
            volume.material = kinds["maximum"]

            def take(data: Volume, texture: Any = texture, draw: Draw = draw) -> None:
                texture.set_data(data)
                draw()

            figures["upload_ms"] = _uploads(take, volumes)
    return figures


def _pyqtgraph(volumes: tuple[Volume, Volume], seconds: float, begun: float) -> Figures:
    pg: Any = importlib.import_module("pyqtgraph")
    gl: Any = importlib.import_module("pyqtgraph.opengl")
    loaded = time.perf_counter() - begun
    application = pg.mkQApp()
    widget = gl.GLViewWidget()
    widget.resize(_PIXELS, _PIXELS)
    widget.setCameraPosition(distance=700, elevation=30, azimuth=30)

    def coloured(volume: Volume) -> NDArray[np.uint8]:
        share = np.clip((volume - 1.33) / 0.05, 0, 1)
        data = np.empty((*volume.T.shape, 4), np.uint8)
        data[..., :3] = (share.T * 255)[..., None]
        data[..., 3] = share.T**2 * 60
        return data

    item = gl.GLVolumeItem(coloured(volumes[0]), smooth=True)
    item.scale(1, 1, _VOXEL_UM[0] / _VOXEL_UM[2])
    item.translate(-160, -160, -100)
    widget.addItem(item)
    widget.show()
    application.processEvents()

    def draw() -> object:
        return widget.grabFramebuffer()

    figures: Figures = {"import_s": loaded, "attenuated": _rate(draw, seconds)}
    widget.makeCurrent()
    functions: Any = importlib.import_module("OpenGL.GL")
    figures["renderer"] = functions.glGetString(functions.GL_RENDERER).decode()

    def take(volume: Volume) -> None:
        item.setData(coloured(volume))
        draw()

    figures["upload_ms"] = _uploads(take, volumes)
    widget.close()
    return figures


def _installed_mb(name: str) -> float:
    """Return the size of the packages that a way to draw adds to PySide6, numpy and pyqtgraph."""
    files = [
        file.locate()
        for package in _PEERS[name]
        if package != "pyqtgraph"
        for file in distribution(package).files or ()
    ]
    return sum(Path(str(f)).stat().st_size for f in files if Path(str(f)).is_file()) / 1e6


def _report(rows: Sequence[Figures]) -> str:
    modes = ("maximum", "attenuated", "surfaces")
    lines = [
        f"Volume of {' x '.join(map(str, _SHAPE))} float32, {_PIXELS} x {_PIXELS} pixels",
        f"machine: {machine()}",
        "",
        "pictures a second, and processor ms a picture over all cores; full / reduced sampling",
        f"{'':<11}" + "".join(f"{mode:>26}" for mode in modes),
    ]
    for row in rows:
        cells = [_cell(row.get(mode), row.get(f"{mode} reduced")) for mode in modes]
        lines.append(f"{row['name']:<11}" + "".join(f"{text:>26}" for text in cells))
    lines += [
        "",
        f"{'':<11}{'new volume':>12}{'memory':>10}{'import':>9}{'installs':>10}  draws with",
    ]
    for row in rows:
        if "problem" in row:
            lines.append(f"{row['name']:<11}  {row['problem']}")
            continue
        lines.append(
            f"{row['name']:<11}{row['upload_ms']:9.0f} ms{row['memory_mb']:7.0f} MB"
            f"{row['import_s']:7.2f} s{row['installed_mb']:7.0f} MB  {row['renderer']}"
        )
    return "\n".join(lines)


def _cell(full: Figures | None, reduced: Figures | None) -> str:
    if full is None:
        return "-"
    parts = [full] if reduced is None else [full, reduced]
    rates = " / ".join(f"{part['fps']:.1f}" for part in parts)
    costs = " / ".join(f"{part['cpu_ms']:.0f}" for part in parts)
    return f"{rates} ({costs} ms)"


def _in_a_process(name: str, seconds: float) -> Figures:
    command = [sys.executable, "-m", "benchmarks.volume_rendering", "--one", name]
    command += ["--seconds", str(seconds)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in result.stdout.splitlines() if line.startswith("{")]
    if lines:
        figures: Figures = json.loads(lines[-1])
        return figures
    why = (result.stderr.strip().splitlines() or [f"exit status {result.returncode}"])[-1]
    return {"name": name, "problem": why}


def _missing(name: str) -> str | None:
    for package in _PEERS[name]:
        try:
            distribution(package)
        except PackageNotFoundError:
            return f"{package} is not installed"
    return None


def main(argv: Sequence[str] = ()) -> int:
    """Measure, print and save the result."""
    parser = argparse.ArgumentParser(prog="benchmarks.volume_rendering", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each figure")
    parser.add_argument("--one", choices=tuple(_PEERS), help="measure one in this process")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(argv)
    if options.one:
        print(json.dumps(measure(options.one, options.seconds)))
        return 0
    rows = []
    for name in _PEERS:
        missing = _missing(name)
        rows.append(
            {"name": name, "problem": missing} if missing else _in_a_process(name, options.seconds)
        )
    report = _report(rows)
    print(json.dumps({"machine": machine(), "rows": rows}) if options.json else report)
    _RESULT.parent.mkdir(exist_ok=True)
    _RESULT.write_text(report + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
