"""Places of the stage, as clients name them, ask for them and go to them; what is kept there."""

from dataclasses import dataclass

__all__ = ["SnapRequest", "StagePlace", "StageState"]


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
    """

    place: StagePlace
    moving: bool = False
    problem: str = ""

    @property
    def sideways(self) -> bool:
        """Whether it moves in x and y."""
        return self.place.x_um is not None

    @property
    def focus(self) -> bool:
        """Whether it moves in z."""
        return self.place.z_um is not None


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
