"""A text editor with line numbers, marked lines and the colours of TOML."""

import re
from collections.abc import Mapping
from typing import Final

from PySide6.QtCore import QRect, QSize, Qt
from PySide6.QtGui import (
    QColor,
    QFont,
    QFontDatabase,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QSyntaxHighlighter,
    QTextCharFormat,
    QTextDocument,
    QTextFormat,
)
from PySide6.QtWidgets import QPlainTextEdit, QTextEdit, QWidget

from ui.style import theme

__all__ = ["CodeEdit"]

_GAP_PX: Final = 8


class _TomlColours(QSyntaxHighlighter):
    """Colours sections, keys, strings, numbers and comments."""

    def __init__(self, document: QTextDocument) -> None:
        super().__init__(document)
        now = theme()
        self._rules = [
            (re.compile(r"^\s*[\w.\-\"]+(?=\s*=)"), _format(now.blue)),
            (re.compile(r"(?<==)[^#]*\b(?:true|false|[+-]?[\d._]+(?:e[+-]?\d+)?)\b"),
             _format(now.amber)),
            (re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'"), _format(now.green)),
            (re.compile(r"^\s*\[.*?\]\s*(?=#|$)"), _format(now.accent, bold=True)),
        ]  # fmt: skip
        self._comment = _format(now.dim)

    def highlightBlock(self, text: str) -> None:
        """Colour one line."""
        for rule, colours in self._rules:
            for found in rule.finditer(text):
                self.setFormat(found.start(), found.end() - found.start(), colours)
        start = _comment_start(text)
        if start >= 0:
            self.setFormat(start, len(text) - start, self._comment)


def _comment_start(text: str) -> int:
    """Return where the comment of a line begins, -1 if it has none; a # in a string is none."""
    quote = ""
    for at, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter == "#":
            return at
    return -1


def _format(colour: str, *, bold: bool = False) -> QTextCharFormat:
    made = QTextCharFormat()
    made.setForeground(QColor(colour))
    if bold:
        made.setFontWeight(QFont.Weight.Bold)
    return made


class _LineNumbers(QWidget):
    """The numbers beside the text."""

    def __init__(self, edit: "CodeEdit") -> None:
        super().__init__(edit)
        self._edit = edit

    def sizeHint(self) -> QSize:
        """Return the width that the longest number needs."""
        return QSize(self._edit.number_width(), 0)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the numbers of the visible lines."""
        self._edit.paint_numbers(event)


class CodeEdit(QPlainTextEdit):
    """An editor of a small text file in which lines can be marked as wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.setTabStopDistance(4 * self.fontMetrics().horizontalAdvance(" "))
        self.marks: dict[int, str] = {}
        self._numbers = _LineNumbers(self)
        self._colours = _TomlColours(self.document())
        self.blockCountChanged.connect(lambda _: self._make_room())
        self.updateRequest.connect(self._scroll_numbers)
        self._make_room()

    def mark(self, problems: Mapping[int, str]) -> None:
        """Mark lines, by their number from 1, each with a text that its tooltip shows."""
        self.marks = dict(problems)
        colour = QColor(theme().red)
        colour.setAlpha(50)
        selections = []
        for line in self.marks:
            block = self.document().findBlockByNumber(line - 1)
            if block.isValid():
                selection = QTextEdit.ExtraSelection()
                selection.format.setBackground(colour)
                selection.format.setProperty(QTextFormat.Property.FullWidthSelection, True)
                cursor = self.textCursor()
                cursor.setPosition(block.position())
                selection.cursor = cursor
                selections.append(selection)
        self.setExtraSelections(selections)
        self._numbers.update()

    def go_to(self, line: int) -> None:
        """Put the cursor at the start of a line, from 1, and show it in the middle."""
        block = self.document().findBlockByNumber(line - 1)
        cursor = self.textCursor()
        cursor.setPosition(block.position())
        self.setTextCursor(cursor)
        self.centerCursor()
        self.setFocus()

    def number_width(self) -> int:
        """Return the width of the numbers."""
        digits = len(str(max(self.blockCount(), 100)))
        return 2 * _GAP_PX + digits * self.fontMetrics().horizontalAdvance("9")

    def _make_room(self) -> None:
        self.setViewportMargins(self.number_width(), 0, 0, 0)

    def _scroll_numbers(self, where: QRect, by: int) -> None:
        if by:
            self._numbers.scroll(0, by)
        else:
            self._numbers.update(0, where.y(), self._numbers.width(), where.height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Keep the numbers as high as the text."""
        super().resizeEvent(event)
        inside = self.contentsRect()
        self._numbers.setGeometry(inside.left(), inside.top(), self.number_width(), inside.height())

    def paint_numbers(self, event: QPaintEvent) -> None:
        """Draw the numbers of the visible lines; those of marked ones in red."""
        painter = QPainter(self._numbers)
        now = theme()
        block = self.firstVisibleBlock()
        while block.isValid():
            box = self.blockBoundingGeometry(block).translated(self.contentOffset())
            if box.top() > event.rect().bottom():
                break
            line = block.blockNumber() + 1
            painter.setPen(QColor(now.red if line in self.marks else now.dim))
            place = QRect(0, int(box.top()), self._numbers.width() - _GAP_PX, int(box.height()))
            painter.drawText(place, Qt.AlignmentFlag.AlignRight, str(line))
            block = block.next()
        painter.end()
