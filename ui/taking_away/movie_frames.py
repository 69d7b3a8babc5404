"""The frames of a movie: time points, a turn of the 3D view, or a sweep through the sections."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError
from files.figures.movies import clock
from files.figures.panels import DARK, Style
from files.figures.views import MM, views_figure
from files.figures.writing import pixels_of
from ui.sections.voxel_grid import AXES, Z
from ui.style import signed
from ui.taking_away.snapshot import Choices, Snapshot, views_of
from ui.taking_away.worker import Progress
from ui.viewed_client import TimePoints
from ui.volume.volume_camera import VolumeCamera

if TYPE_CHECKING:
    from ui.taking_away.solid_pictures import SolidPainter, SolidPictures

__all__ = ["KINDS", "Along", "MoviePlan", "frames_of"]

KINDS: Final = ("time", "turn", "sweep")
_DPI: Final = 110.0
_TURN: Final = 360.0


@dataclass(frozen=True, slots=True)
class Along:
    """The scans of a movie of time.

    Parameters
    ----------
    points : TimePoints
    scans : tuple of int
    method, constraint : str
        Of the regularized volume.
    """

    points: TimePoints
    scans: tuple[int, ...]
    method: str
    constraint: str = "auto"


@dataclass(frozen=True, slots=True)
class MoviePlan:
    """What a movie shows and how.

    Parameters
    ----------
    kind : str
        One of KINDS.
    width_px : int
    frames : int
        Of a turn.
    style : Style
    choices : Choices
    """

    kind: str
    width_px: int = 800
    frames: int = 90
    style: Style = DARK
    choices: Choices = Choices()  # noqa: RUF009  # frozen


@dataclass(frozen=True, slots=True, eq=False)
class _Moment:
    """What one frame shows."""

    snapshot: Snapshot
    stamp: str = ""
    camera: VolumeCamera | None = None


def frames_of(
    plan: MoviePlan,
    snapshot: Snapshot,
    progress: Progress,
    pictures: "SolidPictures | None" = None,
    along: Along | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Draw the frames of a movie one by one, (y, x, 3) uint8, as they are asked for.

    Parameters
    ----------
    plan : MoviePlan
    snapshot : Snapshot
        The views.
    progress : Progress
        Told of every frame; a cancelled one ends this with Stopped.
    pictures : SolidPictures or None
        Draws the 3D view; needed for a turn.
    along : Along or None
        Needed for a movie of time.

    Raises
    ------
    ConfigurationError
        If the kind needs what there is not.
    """
    if plan.kind not in KINDS:
        raise ConfigurationError(f"a movie must be of {', '.join(KINDS)}, got {plan.kind!r}")
    if plan.kind == "time" and along is None:
        raise ConfigurationError(
            "a movie of time needs at least two scans: of a file, or the last ones of an instrument"
        )
    if plan.kind == "turn" and (pictures is None or snapshot.solid is None):
        raise ConfigurationError("a turn needs the 3D view: show it (key 4) first")
    with ExitStack() as stack:
        painter = None
        if pictures is not None and snapshot.solid is not None:
            painter = stack.enter_context(pictures.painter(progress.stop.is_set))
        total = _count(plan, snapshot, along)
        for number, moment in enumerate(_moments(plan, snapshot, progress, along), 1):
            yield _frame(plan, moment, painter)
            progress(number, total)


def _count(plan: MoviePlan, snapshot: Snapshot, along: Along | None) -> int:
    if plan.kind == "time":
        assert along is not None
        return len(along.scans)
    return plan.frames if plan.kind == "turn" else snapshot.grid.shape[Z]


def _moments(
    plan: MoviePlan, snapshot: Snapshot, progress: Progress, along: Along | None
) -> Iterator[_Moment]:
    kinds: dict[str, Callable[[], Iterator[_Moment]]] = {
        "time": lambda: _in_time(snapshot, progress, along),
        "turn": lambda: _around(snapshot, plan.frames),
        "sweep": lambda: _through(snapshot),
    }
    return kinds[plan.kind]()


def _in_time(snapshot: Snapshot, progress: Progress, along: Along | None) -> Iterator[_Moment]:
    assert along is not None
    first = None
    now = snapshot
    for scan in along.scans:
        view = along.points.view((scan, along.method, along.constraint), progress.stop)
        first = view.timestamp if first is None else first
        now = now.of(view)  # a followed object is followed from scan to scan
        yield _Moment(now, clock(view.timestamp - first))


def _around(snapshot: Snapshot, frames: int) -> Iterator[_Moment]:
    assert snapshot.solid is not None
    for number in range(frames):
        camera = snapshot.solid.camera.turned(_TURN * number / frames, 0.0)
        yield _Moment(snapshot, camera=camera)


def _through(snapshot: Snapshot) -> Iterator[_Moment]:
    state = replace(snapshot.state, projection=False, followed=())
    for z in range(snapshot.grid.shape[Z]):
        now = replace(state, cursor=(z, *state.cursor[1:]))
        stamp = f"{AXES[Z]} {signed(now.position_um[Z], 2)} µm"
        yield _Moment(replace(snapshot, state=now), stamp)


def _frame(plan: MoviePlan, moment: _Moment, painter: "SolidPainter | None") -> NDArray[np.uint8]:
    solid = None
    if painter is not None:
        share = 1.0 if moment.snapshot.state.enlarged == "3D" else 0.5
        height = max(round(share * plan.width_px), 64)
        solid = painter.panel(moment.snapshot, height, _DPI, moment.camera)
    views = views_of(moment.snapshot, plan.choices, solid, moment.stamp)
    # letters keep their size in pixels: the paper is as wide as the pixels need
    return pixels_of(views_figure(views, plan.width_px / _DPI / MM, plan.style), _DPI)
