"""Colours and fonts of the window: dark, for use in a dark room."""

import math
from typing import Final

from PySide6.QtGui import QColor, QFont, QPalette
from PySide6.QtWidgets import QApplication

from pipeline.wire.state import Phase

__all__ = [
    "AXIS_COLOURS",
    "BUSY_PHASES",
    "CONTROL_PX",
    "PHASE_COLOURS",
    "STYLE_SHEET",
    "apply_style",
    "digits_font",
    "nice_step",
    "signed",
]

WINDOW: Final = "#12161b"
SURFACE: Final = "#1a2027"
EDGE: Final = "#2b333d"
TEXT: Final = "#cdd5de"
DIM: Final = "#8a95a3"
ACCENT: Final = "#3fb6a8"
AMBER: Final = "#e0a83a"
RED: Final = "#f0685f"

# z, y, x: each crosshair line carries the colour of the axis on which it marks a position.
AXIS_COLOURS: Final = ("#6cb2f0", "#8fc97a", "#e58189")

PHASE_COLOURS: Final = {
    Phase.STARTING: "#6cb2f0",
    Phase.BACKGROUND: "#6cb2f0",
    Phase.LIVE: "#52c878",
    Phase.IDLE: DIM,
    Phase.FAILED: RED,
    Phase.STOPPED: DIM,
}
CONTROL_PX: Final = 28
BUSY_PHASES: Final = (Phase.STARTING, Phase.BACKGROUND)

# Buttons and labels only: a style sheet on spin and combo boxes costs them their arrows and text.
STYLE_SHEET: Final = f"""
QFrame#card {{ background: {SURFACE}; border: 1px solid {EDGE}; border-radius: 6px; }}
QFrame#bar {{ background: {SURFACE}; border-top: 1px solid {EDGE}; }}
QLabel#heading {{ color: {DIM}; font-weight: 600; }}
QLabel#dim {{ color: {DIM}; }}
QLabel#title {{ font-size: 16pt; font-weight: 600; }}
QLabel#index {{ font-size: 20pt; font-weight: 600; }}
QLabel[tone="warning"] {{ color: {AMBER}; }}
QLabel[tone="error"] {{ color: {RED}; }}
QPushButton {{
    background: {SURFACE}; border: 1px solid {EDGE}; border-radius: 5px; padding: 4px 10px;
    min-height: 20px;
}}
QPushButton:hover {{ border-color: {DIM}; }}
QPushButton:pressed {{ background: {EDGE}; }}
QPushButton:disabled {{ color: #5b6570; border-color: #232a32; }}
QPushButton:checked {{ background: #1f4a48; border-color: {ACCENT}; color: #e6fffb; }}
QPushButton#left {{ border-top-right-radius: 0; border-bottom-right-radius: 0; }}
QPushButton#right {{ border-top-left-radius: 0; border-bottom-left-radius: 0; border-left: none; }}
QPushButton#primary {{ font-weight: 600; min-width: 64px; }}
QPushButton#small {{ padding: 0 8px; min-height: 18px; }}
QToolTip {{ background: {SURFACE}; color: {TEXT}; border: 1px solid {EDGE}; padding: 4px; }}
"""


def apply_style(application: QApplication) -> None:
    """Give the application its palette, its fonts and its style sheet."""
    application.setStyle("Fusion")
    application.setPalette(_palette())
    font = QFont()
    font.setFamilies(["Inter", "Segoe UI", "SF Pro Text", "Noto Sans", "DejaVu Sans"])
    font.setPointSizeF(10.0)
    application.setFont(font)
    application.setStyleSheet(STYLE_SHEET)


def _palette() -> QPalette:
    role = QPalette.ColorRole
    palette = QPalette(QColor(SURFACE), QColor(WINDOW))
    for name, colour in (
        (role.Base, SURFACE),
        (role.Text, TEXT),
        (role.WindowText, TEXT),
        (role.ButtonText, TEXT),
        (role.PlaceholderText, DIM),
        (role.Highlight, "#2a6f6a"),
        (role.HighlightedText, "#ffffff"),
        (role.ToolTipBase, SURFACE),
        (role.ToolTipText, TEXT),
    ):
        palette.setColor(name, QColor(colour))
    for name in (role.Text, role.WindowText, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, name, QColor("#5b6570"))
    return palette


def digits_font(base: QFont) -> QFont:
    """Return ``base`` with digits of equal width, so that changing numbers do not jitter."""
    font = QFont(base)
    font.setFeature(QFont.Tag("tnum"), 1)
    return font


def nice_step(longest: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that is not below ``longest``."""
    decade = 10.0 ** math.floor(math.log10(longest))
    return next(step * decade for step in (1, 2, 5, 10) if step * decade >= longest * (1 - 1e-9))


def signed(value: float, decimals: int) -> str:
    """Return a number with its sign (a typographic minus), and zero without one."""
    text = f"{value:+.{decimals}f}"
    if float(text) == 0:
        return f"{0:.{decimals}f}"
    return text.replace("-", "\N{MINUS SIGN}")
