"""Places of the stage, as clients name them, ask for them and go to them; what is kept there."""

from dataclasses import dataclass
from datetime import datetime

__all__ = ["HERE", "SnapRequest", "StagePlace", "StageState", "ViewPlace"]


@dataclass(frozen=True, slots=True)
class StagePlace:
    """A place of the stage in um; None along an axis that is absent, or that stays where it is."""

    x_um: float | None = None
    y_um: float | None = None
    z_um: float | None = None
    name: str = ""

    @property
    def text(self) -> str:
        """The place in words: "x 12.0, y -3.5, z 0.8 um"."""
        axes = zip("xyz", (self.x_um, self.y_um, self.z_um), strict=True)
        return ", ".join(f"{axis} {um:.1f}" for axis, um in axes if um is not None) + " µm"


@dataclass(frozen=True, slots=True)
class StageState:
    """The stage of a microscope.

    Parameters
    ----------
    place : StagePlace
        Where it was when it was last asked; None along an axis without a device.
    moving : bool
        A move was requested and is not over.
    problem : str
        Why the last move failed; empty if it did not.
    position : str
        Label of the position that it is at: of a time-lapse, or the one it was sent to by name; "":
        none by name.
    silent_since_s : float or None
        Since when it has not answered, seconds since the epoch; None: it answers.
    silence : str
        What it said, or did not say, when it was asked then.
    """

    place: StagePlace
    moving: bool = False
    problem: str = ""
    position: str = ""
    silent_since_s: float | None = None
    silence: str = ""

    @property
    def text(self) -> str:
        """Where it is, in words: "control: x 12.0, y -3.5 um"."""
        return f"{self.position}: {self.place.text}" if self.position else self.place.text

    @property
    def silent(self) -> str:
        """Since when it has not answered, and why, for the user; "" if it answers."""
        if self.silent_since_s is None:
            return ""
        since = datetime.fromtimestamp(self.silent_since_s).astimezone()
        return (
            f"the stage has not answered since {since:%H:%M:%S}, and is asked again from time to "
            f"time ({self.silence})"
        )

    @property
    def sideways(self) -> bool:
        """Whether it moves in x and y."""
        return self.place.x_um is not None

    @property
    def focus(self) -> bool:
        """Whether it moves in z."""
        return self.place.z_um is not None


@dataclass(frozen=True, slots=True)
class ViewPlace:
    """Where the field of view of a scan was.

    Parameters
    ----------
    position : str
        Label of the stage position; "" where there is none by name.
    correction_um : (x, y, z)
        How far it had been moved from where that position began, along the axes of the tomogram.
    """

    position: str = ""
    correction_um: tuple[float, float, float] = (0.0, 0.0, 0.0)


HERE = ViewPlace()  # no position by name, and never moved


@dataclass(frozen=True, slots=True)
class SnapRequest:
    """A wish to save the last snap.

    Parameters
    ----------
    output : str
        Path of the recording to write, a new file.
    sample_name, notes : str
        Written into the file.
    place_name : str
        Of the stage position.
    """

    output: str
    sample_name: str = ""
    notes: str = ""
    place_name: str = ""
