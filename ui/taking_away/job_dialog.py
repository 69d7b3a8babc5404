"""A dialog that stays beside the window: choices, a file name, and work with its progress."""

import time
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QHideEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from files.disk import check_output
from ui.taking_away.worker import Work, Worker
from ui.widgets.labels import dim_label, set_text

__all__ = ["JobDialog", "check_box", "combo_box", "dated_name"]


class JobDialog(QDialog):
    """Choices in ``form``, the name of a file, and a button that begins the work.

    The window can be used meanwhile. Closing the dialog cancels the work.

    Parameters
    ----------
    parent : QWidget
    title : str
    verb : str
        On the button that begins.
    """

    saved = Signal(str)  # what was written, for the status bar
    folder_chosen = Signal(object)  # a Path
    gone = Signal()

    def __init__(self, parent: QWidget, title: str, verb: str) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.worker = Worker(self, title.lower().replace(" ", "-"))
        self.form = QFormLayout()
        self.file = QLineEdit()
        self.file.setMinimumWidth(360)
        self.browse = QPushButton("Browse")
        self.browse.setAutoDefault(False)
        self.browse.clicked.connect(self._browse)
        self.note = dim_label("")
        self.note.setWordWrap(True)
        self.progress = QProgressBar()
        self.progress.setTextVisible(True)
        self.progress.hide()
        self.begin = QPushButton(verb)
        self.begin.setDefault(True)
        self.begin.clicked.connect(self.save)
        self.leave = QPushButton("Close")
        self.leave.setAutoDefault(False)
        self.leave.clicked.connect(self.cancel)
        self.body = QHBoxLayout()
        self.body.addLayout(self.form)
        self._arrange()
        self.worker.progressed.connect(self._advance)
        self.worker.finished.connect(self._tell_saved)
        self.worker.failed.connect(lambda why: set_text(self.note, why, "error"))
        self.worker.ended.connect(self._rest)
        self.workers = [self.worker]

    def _arrange(self) -> None:
        names = QHBoxLayout()
        names.addWidget(self.file, 1)
        names.addWidget(self.browse)
        below = QHBoxLayout()
        below.addWidget(self.progress, 1)
        below.addStretch()
        below.addWidget(self.begin)
        below.addWidget(self.leave)
        column = QVBoxLayout(self)
        column.addLayout(self.body, 1)
        column.addLayout(names)
        column.addWidget(self.note)
        column.addLayout(below)

    @property
    def path(self) -> Path:
        """The file that is to be written."""
        return Path(self.file.text().strip()).expanduser()

    def _browse(self) -> None:
        dialog = QFileDialog(self, "File to write", str(self.path))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.selectFile(self.path.name)
        dialog.fileSelected.connect(self.file.setText)
        dialog.open()

    def set_suffix(self, suffix: str, others: tuple[str, ...]) -> None:
        """Give the file name another ending, in place of one of ``others``."""
        text = self.file.text()
        old = max((o for o in others if text.lower().endswith(o.lower())), key=len, default="")
        self.file.setText(text.removesuffix(text[len(text) - len(old) :]) + suffix)

    def save(self) -> None:
        """Begin to write, unless something is in the way."""
        raise NotImplementedError

    def start(self, work: Work) -> None:
        """Begin the work; say why not if there is a file of that name."""
        check_output(self.path)
        set_text(self.note, "")
        self.progress.setRange(0, 0)
        self.progress.show()
        self.begin.setEnabled(False)
        self.leave.setText("Cancel")
        self.worker.start(work)

    def refuse(self, why: str) -> None:
        """Say why it cannot begin."""
        set_text(self.note, why, "error")

    def cancel(self) -> None:
        """Cancel the work; where there is none, close."""
        if self.worker.busy:
            self.worker.cancel()
            set_text(self.note, "cancelled: nothing was written")
        else:
            self.close()

    def _advance(self, done: int, total: int) -> None:
        self.progress.setRange(0, total)
        self.progress.setValue(done)

    def _tell_saved(self, text: object) -> None:
        set_text(self.note, str(text))
        self.saved.emit(str(text))
        self.folder_chosen.emit(self.path.parent)

    def _rest(self) -> None:
        self.progress.hide()
        self.begin.setEnabled(True)
        self.leave.setText("Close")

    def hideEvent(self, event: QHideEvent) -> None:
        """Cancel the work of a dialog that is closed; it goes when that has ended."""
        super().hideEvent(event)
        if event.spontaneous():
            return
        for worker in self.workers:
            worker.cancel()
            worker.ended.connect(self._go)
        self._go()

    def _go(self) -> None:
        if not self.isVisible() and not any(worker.busy for worker in self.workers):
            self.gone.emit()
            self.deleteLater()

    def finish(self) -> None:
        """Cancel, and wait until nothing runs any more."""
        for worker in self.workers:
            worker.close()


def dated_name(folder: Path, suffix: str) -> str:
    """Return a name for a new file, with the time in it."""
    return str(folder / time.strftime(f"livetomo_%Y-%m-%d_%H%M%S{suffix}"))


def check_box(text: str, tip: str, *, on: bool = True) -> QCheckBox:
    """Return a check box."""
    box = QCheckBox(text)
    box.setToolTip(tip)
    box.setChecked(on)
    return box


def combo_box(entries: dict[str, object], tip: str, chosen: object = None) -> QComboBox:
    """Return a combo box of texts and what they stand for."""
    box = QComboBox()
    box.setToolTip(tip)
    for text, value in entries.items():
        box.addItem(text, value)
    if chosen is not None:
        box.setCurrentIndex(box.findData(chosen))
    return box
