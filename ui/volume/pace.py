"""How finely the 3D view draws: as finely as the time for a frame allows, finest when at rest.

A picture costs pixels times samples along each ray. What one of these costs is measured on every
picture, and the next one is drawn at the finest quality that fits into its time.
"""

from dataclasses import dataclass, replace

__all__ = ["FINEST", "FULL", "QUALITIES", "Pace", "Quality"]

SMOOTHING = 0.5  # weight of the newest measurement


@dataclass(frozen=True, slots=True)
class Quality:
    """How finely a picture is drawn.

    Parameters
    ----------
    scale : float
        Pixels of the framebuffer along an edge, over those of the widget; above 1 the picture is
        averaged, which smooths edges.
    step : float
        Distance of samples along a ray, in edges of the smallest voxel.
    """

    scale: float
    step: float

    @property
    def cost(self) -> float:
        """Relative cost: pixels times samples."""
        return self.scale * self.scale / self.step


QUALITIES = (
    Quality(1 / 6, 3.0),
    Quality(1 / 4, 2.0),
    Quality(1 / 3, 2.0),
    Quality(1 / 2, 2.0),
    Quality(1 / 2, 1.0),
    Quality(1.0, 1.0),
    Quality(1.0, 0.6),
    Quality(2.0, 0.6),
)
FULL, FINEST = QUALITIES[-2], QUALITIES[-1]
BLINK_S, PATIENCE_S = 0.1, 3.0


@dataclass(frozen=True, slots=True)
class Pace:
    """What a picture costs here: ``seconds`` for a million pixels at relative cost 1."""

    seconds: float = 0.5

    def measured(self, quality: Quality, pixels: int, seconds: float) -> "Pace":
        """Return the pace after a picture for ``pixels`` of the widget took ``seconds``."""
        unit = seconds / max(quality.cost * pixels / 1e6, 1e-6)
        return replace(self, seconds=self.seconds * (1 - SMOOTHING) + unit * SMOOTHING)

    def expected(self, quality: Quality, pixels: int) -> float:
        """Return the seconds that a picture will take."""
        return self.seconds * quality.cost * pixels / 1e6

    def quality(self, pixels: int, budget_s: float) -> Quality:
        """Return the finest quality that takes at most ``budget_s``; the coarsest if none does."""
        fitting = (q for q in reversed(QUALITIES) if self.expected(q, pixels) <= budget_s)
        return next(fitting, QUALITIES[0])

    def finer(self, quality: Quality, pixels: int) -> tuple[Quality, ...]:
        """Return what is drawn next while at rest: full resolution, then the finest.

        The finest is left out where nobody would wait for it, full resolution where the finest
        takes no longer than a blink.
        """
        finer = [q for q in (FULL, FINEST) if q.cost > quality.cost]
        if finer and self.expected(FINEST, pixels) < BLINK_S:
            return (FINEST,)
        if len(finer) > 1 and self.expected(FINEST, pixels) > PATIENCE_S:
            return (FULL,)
        return tuple(finer)
