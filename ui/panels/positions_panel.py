"""The positions list: places of the stage by name, to return to and to record at."""

from dataclasses import replace

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from pipeline.wire.places import StagePlace
from pipeline.wire.state import InstrumentState
from ui.actions.action_set import ActionSet
from ui.settings import Settings
from ui.widgets.labels import ElidedLabel, dim_label, set_text

__all__ = ["PositionsPanel"]

_HEADINGS = ("Name", "x (µm)", "y (µm)", "z (µm)")
_BUTTONS = ("add position", "go to position", "remove position")


class PositionsPanel(QWidget):
    """The named positions of the microscope at hand; kept by its name between two starts.

    A name is changed in its cell. ``wanted`` is emitted with a StagePlace to go to, ``said`` with a
    text for the status bar and its tone.
    """

    wanted = Signal(object)
    said = Signal(str, str)

    def __init__(self) -> None:
        super().__init__()
        self.places: tuple[StagePlace, ...] = ()
        self._settings: Settings | None = None
        self._microscope = ""
        self.here, self.trouble = ElidedLabel("no stage"), ElidedLabel()
        self.table = QTableWidget(0, len(_HEADINGS))
        self.table.setHorizontalHeaderLabels(list(_HEADINGS))
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.verticalHeader().hide()
        header = self.table.horizontalHeader()
        header.setHighlightSections(False)  # bold letters have no room
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.table.cellChanged.connect(self._rename)
        self.table.cellDoubleClicked.connect(self._double_clicked)
        self.buttons: dict[str, QToolButton] = {}
        self._row = QHBoxLayout()
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 8, 10, 8)
        column.addWidget(dim_label("The stage is at"))
        column.addWidget(self.here)
        column.addWidget(self.trouble)
        column.addWidget(self.table, 1)
        column.addLayout(self._row)
        self.trouble.hide()

    def use(self, actions: ActionSet, settings: Settings | None) -> None:
        """Add the buttons of its actions, and keep positions in ``settings``."""
        self._settings = settings
        for name in _BUTTONS:
            if name in actions:
                self.buttons[name] = actions.button(name)
                self._row.addWidget(self.buttons[name])
        self._row.addStretch()

    def draw(self, state: InstrumentState) -> None:
        """Show where the stage is; the first state names the microscope, whose list is loaded."""
        if state.microscope != self._microscope:
            self._microscope = state.microscope
            if self._settings is not None:
                self._show(self._settings.positions(self._microscope))
        stage = state.stage
        where = "no stage" if stage is None else stage.text
        self.here.setText(f"{where}, moving" if stage is not None and stage.moving else where)
        problem = "" if stage is None else "; ".join(filter(None, (stage.problem, stage.silent)))
        set_text(self.trouble, problem, "error")
        self.trouble.setVisible(bool(problem))

    @property
    def row(self) -> int:
        """The selected row; -1 if none is selected."""
        rows = self.table.selectionModel().selectedRows()
        return rows[0].row() if rows else -1

    def add(self, place: StagePlace) -> None:
        """Add a place under a name that is free, and select it."""
        names = {each.name for each in self.places}
        number = next(n for n in range(1, len(names) + 2) if f"position {n}" not in names)
        self._keep((*self.places, replace(place, name=f"position {number}")))
        self.table.selectRow(len(self.places) - 1)

    def go(self) -> None:
        """Ask to go to the selected position."""
        if self.row < 0:
            self.said.emit("select the position to go to", "warning")
            return
        self.wanted.emit(self.places[self.row])

    def remove(self) -> None:
        """Remove the selected position from the list."""
        row = self.row
        if row < 0:
            self.said.emit("select the position to remove", "warning")
            return
        self._keep(self.places[:row] + self.places[row + 1 :])
        self.table.selectRow(min(row, len(self.places) - 1))

    def _double_clicked(self, row: int, column: int) -> None:
        if column:  # a double click on a name edits it
            self.table.selectRow(row)
            self.go()

    def _rename(self, row: int, column: int) -> None:
        item = self.table.item(row, 0)
        name = "" if item is None else item.text().strip()
        others = {place.name for n, place in enumerate(self.places) if n != row}
        if not name or name in others:
            why = f"{name} is the name of another position" if name else "a position needs a name"
            self.said.emit(f"{why}: choose one that is free", "warning")
            self._show(self.places)
            return
        renamed = replace(self.places[row], name=name)
        self._keep((*self.places[:row], renamed, *self.places[row + 1 :]))
        self.table.selectRow(row)

    def _keep(self, places: tuple[StagePlace, ...]) -> None:
        self._show(places)
        if self._settings is not None and self._microscope:
            self._settings.note_positions(self._microscope, places)

    def _show(self, places: tuple[StagePlace, ...]) -> None:
        self.places = places
        with QSignalBlocker(self.table):
            self.table.setRowCount(len(places))
            for row, place in enumerate(places):
                self.table.setItem(row, 0, QTableWidgetItem(place.name))
                for column, um in enumerate((place.x_um, place.y_um, place.z_um), start=1):
                    self.table.setItem(row, column, _number(um))


def _number(um: float | None) -> QTableWidgetItem:
    item = QTableWidgetItem("" if um is None else f"{um:.2f}")
    item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    return item
