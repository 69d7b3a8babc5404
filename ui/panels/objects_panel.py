"""The measured objects of the live tomograms: what is measured, a table, a plot over time."""

import csv
import math
from collections import OrderedDict, deque
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Final

from PySide6.QtCore import QLocale, Qt, QTimer, Signal
from PySide6.QtGui import QColor, QShowEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHeaderView,
    QProgressBar,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from measuring.measured_object import COLUMNS, MeasuredObject
from measuring.measuring_settings import MeasuringSettings
from pipeline.wire.file_state import MeasuredScans
from pipeline.wire.state import (
    MeasuredView,
    MeasuringRequest,
    MeasuringState,
)
from ui.sections.colours import object_colour
from ui.style import FIELD_PX
from ui.widgets import plots as pg
from ui.widgets.labels import ElidedLabel
from ui.widgets.panel_plot import paint_plot, panel_plot

__all__ = ["FIGURES", "ObjectsPanel"]

# figure: title of its column, unit, decimals
FIGURES: Final = {
    "volume_um3": ("Volume", "µm³", 1),
    "dry_mass_pg": ("Dry mass", "pg", 1),
    "mean_index": ("Mean RI", "", 4),
    "max_index": ("Max RI", "", 4),
    "density_pg_per_um3": ("Density", "pg/µm³", 3),
    "surface_um2": ("Surface", "µm²", 1),
    "sphericity": ("Sphericity", "", 2),
    "lipid_fraction": ("Lipid", "", 2),
    "speed_um_per_s": ("Speed", "µm/s", 2),
    "x_um": ("x", "µm", 2),
    "y_um": ("y", "µm", 2),
    "z_um": ("z", "µm", 2),
}
_REDRAW_MS = 300
_MOST = 20_000  # points of an object's curve
_MOST_CURVES = 100  # those of the objects that were seen last
_MOST_DRAWN = 2_000  # points of a curve: more than a plot has pixels
_MOST_ROWS = 500_000  # of the table: a day of six objects a second


class ObjectsPanel(QWidget):
    """Switches measuring on, and shows the objects of the last measured scan.

    Places and speeds are those in the sample, whatever the stages did. ``wanted`` is emitted with a
    MeasuringRequest; ``all_wanted`` with whether all scans of a file are to be measured; ``chosen``
    with the row that was clicked; ``said`` with a text for the status bar and its tone;
    ``save_asked`` where the table is to be saved, and ``folder_chosen`` where it was.
    """

    wanted = Signal(object)
    all_wanted = Signal(bool)
    chosen = Signal(int)
    said = Signal(str, str)
    save_asked = Signal()
    folder_chosen = Signal(object)  # a Path

    def __init__(self) -> None:
        super().__init__()
        self.view: MeasuredView | None = None
        self._rows: deque[tuple[float, MeasuredObject]] = deque(maxlen=_MOST_ROWS)
        self._over_time: OrderedDict[int, deque[tuple[float, MeasuredObject]]] = OrderedDict()
        self._file = False
        self._redraw = QTimer(self)  # at most a few times a second, while a file is measured
        self._redraw.setSingleShot(True)
        self._redraw.setInterval(_REDRAW_MS)
        self._redraw.timeout.connect(self._draw)
        self.on = QCheckBox("Measure objects of live tomograms")
        self.on.setToolTip("Find, follow and measure the objects of as many scans as there is time")
        self.threshold = _box(0.0, 3.0, 4, "automatic", "RI at an object's surface")
        self.minimum = _box(0.0, 1e5, 2, "", "Smaller objects are left out", " µm³")
        self.increment = _box(0.01, 1.0, 3, "", "Rise of the RI per g/ml of dry matter", " ml/g")
        self.lipid = _box(0.0, 3.0, 4, "not measured", "RI above which matter counts as lipid")
        self.doing = ElidedLabel()
        self.doing.setObjectName("dim")
        self.all = QPushButton()
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self._show_progress(None)
        self.all.hide()  # for a file
        self.table = QTableWidget(0, len(FIGURES) + 1)
        self.figure = QComboBox()
        for name, (title, unit, _) in FIGURES.items():
            self.figure.addItem(f"{title} ({unit})" if unit else title, name)
        self.save = QPushButton("Save table")
        self.save.setToolTip("Save all measured figures as CSV")
        self._settings = MeasuringSettings()
        self._arrange()
        self._connect()
        self._show_settings(self._settings)

    @cached_property
    def plot(self) -> Any:
        """The plot over time, built when the panel is first shown."""
        plot = panel_plot(times=True)
        self._place.addWidget(plot)
        return plot

    def _arrange(self) -> None:
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        for title, box in (
            ("Threshold", self.threshold), ("Minimum", self.minimum),
            ("Increment", self.increment), ("Lipid above", self.lipid),
        ):  # fmt: skip
            form.addRow(title, box)
        self.table.setHorizontalHeaderLabels(["", *(title for title, *_ in FIGURES.values())])
        self.table.verticalHeader().hide()
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        header = self.table.horizontalHeader()
        header.setHighlightSections(False)  # bold letters have no room
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 8, 10, 8)
        column.addWidget(self.on)
        column.addLayout(form)
        column.addWidget(self.doing)
        column.addWidget(self.progress)
        column.addWidget(self.all)
        column.addWidget(self.table, 2)
        column.addWidget(self.figure)
        self._place = QVBoxLayout()
        column.addLayout(self._place, 2)
        column.addWidget(self.save)
        for widget in (self.on, self.figure, self.save, self.all):
            widget.setFocusPolicy(Qt.FocusPolicy.NoFocus)

    def _connect(self) -> None:
        self.on.clicked.connect(self._ask)
        for box in (self.threshold, self.minimum, self.increment, self.lipid):
            box.valueChanged.connect(self._ask)
        self.figure.currentIndexChanged.connect(lambda _: self._draw_plot())
        self.table.cellClicked.connect(self._choose)
        self.save.clicked.connect(self.save_asked)
        self.all.clicked.connect(lambda: self.toggle_all())

    def request(self) -> MeasuringRequest:
        """Return what the panel asks for."""
        settings = MeasuringSettings(
            threshold=self.threshold.value() if self.threshold.value() >= 1 else None,
            increment_ml_per_g=self.increment.value(),
            minimum_um3=self.minimum.value(),
            lipid_threshold=self.lipid.value() if self.lipid.value() >= 1 else None,
        )
        return MeasuringRequest(self.on.isChecked(), settings)

    def _ask(self) -> None:
        self.wanted.emit(self.request())

    def draw_theme(self) -> None:
        """Use the colours of the theme."""
        if "plot" in self.__dict__:
            paint_plot(self.plot)

    def draw_state(self, state: MeasuringState | None) -> None:
        """Show what the measuring process does, and how it measures."""
        self.setEnabled(state is not None)
        if state is None:
            self.doing.setText("this instrument has no process that measures")
            return
        self.doing.setText(state.message)
        self._show_progress(state.progress)
        self.on.setChecked(state.on)
        if state.settings != self._settings:
            self._show_settings(state.settings)

    def _show_progress(self, progress: tuple[int, int] | None) -> None:
        self.measures_all = progress is not None
        self.progress.setVisible(progress is not None)
        if progress is None:
            self.all.setText("Measure all scans")
            self.all.setToolTip("Measure the objects of all scans, in the background (Shift+M)")
            return
        self.progress.setRange(0, progress[1])
        self.progress.setValue(progress[0])
        self.all.setText("Stop")
        self.all.setToolTip("Keep what has been measured, and measure no more scans (Shift+M)")

    def toggle_all(self) -> None:
        """Ask for all scans of the file to be measured, or to stop that."""
        self.all_wanted.emit(not self.measures_all)

    def _show_settings(self, settings: MeasuringSettings) -> None:
        self._settings = settings
        for box, value in (
            (self.threshold, settings.threshold),
            (self.minimum, settings.minimum_um3),
            (self.increment, settings.increment_ml_per_g),
            (self.lipid, settings.lipid_threshold),
        ):
            if not box.hasFocus():
                box.blockSignals(True)
                box.setValue(value or 0.0)
                box.blockSignals(False)

    def enter_file_mode(self) -> None:
        """Measure a file: the curves are of its time points in order, however it is played."""
        self._file = True
        self.on.setText("Measure objects of this file")
        self.on.setToolTip(
            "Find, follow and measure the objects of all tomograms of the file, or of those scans "
            "of a recording that are displayed"
        )
        self.all.show()

    def begin_anew(self) -> None:
        """Forget the file that was shown before."""
        self.view = None
        self._rows.clear()
        self._over_time.clear()
        self.table.setRowCount(0)
        if "plot" in self.__dict__:
            self.plot.clear()

    def note(self, news: MeasuredScans) -> None:
        """Add scans of a file that have been measured."""
        if news.anew:
            self._rows.clear()
            self._over_time.clear()
        for scan in news.scans:
            self._add(scan.timestamp or float(scan.sequence), scan.objects)
        if not self._redraw.isActive():
            self._redraw.start()

    def draw(self, view: MeasuredView) -> None:
        """Show the objects of another scan."""
        self.view = view
        if not self._file:
            self._add(view.timestamp, view.objects)
        self._draw()

    def _add(self, time_s: float, objects: tuple[MeasuredObject, ...]) -> None:
        for found in objects:
            self._rows.append((time_s, found))
            curve = self._over_time.setdefault(found.number, deque(maxlen=_MOST))
            curve.append((time_s, found))
            self._over_time.move_to_end(found.number)
        while len(self._over_time) > _MOST_CURVES:
            self._over_time.popitem(last=False)

    def showEvent(self, event: QShowEvent) -> None:
        """Draw what has arrived while the panel was closed."""
        super().showEvent(event)
        self._draw()

    def _draw(self) -> None:
        if not self.isVisible():
            return
        if self.view is None:
            self._draw_plot()
            return
        self.table.setRowCount(len(self.view.objects))
        for row, found in enumerate(self.view.objects):
            self._fill(row, found)
        self._draw_plot()

    def _fill(self, row: int, found: MeasuredObject) -> None:
        name = QTableWidgetItem(f"{found.number}{' (cut)' if found.cut else ''}")
        name.setForeground(QColor(object_colour(found.number)))
        self.table.setItem(row, 0, name)
        for column, (figure, (_, unit, decimals)) in enumerate(FIGURES.items(), 1):
            value = getattr(found, figure)
            text = "" if value is None else f"{value:.{decimals}f} {unit}".rstrip()
            item = QTableWidgetItem(text)
            item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self.table.setItem(row, column, item)

    def _draw_plot(self) -> None:
        figure = self.figure.currentData()
        self.plot.clear()
        for number, points in self._over_time.items():
            step = -(-len(points) // _MOST_DRAWN)
            drawn = islice(points, (len(points) - 1) % step, None, step)  # with the newest
            values = [(time, getattr(found, figure)) for time, found in drawn]
            known = [(time, value) for time, value in values if value is not None]
            pen = pg.mkPen(object_colour(number), width=1.5)
            dot = "o" if len(known) == 1 else None  # a line of one point is not seen
            self.plot.plot(
                [t for t, _ in known],
                [v for _, v in known],
                pen=pen,
                symbol=dot,
                symbolSize=5,
                symbolPen=pen,
                symbolBrush=object_colour(number),
            )

    def _choose(self, row: int, _: int) -> None:
        if self.view is not None and row < len(self.view.objects):
            self.chosen.emit(row)

    def choose_table(self, folder: Path) -> None:
        """Ask for a file name and save all figures measured so far."""
        if not self._rows:
            self.said.emit("no objects were measured yet: switch measuring on (F6)", "warning")
            return
        dialog = QFileDialog(self.window(), "Save the measured figures", str(folder))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setNameFilter("Tables (*.csv)")
        dialog.setDefaultSuffix("csv")
        dialog.selectFile("objects.csv")
        dialog.fileSelected.connect(lambda path: self.save_table(Path(path)))
        dialog.fileSelected.connect(lambda path: self.folder_chosen.emit(Path(path).parent))
        dialog.open()

    def save_table(self, path: Path) -> None:
        """Save all figures measured so far; ``said`` tells how it went."""
        try:
            with path.open("w", newline="", encoding="utf-8") as file:
                table = csv.writer(file)
                table.writerow(["time_s", "object", *COLUMNS])
                for time_s, found in self._rows:
                    values = (getattr(found, column) for column in COLUMNS)
                    table.writerow([f"{time_s:.3f}", found.number, *map(_number, values)])
        except OSError as error:
            self.said.emit(f"the table could not be written to {path}: {error.strerror}", "error")
        else:
            self.said.emit(f"saved {path}", "")


def _number(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""


def _box(
    low: float, high: float, decimals: int, special: str, tip: str, suffix: str = ""
) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setLocale(QLocale.c())
    box.setRange(low, high)
    box.setDecimals(decimals)
    box.setSingleStep(10.0 ** (1 - decimals))
    box.setSpecialValueText(special or "")
    box.setSuffix(suffix)
    box.setKeyboardTracking(False)
    box.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
    box.setMinimumHeight(FIELD_PX)
    box.setToolTip(tip)
    return box
