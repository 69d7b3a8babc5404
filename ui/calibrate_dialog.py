"""Calibrate the microscope from the window: what it does, its progress, its report."""

import time
from pathlib import Path
from typing import Final

from PySide6.QtCore import QUrl
from PySide6.QtGui import QColor, QDesktopServices
from PySide6.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QProgressBar,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ui.bench import Bench
from ui.calibration_run import CalibrationReport, CalibrationRun
from ui.experiment import Experiment
from ui.style import theme
from ui.widgets.labels import dim_label, set_text
from ui.widgets.sizes import resize_on_screen

__all__ = ["CalibrateDialog"]

_SIZE: Final = (820, 520)
_WHAT: Final = (
    "Measures on the empty field: the exposure that fills the camera's range, the background, "
    "each angle against its plan, the fringes, whether the field is empty, and the shortest "
    "picture time without a lost frame. It takes about a minute. Live imaging stops meanwhile and "
    "goes on afterwards; the views stay as they are."
)


class CalibrateDialog(QDialog):
    """Releases the microscope, runs ``calibrate`` beside the window, and takes it back.

    Parameters
    ----------
    parent : QWidget
    experiment : Experiment
    bench : Bench
    """

    def __init__(self, parent: QWidget, experiment: Experiment, bench: Bench) -> None:
        super().__init__(parent)
        self.setWindowTitle("Calibrate the microscope")
        resize_on_screen(self, *_SIZE)
        self._experiment, self._bench = experiment, bench
        self.run: CalibrationRun | None = None
        self.report: CalibrationReport | None = None
        self._closing = False
        self.what = QLabel(_WHAT)
        self.what.setWordWrap(True)
        self.where = dim_label(_where(bench.microscope))
        self.where.setWordWrap(True)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.doing = QLabel()
        self.doing.setWordWrap(True)
        self.checks = QTreeWidget()
        self.checks.setHeaderLabels(["", "Check", "Measured"])
        self.checks.setRootIsDecorated(False)
        self.checks.setWordWrap(True)
        header = self.checks.header()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)
        self.start, self.cancel, self.open_report, self.shut = (
            QPushButton(text) for text in ("Calibrate", "Cancel", "Open the report", "Close")
        )
        self.start.setDefault(True)
        self._arrange()
        self.start.clicked.connect(self.begin)
        self.cancel.clicked.connect(self.stop)
        self.open_report.clicked.connect(self._open_report)
        self.shut.clicked.connect(self.reject)
        self._draw()

    def _arrange(self) -> None:
        row = QHBoxLayout()
        row.addStretch()
        for button in (self.open_report, self.start, self.cancel, self.shut):
            row.addWidget(button)
        column = QVBoxLayout(self)
        column.setSpacing(8)
        for widget in (self.what, self.where, self.progress, self.doing):
            column.addWidget(widget)
        column.addWidget(self.checks, 1)
        column.addLayout(row)

    @property
    def running(self) -> bool:
        """Whether it is calibrating, or about to."""
        return self.run is not None

    def begin(self) -> None:
        """Release the microscope and calibrate."""
        folder = self._experiment.folder / time.strftime("calibration-%Y%m%d-%H%M%S")
        self.run = run = CalibrationRun(self, self._bench.microscope, folder)
        run.stepped.connect(self._step)
        run.ended.connect(self._end)
        self.report = None
        self.checks.clear()
        self.progress.setRange(0, 0)
        set_text(self.doing, "releasing the microscope")
        self._draw()
        self._experiment.commands.ask(self._bench.release, lambda _: run.start(), self._refused)

    def stop(self) -> None:
        """Cancel; the microscope is taken back when the process has ended."""
        if self.run is not None:
            set_text(self.doing, "cancelling")
            self.cancel.setEnabled(False)
            self.run.cancel()

    def stop_at_once(self) -> None:
        """End the process: the window has closed."""
        if self.run is not None:
            self.run.blockSignals(True)
            self.run.stop()

    def _refused(self, why: str) -> None:
        self._end(None, f"the microscope was not released: {why}")

    def _step(self, number: int, total: int, what: str) -> None:
        self.progress.setRange(0, total)
        self.progress.setValue(number - 1)
        set_text(self.doing, f"step {number} of {total}: {what}")

    def _end(self, report: CalibrationReport | None, why: str) -> None:
        self.run, self.report = None, report
        self.progress.setRange(0, 1)
        self.progress.setValue(int(report is not None))
        if report is None:
            set_text(self.doing, why, "" if why.startswith("cancelled") else "error")
        elif report.met:
            set_text(self.doing, "all checks are met")
        else:
            failed = sum(not check.met for check in report.checks)
            set_text(self.doing, f"{failed} of {len(report.checks)} checks are not met", "warning")
        if report is not None:
            self._list(report)
        self._draw()
        self._experiment.submit("Take the microscope back", self._bench.take_back)
        if self._closing:
            self.reject()

    def _list(self, report: CalibrationReport) -> None:
        now = theme()
        for check in report.checks:
            text = check.value if check.met else f"{check.value}\n{check.remedy}"
            row = QTreeWidgetItem(["✓" if check.met else "✗", check.name, text])
            row.setForeground(0, QColor(now.green if check.met else now.red))
            row.setToolTip(2, text)
            self.checks.addTopLevelItem(row)

    def _open_report(self) -> None:
        if self.report is not None:
            page = self.report.folder / "report.html"
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(page)))

    def _draw(self) -> None:
        self.start.setVisible(not self.running)
        self.start.setText("Calibrate" if self.report is None else "Calibrate again")
        self.cancel.setVisible(self.running)
        self.cancel.setEnabled(True)
        self.shut.setEnabled(not self.running)
        self.open_report.setVisible(self.report is not None)

    def reject(self) -> None:
        """Close; a run is cancelled first."""
        if self.running:
            self._closing = True
            self.stop()
            return
        super().reject()


def _where(microscope: Path | None) -> str:
    if microscope is None:
        return "The calibration of the simulated microscope is shown, but not used."
    return (
        f"The calibration is saved beside {microscope.name} and used from then on; the report goes "
        f"into a new folder in {microscope.parent}."
    )
