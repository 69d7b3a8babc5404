"""Text labels and frames of the window."""

from PySide6.QtCore import Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QLabel, QSizePolicy

from ui.style import digits_font

__all__ = ["Card", "ElidedLabel", "dim_label", "heading", "set_text", "tabular_digits"]


class Card(QFrame):
    """A framed group; where height is short it is clipped, never squeezed."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("card")
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)


def heading(text: str) -> QLabel:
    """Return a label for the title of a group."""
    return _named("heading", text)


def dim_label(text: str = "") -> QLabel:
    """Return a label in the dim text colour."""
    return _named("dim", text)


def _named(name: str, text: str) -> QLabel:
    label = QLabel(text)
    label.setObjectName(name)
    return label


def tabular_digits(label: QLabel) -> QLabel:
    """Give a label digits of equal width, for numbers that change."""
    label.setFont(digits_font(label.font()))
    return label


def set_text(label: QLabel, text: str, tone: str = "") -> None:
    """Set a label's text and tone ("", "warning" or "error")."""
    label.setText(text)
    if label.property("tone") != tone:
        label.setProperty("tone", tone)
        label.style().unpolish(label)
        label.style().polish(label)


class ElidedLabel(QLabel):
    """A line of text; if it does not fit it ends in an ellipsis and has a tooltip."""

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self._full = ""
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.setText(text)

    def setText(self, text: str) -> None:
        """Show ``text``, as much of it as fits."""
        self._full = text
        self._fit()

    def full_text(self) -> str:
        """Return the text without the ellipsis."""
        return self._full

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Fit the text to the new width."""
        self._fit()

    def _fit(self) -> None:
        line = " ".join(self._full.split())
        fitted = self.fontMetrics().elidedText(line, Qt.TextElideMode.ElideRight, self.width())
        super().setText(fitted)
        self.setToolTip(self._full if fitted != line else "")
