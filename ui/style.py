"""Colours and fonts of the window: dark, for a dark room, or light, for a bright one."""

import math
from dataclasses import dataclass
from typing import Final

from PySide6.QtGui import QColor, QFont, QPalette
from PySide6.QtWidgets import QApplication

from pipeline.wire.state import Phase

__all__ = [
    "AXIS_COLOURS",
    "BUSY_PHASES",
    "CONTROL_PX",
    "FIELD_PX",
    "IMAGE",
    "THEMES",
    "Theme",
    "apply_style",
    "digits_font",
    "nice_step",
    "phase_colour",
    "signed",
    "theme",
]


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of everything around the images, as #rrggbb."""

    window: str
    surface: str
    edge: str
    text: str
    dim: str
    disabled: str
    accent: str
    checked: str
    checked_text: str
    highlight: str
    blue: str
    green: str
    amber: str
    red: str


THEMES: Final = {
    "dark": Theme(
        window="#12161b",
        surface="#1a2027",
        edge="#2b333d",
        text="#cdd5de",
        dim="#8a95a3",
        disabled="#5b6570",
        accent="#3fb6a8",
        checked="#1f4a48",
        checked_text="#e6fffb",
        highlight="#2a6f6a",
        blue="#6cb2f0",
        green="#52c878",
        amber="#e0a83a",
        red="#f0685f",
    ),
    "light": Theme(
        window="#eef1f4",
        surface="#ffffff",
        edge="#cfd6de",
        text="#1f2830",
        dim="#5a6673",
        disabled="#a3adb8",
        accent="#0f7f74",
        checked="#cdece8",
        checked_text="#07403a",
        highlight="#2f9c90",
        blue="#1f6fb8",
        green="#1f8a48",
        amber="#955f00",
        red="#c02f26",
    ),
}
IMAGE: Final = THEMES["dark"]  # what is painted over images, which are on black in both

# z, y, x: each crosshair line carries the colour of the axis on which it marks a position.
AXIS_COLOURS: Final = ("#6cb2f0", "#8fc97a", "#e58189")

CONTROL_PX: Final = 28
FIELD_PX: Final = 24  # of spin boxes, whose digits Fusion cuts else
BUSY_PHASES: Final = (Phase.STARTING, Phase.BACKGROUND)

_current = IMAGE


def theme() -> Theme:
    """Return the colours in use."""
    return _current


def phase_colour(phase: Phase) -> str:
    """Return the colour of a phase of the instrument."""
    now = theme()
    return {
        Phase.STARTING: now.blue,
        Phase.BACKGROUND: now.blue,
        Phase.LIVE: now.green,
        Phase.IDLE: now.dim,
        Phase.FAILED: now.red,
        Phase.STOPPED: now.dim,
    }[phase]


def apply_style(application: QApplication, name: str = "dark") -> None:
    """Give the application the palette, the fonts and the style sheet of a theme, by its name."""
    global _current  # as the application, whose colours these are, there is one only
    _current = THEMES[name]
    sheet = _style_sheet(_current)
    if application.styleSheet() == sheet:
        return  # each change goes through all widgets
    if application.style().name() != "fusion":
        application.setStyle("Fusion")
    application.setPalette(_palette(_current))
    font = QFont()
    font.setFamilies(["Inter", "Segoe UI", "SF Pro Text", "Noto Sans", "DejaVu Sans"])
    font.setPointSizeF(10.0)
    application.setFont(font)
    application.setStyleSheet(sheet)


def _style_sheet(now: Theme) -> str:
    # Buttons and labels only: on spin and combo boxes a style sheet costs them arrows and text.
    return f"""
QFrame#card {{ background: {now.surface}; border: 1px solid {now.edge}; border-radius: 6px; }}
QFrame#bar {{ background: {now.surface}; border-top: 1px solid {now.edge}; }}
QLabel#heading {{ color: {now.dim}; font-weight: 600; }}
QLabel#dim {{ color: {now.dim}; }}
QLabel#title {{ font-size: 16pt; font-weight: 600; }}
QLabel#index {{ font-size: 20pt; font-weight: 600; }}
QLabel[tone="warning"] {{ color: {now.amber}; }}
QLabel[tone="error"] {{ color: {now.red}; }}
QPushButton, QToolButton#command {{
    background: {now.surface}; border: 1px solid {now.edge}; border-radius: 5px; padding: 4px 10px;
    min-height: 20px;
}}
QPushButton:hover, QToolButton#command:hover {{ border-color: {now.dim}; }}
QPushButton:pressed, QToolButton#command:pressed {{ background: {now.edge}; }}
QPushButton:disabled, QToolButton#command:disabled {{
    color: {now.disabled}; border-color: {now.edge};
}}
QPushButton:checked, QToolButton#command:checked {{
    background: {now.checked}; border-color: {now.accent}; color: {now.checked_text};
}}
QToolButton#command::menu-indicator {{ image: none; width: 0; }}
QToolButton[place="left"] {{ border-top-right-radius: 0; border-bottom-right-radius: 0; }}
QToolButton[place="right"] {{
    border-top-left-radius: 0; border-bottom-left-radius: 0; border-left: none;
}}
QToolButton#command[place="icon"] {{ padding: 4px 7px; }}
QToolButton[place="primary"] {{ font-weight: 600; min-width: 64px; }}
QToolButton#command[wordy="true"] {{ min-width: 20px; }}
QToolButton#command[wordless="true"] {{ padding: 4px 7px; min-width: 20px; }}
QDockWidget {{ color: {now.dim}; }}
QDockWidget::title {{ padding: 3px 8px; background: {now.window}; }}
QMainWindow::separator {{ background: {now.window}; width: 6px; height: 6px; }}
QPushButton#small {{ padding: 0 8px; min-height: 18px; }}
QToolTip {{ background: {now.surface}; color: {now.text}; border: 1px solid {now.edge};
    padding: 4px; }}
"""


def _palette(now: Theme) -> QPalette:
    role = QPalette.ColorRole
    palette = QPalette(QColor(now.surface), QColor(now.window))
    for name, colour in (
        (role.Base, now.surface),
        (role.Text, now.text),
        (role.WindowText, now.text),
        (role.ButtonText, now.text),
        (role.PlaceholderText, now.dim),
        (role.Highlight, now.highlight),
        (role.HighlightedText, "#ffffff"),
        (role.ToolTipBase, now.surface),
        (role.ToolTipText, now.text),
        (role.Link, now.accent),
    ):
        palette.setColor(name, QColor(colour))
    for name in (role.Text, role.WindowText, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, name, QColor(now.disabled))
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
