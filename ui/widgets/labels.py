"""The few kinds of text and of frame that the window is made of."""

from PySide6.QtCore import Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QLabel, QSizePolicy

from ui.style import digits_font

__all__ = ["Card", "ElidedLabel", "digits", "dim", "heading", "say"]


class Card(QFrame):
    """A framed group on the surface colour; where height is short it is cut, never squeezed."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("card")
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)


def heading(text: str) -> QLabel:
    """Return the name of a group."""
    return _named("heading", text)


def dim(text: str = "") -> QLabel:
    """Return a label that stays in the background."""
    return _named("dim", text)


def _named(name: str, text: str) -> QLabel:
    label = QLabel(text)
    label.setObjectName(name)
    return label


def digits(label: QLabel) -> QLabel:
    """Give a label digits of equal width, for numbers that change."""
    label.setFont(digits_font(label.font()))
    return label


def say(label: QLabel, text: str, tone: str = "") -> None:
    """Set a label's text and tone ("", "warning" or "error")."""
    label.setText(text)
    if label.property("tone") != tone:
        label.setProperty("tone", tone)
        label.style().unpolish(label)
        label.style().polish(label)


class ElidedLabel(QLabel):
    """A line of text that ends in an ellipsis where it does not fit, and then has a tooltip."""

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
        """Return the text as it was set."""
        return self._full

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Fit the text to the new width."""
        self._fit()

    def _fit(self) -> None:
        line = " ".join(self._full.split())
        fitted = self.fontMetrics().elidedText(line, Qt.TextElideMode.ElideRight, self.width())
        super().setText(fitted)
        self.setToolTip(self._full if fitted != line else "")
