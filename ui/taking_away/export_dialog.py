"""The volumes of the scan on display, or of the whole file, in a format of other programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PySide6.QtCore import QLocale
from PySide6.QtWidgets import QCheckBox, QDoubleSpinBox, QHBoxLayout, QWidget

from acquisition.choices import REGULARIZERS, VOLUMES
from acquisition.errors import DataError, LiveTomoError
from files.exporting.export_tomograms import export_tomograms
from files.exporting.formats import FORMATS
from files.exporting.single_tomogram import OWN, SingleTomogram, export_single
from files.series import ScanLocation
from files.tomograms import TomogramSeries, read_tomograms
from pipeline.wire.state import QualityView, TomogramView
from ui.taking_away.job_dialog import JobDialog, combo_box, dated_name
from ui.taking_away.worker import Progress

__all__ = ["ExportDialog", "single_of"]

OWN_TITLE: Final = "LiveTomo's tomogram file"
_WARNINGS: Final = 2  # that are told in full


def single_of(view: TomogramView, check: QualityView | None) -> SingleTomogram:
    """Return the volumes of the scan on display.

    Raises
    ------
    DataError
        If its optics are unknown.
    """
    if view.optics is None:
        raise DataError("a scan must have its optics to be exported, and this one has none")
    volumes = {"raw": view.raw}
    if view.regularized is not None and view.method in REGULARIZERS:
        volumes[REGULARIZERS[view.method].volume] = view.regularized
    elif view.regularized is not None and view.method in VOLUMES:
        volumes[view.method] = view.regularized
    reference = view.total_variation
    if reference is None and check is not None and check.sequence == view.sequence:
        reference = check.reference if check.reference.shape == view.raw.shape else None
    if reference is not None:
        volumes.setdefault("tv", reference)
    provenance = {"source": "the window", "regularizer": view.method}
    return SingleTomogram(
        volumes,
        view.voxel_size_um,
        view.optics,
        view.timestamp,
        view.sequence,
        provenance,
        ScanLocation(0, correction_um=view.correction_um) if view.position else None,
        view.position,
    )


class ExportDialog(JobDialog):
    """Chooses scans, volumes and format, and writes them while the window goes on.

    Parameters
    ----------
    parent : QWidget
    scan : SingleTomogram
        The scan on display.
    folder : Path
    file : Path or None
        The tomogram file in the window.
    """

    def __init__(
        self, parent: QWidget, scan: SingleTomogram, folder: Path, file: Path | None = None
    ) -> None:
        super().__init__(parent, "Export volumes", "Export")
        self._scan = scan
        self._series: TomogramSeries | None = None if file is None else read_tomograms(file)
        scans: dict[str, object] = {"The scan on display": "scan"}
        if self._series is not None:
            scans = {f"All scans of {self._series.path.name} ({len(self._series)})": "file"} | scans
        self.scans = combo_box(scans, "What is exported")
        kinds: dict[str, object] = {
            f"{how.title} ({how.opened_by})": kind
            for kind, how in FORMATS.items()
            if not how.movie  # those have Ctrl+M
        }
        kinds[OWN_TITLE] = OWN
        self.kind = combo_box(kinds, "docs/how-to/exporting.md says what each format keeps")
        self.volumes: dict[str, QCheckBox] = {}
        self._boxes = QHBoxLayout()
        self.level = QDoubleSpinBox()
        self.level.setLocale(QLocale.c())
        self.level.setRange(0.0, 3.0)
        self.level.setDecimals(4)
        self.level.setSingleStep(0.001)
        self.level.setSpecialValueText("half way to the object's")
        self.level.setToolTip("RI of the surface")
        self.file.setText(dated_name(folder, FORMATS["ome-zarr"].suffix))
        self.form.addRow("Scans", self.scans)
        self.form.addRow("Format", self.kind)
        self.form.addRow("Volumes", self._boxes)
        self.form.addRow("Surface at", self.level)
        self.scans.currentIndexChanged.connect(lambda _: self._draw())
        self.kind.currentIndexChanged.connect(lambda _: self._draw())
        self._draw()

    @property
    def _suffix(self) -> str:
        kind = self.kind.currentData()
        return f".{OWN}" if kind == OWN else FORMATS[kind].suffix

    def _held(self) -> list[str]:
        """Return the volumes that can be exported."""
        if self.scans.currentData() == "scan" or self._series is None:
            return list(self._scan.volumes)
        return ["raw", *(name for name in VOLUMES if len(self._series.indices.get(name, ())))]

    def _draw(self) -> None:
        kind = self.kind.currentData()
        self.set_suffix(self._suffix, (f".{OWN}", *(f.suffix for f in FORMATS.values())))
        held = self._held()
        if list(self.volumes) != held:
            for box in self.volumes.values():
                self._boxes.removeWidget(box)
                box.deleteLater()
            self.volumes = {name: QCheckBox(name) for name in held}
            for name, box in self.volumes.items():
                box.setChecked(name == held[-1] if len(held) < 3 else name != "tv")
                self._boxes.addWidget(box)
        surfaces = kind != OWN and FORMATS[kind].surfaces
        self.form.setRowVisible(self.level, surfaces)
        whole = self.scans.currentData() == "file"
        self.begin.setEnabled(not (whole and kind == OWN) and not self.worker.busy)
        self.note.setText("this file is LiveTomo's own already" if whole and kind == OWN else "")

    def _chosen(self) -> list[str]:
        return [name for name, box in self.volumes.items() if box.isChecked()]

    def save(self) -> None:
        """Write what is chosen."""
        kind, path, volumes = self.kind.currentData(), self.path, self._chosen()
        surfaces = kind != OWN and FORMATS[kind].surfaces
        levels = [self.level.value()] if surfaces and self.level.value() >= 1 else []
        series = self._series if self.scans.currentData() == "file" else None
        if not volumes:
            self.refuse("choose at least one volume")
            return

        def work(progress: Progress) -> str:
            def tell(what: str, done: int, total: int) -> None:
                progress(done, total)

            if series is None:
                files, warnings = export_single(self._scan, kind, path, volumes, tell, levels)
            else:
                made, warnings = export_tomograms(
                    series.path, kind, path, volumes, (), tell, levels
                )
                files = [file.path for file in made]
            return _said(files, warnings)

        try:
            self.start(work)
        except LiveTomoError as error:
            self.refuse(str(error))


def _said(files: Sequence[Path], warnings: Sequence[str]) -> str:
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    said = [f"saved {files[0]}{more}", *warnings[:_WARNINGS]]
    if len(warnings) > _WARNINGS:
        said.append(f"and {len(warnings) - _WARNINGS} warnings more")
    return "; ".join(said)
