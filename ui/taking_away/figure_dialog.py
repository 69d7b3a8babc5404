"""The views as a figure for a paper: choices with a preview, and a PNG, SVG or PDF."""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QImage, QPixmap
from PySide6.QtWidgets import QCheckBox, QDoubleSpinBox, QLabel, QWidget

from acquisition.errors import LiveTomoError
from files.figures.panels import DARK, LIGHT, Style
from files.figures.views import views_figure
from files.figures.writing import SUFFIXES, pixels_of, save_figure
from ui.taking_away.job_dialog import JobDialog, check_box, combo_box, dated_name
from ui.taking_away.snapshot import Choices, Snapshot, views_of
from ui.taking_away.worker import Progress, Worker
from ui.widgets.labels import set_text
from ui.widgets.sizes import resize_on_screen

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from ui.taking_away.solid_pictures import SolidPictures

__all__ = ["FigureDialog", "FigurePlan", "choice_boxes", "chosen"]

WIDTHS: Final[dict[str, object]] = {
    "One column, 85 mm": 85.0,
    "One and a half, 120 mm": 120.0,
    "Two columns, 178 mm": 178.0,
}
PREVIEW_PX = 620
_SIZE: Final = (940, 600)
SETTLED_MS = 150  # after the last change, before the preview is drawn
MM_PER_INCH = 25.4
BOXES: Final = {
    "scale_bars": ("Scale bar", "A scale bar on the first section of each volume"),
    "colour_bars": ("Colour bar", "Colour bars with their axes, the medium marked"),
    "names": ("Names of sections", "XY, XZ and YZ on the sections"),
    "titles": ("Titles", "What each volume is, above it"),
    "outlines": ("Outlines", "The outlines of measured objects, if the views show them"),
    "overlay": ("Overlay", "The map of errors or uncertainty, if the views show one"),
    "crosshair": ("Crosshair", "Lines through the cursor"),
}


@dataclass(frozen=True, slots=True)
class FigurePlan:
    """How a figure is drawn; its choices of what is in it included."""

    width_mm: float = 178.0
    dpi: float = 300.0
    style: Style = LIGHT
    choices: Choices = Choices()  # noqa: RUF009  # frozen

    def drawn(
        self, snapshot: Snapshot, progress: Progress, pictures: "SolidPictures | None"
    ) -> "Figure":
        """Return the figure of a snapshot; raise Stopped if that was cancelled."""
        with ExitStack() as stack:
            solid = None
            if snapshot.solid is not None and pictures is not None:
                painter = stack.enter_context(pictures.painter(progress.stop.is_set))
                share = 1.0 if snapshot.state.enlarged == "3D" else 0.5
                height = round(share * self.width_mm / MM_PER_INCH * self.dpi)
                solid = painter.panel(snapshot, max(height, 64), self.dpi)
            progress.check()
            views = views_of(snapshot, self.choices, solid)
            return views_figure(views, self.width_mm, self.style)


class FigureDialog(JobDialog):
    """Chooses width, resolution and contents of a figure, shows it, and writes it.

    Parameters
    ----------
    parent : QWidget
    snapshot : Snapshot
        What the window shows.
    folder : Path
    pictures : SolidPictures or None
        Draws the 3D view, where it is shown.
    """

    def __init__(
        self, parent: QWidget, snapshot: Snapshot, folder: Path, pictures: "SolidPictures | None"
    ) -> None:
        super().__init__(parent, "Save a figure", "Save")
        self._snapshot, self._pictures = snapshot, pictures
        self.file.setText(dated_name(folder, ".png"))
        self.kind = combo_box(
            {s[1:].upper(): s for s in SUFFIXES}, "PNG for slides; SVG and PDF keep text as text"
        )
        self.preset = combo_box(WIDTHS, "Width of the figure on the page", 178.0)
        self.width_mm = QDoubleSpinBox()
        self.width_mm.setRange(30.0, 500.0)
        self.width_mm.setDecimals(0)
        self.width_mm.setSuffix(" mm")
        self.width_mm.setValue(178.0)
        self.dpi = combo_box(
            {f"{n} dpi": float(n) for n in (150, 300, 600)},
            "Pixels an inch, of the images within an SVG or a PDF, too", 300.0,
        )  # fmt: skip
        self.paper = combo_box({"White": LIGHT, "Dark": DARK}, "Colour of the paper")
        self.letters = QDoubleSpinBox()
        self.letters.setRange(5.0, 20.0)
        self.letters.setDecimals(1)
        self.letters.setSuffix(" pt")
        self.letters.setValue(LIGHT.letters_pt)
        self.boxes = choice_boxes(Choices())
        for title, widget in (
            ("Format", self.kind), ("Page", self.preset), ("Width", self.width_mm),
            ("Resolution", self.dpi), ("Paper", self.paper), ("Letters", self.letters),
        ):  # fmt: skip
            self.form.addRow(title, widget)
        for box in self.boxes.values():
            self.form.addRow("", box)
        self.preview = QLabel("drawing")
        self.preview.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.preview.setMinimumSize(PREVIEW_PX // 2, PREVIEW_PX * 3 // 8)  # on small screens
        self.body.addWidget(self.preview, 1)
        self._drawer = Worker(self, "figure-preview")
        self.workers.append(self._drawer)
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLED_MS)
        self._connect()
        resize_on_screen(self, *_SIZE)
        self._settle.start(0)

    def _connect(self) -> None:
        self.kind.currentIndexChanged.connect(
            lambda _: self.set_suffix(self.kind.currentData(), SUFFIXES)
        )
        self.preset.activated.connect(lambda _: self.width_mm.setValue(self.preset.currentData()))
        for box in self.boxes.values():
            box.toggled.connect(lambda _: self._settle.start())
        for spin in (self.width_mm, self.letters):
            spin.valueChanged.connect(lambda _: self._settle.start())
        self.paper.currentIndexChanged.connect(lambda _: self._settle.start())
        self._settle.timeout.connect(self._draw)
        self._drawer.finished.connect(self._show)
        self._drawer.failed.connect(self.refuse)

    def plan(self) -> FigurePlan:
        """Return what is chosen."""
        style = replace(self.paper.currentData(), letters_pt=self.letters.value())
        return FigurePlan(self.width_mm.value(), self.dpi.currentData(), style, chosen(self.boxes))

    def _draw(self) -> None:
        """Draw the preview; again later, if it is still being drawn."""
        if self._drawer.busy:
            self._settle.start()
            return
        if not self.isVisible():
            return
        ratio = self.devicePixelRatioF()
        plan = replace(self.plan(), dpi=PREVIEW_PX * ratio * MM_PER_INCH / self.width_mm.value())
        self._drawer.start(
            lambda progress: pixels_of(
                plan.drawn(self._snapshot, progress, self._pictures), plan.dpi
            )
        )

    def _show(self, pixels: "NDArray[np.uint8]") -> None:
        rows, columns, _ = pixels.shape
        kind = QImage.Format.Format_RGB888
        image = QImage(pixels.tobytes(), columns, rows, 3 * columns, kind).copy()
        ratio = self.devicePixelRatioF()
        room = self.preview.contentsRect().size() * ratio
        if image.width() > room.width() or image.height() > room.height():  # all of it is shown
            how = Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
            image = image.scaled(room, *how)
        shown = QPixmap.fromImage(image)
        shown.setDevicePixelRatio(ratio)
        self.preview.setPixmap(shown)
        if self.note.property("tone") == "error" and not self.worker.busy:
            set_text(self.note, "")

    def save(self) -> None:
        """Write the figure; the ending of the name decides the format."""
        plan, path = self.plan(), self.path

        def work(progress: Progress) -> str:
            figure = plan.drawn(self._snapshot, progress, self._pictures)
            progress.check()
            save_figure(figure, path, plan.dpi)
            return f"saved {path}"

        try:
            self.start(work)
        except LiveTomoError as error:
            self.refuse(str(error))


def choice_boxes(choices: Choices) -> dict[str, QCheckBox]:
    """Return a check box for each of the choices."""
    return {
        name: check_box(text, tip, on=getattr(choices, name)) for name, (text, tip) in BOXES.items()
    }


def chosen(boxes: dict[str, QCheckBox]) -> Choices:
    """Return the choices that are checked."""
    return Choices(**{name: box.isChecked() for name, box in boxes.items()})
