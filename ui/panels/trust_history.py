"""How far tomograms could be trusted over the last hour; without Qt."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from pipeline.wire.file_state import CheckedScan
from pipeline.wire.state import (
    QualityView,
    TomogramView,
)

__all__ = ["TrustHistory"]

_HOUR_S = 3600.0
_KEPT_BYTES = 2**28  # of checks whose volumes can be looked at again
_MOST = 20_000  # points of a curve


class TrustHistory:
    """Residuals of all tomograms and results of all checks of the last hour."""

    def __init__(self) -> None:
        self._residuals: deque[tuple[float, float]] = deque(maxlen=_MOST)
        self.checks: deque[CheckedScan] = deque(maxlen=_MOST)
        self._views: deque[QualityView] = deque()

    def note_tomogram(self, tomogram: TomogramView) -> None:
        """Note the residual of a tomogram, if it is known."""
        if tomogram.data_residual is not None:
            self._residuals.append((tomogram.timestamp, tomogram.data_residual))
            self._forget(tomogram.timestamp)

    def note_check(self, check: QualityView) -> None:
        """Note a check; its volumes are kept while there is room for them."""
        report = check.report
        self.checks.append(
            CheckedScan(
                check.timestamp, check.sequence, report.ssim, report.residual, report.residual_tv
            )
        )
        self._views.append(check)
        size = check.reference.nbytes + check.error.nbytes
        while len(self._views) > max(_KEPT_BYTES // max(size, 1), 1):
            self._views.popleft()
        self._forget(check.timestamp)

    def _forget(self, now_s: float) -> None:
        while self._residuals and self._residuals[0][0] < now_s - _HOUR_S:
            self._residuals.popleft()
        while self.checks and self.checks[0].time_s < now_s - _HOUR_S:
            self.checks.popleft()

    @property
    def residuals(self) -> NDArray[np.float64]:
        """Time (s since the epoch) and residual of each tomogram, (points, 2)."""
        return np.array(self._residuals, np.float64).reshape(-1, 2)

    def view(self, sequence: int) -> QualityView | None:
        """Return the check of a scan; None if its volumes are no longer kept."""
        return next((view for view in self._views if view.sequence == sequence), None)
