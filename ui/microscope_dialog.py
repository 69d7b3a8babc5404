"""Edits microscope.toml in the window: checked as it is typed, with each error at its line."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QMessageBox,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ui.bench import Bench
from ui.experiment import Experiment
from ui.widgets.code_edit import CodeEdit
from ui.widgets.labels import ElidedLabel, set_text

if TYPE_CHECKING:
    from acquisition.configuration.microscope_text import TextProblem
from ui.widgets.sizes import resize_on_screen

__all__ = ["MicroscopeDialog"]

T = TypeVar("T")
_SIZE: Final = (860, 640)
_TYPING_MS: Final = 250  # a pause in typing, after which the text is checked
_PROBLEMS_PX: Final = 110


class MicroscopeDialog(QDialog):
    """An editor of one microscope.toml.

    Files are read, checked and written beside the window.

    Parameters
    ----------
    parent : QWidget
    experiment : Experiment
        Runs what may take a moment.
    path : Path
    bench : Bench or None
        The instrument that uses the file, if it can be started again from here.
    """

    def __init__(
        self, parent: QWidget, experiment: Experiment, path: Path, bench: Bench | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"{path.name}[*]")
        resize_on_screen(self, *_SIZE)
        self._experiment, self._path, self._bench = experiment, path, bench
        self._saved = ""
        self.problems: tuple[TextProblem, ...] = ()
        self._over = False
        self.edit, self.list = CodeEdit(), QListWidget()
        self.edit.setReadOnly(True)  # until it is read
        self.list.setFixedHeight(_PROBLEMS_PX)
        self.list.setWordWrap(True)
        self.verdict, self.told = ElidedLabel(f"reading {path}"), ElidedLabel()
        self.save, self.restart, self.shut = (
            QPushButton(text) for text in ("Save", "Save and restart the instrument", "Close")
        )
        for button in (self.save, self.restart, self.shut):
            button.setAutoDefault(False)
        self.save.setShortcut("Ctrl+S")
        self._arrange()
        self._typing = QTimer(self)
        self._typing.setSingleShot(True)
        self._typing.setInterval(_TYPING_MS)
        self._typing.timeout.connect(self._check)
        self.edit.textChanged.connect(self._changed)
        self.list.itemActivated.connect(self._go)
        self.list.itemClicked.connect(self._go)
        self.save.clicked.connect(lambda: self._save(restart=False))
        self.restart.clicked.connect(lambda: self._save(restart=True))
        self.shut.clicked.connect(self.reject)
        self.finished.connect(self._end)
        self._draw()
        self._ask(lambda: _read(path), self._show)

    def _arrange(self) -> None:
        row = QHBoxLayout()
        said = QVBoxLayout()
        said.addWidget(self.verdict)
        said.addWidget(self.told)
        row.addLayout(said, 1)
        for button in (self.save, self.restart, self.shut):
            row.addWidget(button)
        column = QVBoxLayout(self)
        column.addWidget(self.edit, 1)
        column.addWidget(self.list)
        column.addLayout(row)

    def _ask(self, question: Callable[[], T], receive: Callable[[T], None]) -> None:
        """Ask beside the window; an answer that comes after the dialog is closed is dropped."""

        def show(answer: T) -> None:
            if not self._over:
                receive(answer)

        def refuse(why: str) -> None:
            if not self._over:
                set_text(self.told, why, "error")
                self._draw()

        self._experiment.commands.ask(question, show, refuse)

    def _show(self, text: str) -> None:
        self._saved = text
        self.edit.setPlainText(text)
        self.edit.document().setModified(False)
        self.edit.setReadOnly(False)
        self._check()

    def _changed(self) -> None:
        self._typing.start()
        self._draw()

    @property
    def changed(self) -> bool:
        """Whether the text differs from the file."""
        return self.edit.document().isModified()

    # --- checking ---

    def _check(self) -> None:
        text = self.edit.toPlainText()
        self._ask(lambda: _checked(text, self._path), self._show_problems)

    def _show_problems(self, problems: "tuple[TextProblem, ...]") -> None:
        self.problems = problems
        self.edit.mark({problem.line: problem.text for problem in problems})
        self.list.clear()
        for problem in problems:
            item = QListWidgetItem(f"line {problem.line}: {problem.text}")
            self.list.addItem(item)
        if problems:
            number = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
            set_text(self.verdict, f"{number}: the instrument does not start with it", "error")
        else:
            set_text(self.verdict, "no problem found")
        self._draw()

    def _go(self, item: QListWidgetItem) -> None:
        self.edit.go_to(self.problems[self.list.row(item)].line)

    # --- saving ---

    def _save(self, *, restart: bool) -> None:
        text = self.edit.toPlainText()
        path, expected = self._path, self._saved

        def saved(backup: Path) -> None:
            self._saved = text
            self.edit.document().setModified(text != self.edit.toPlainText())
            self._tell_saved(backup, restart)

        self._ask(lambda: _written(path, text, expected), saved)

    def _tell_saved(self, backup: Path, restart: bool) -> None:
        text = f"saved; the text before is in {backup.name}"
        if restart and self._bench is not None:
            self._experiment.submit("Restart the instrument", self._bench.restart)
            text += "; the instrument starts again with it"
        elif self._bench is not None:
            text += "; the instrument uses it after a restart"
        set_text(self.told, text)
        self._draw()

    def _draw(self) -> None:
        self.setWindowModified(self.changed)
        self.save.setText("Save anyway" if self.problems else "Save")
        self.save.setShortcut("Ctrl+S")  # a new text takes it away
        self.save.setEnabled(self.changed)
        self.restart.setVisible(self._bench is not None)
        self.restart.setEnabled(not self.problems and not self._recording())

    def _recording(self) -> bool:
        return self._experiment.records

    def _end(self) -> None:
        self._over = True
        self._typing.stop()
        self.deleteLater()

    def reject(self) -> None:
        """Close; ask first if that would lose changes."""
        if not self.changed:
            super().reject()
            return
        box = QMessageBox(self)
        box.setWindowTitle("Save the changes?")
        box.setText(f"{self._path.name} has changes that are not saved.")
        drop = box.addButton("Close without saving", QMessageBox.ButtonRole.DestructiveRole)
        keep = box.addButton("Keep editing", QMessageBox.ButtonRole.RejectRole)
        box.setDefaultButton(keep)
        box.setEscapeButton(keep)
        drop.clicked.connect(lambda: self.done(QDialog.DialogCode.Rejected))
        box.finished.connect(box.deleteLater)
        box.open()


# The reader of microscope.toml is loaded with its first use, beside the window.


def _read(path: Path) -> str:
    from acquisition.configuration.text_files import read_text

    return read_text(path).replace("\r\n", "\n")


def _checked(text: str, path: Path) -> "tuple[TextProblem, ...]":
    from acquisition.configuration.microscope_text import check_text

    return check_text(text, path)


def _written(path: Path, text: str, expected: str) -> Path:
    from acquisition.configuration.text_files import replace_text

    return replace_text(path, text, expected)
