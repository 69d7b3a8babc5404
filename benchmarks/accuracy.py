"""Accuracy of raw tomograms: regenerates the tables of docs/explanation/accuracy.md.

    python -m benchmarks accuracy [--data FOLDER] [--only TABLE ...]

Every table is between ``<!-- NAME -->`` and ``<!-- /NAME -->`` in docs/explanation/accuracy.md and
is replaced there; the text around it is written by hand. FOLDER (or LIVETOMO_DATA) holds the
recording bead_exact and the measured fields hl60_cell; without it, their rows stay unchanged.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import reconstruction.fields
from acquisition.interferograms import InterferogramStack
from benchmarks.accuracy_cases import Score, Sphere, View, record, score
from benchmarks.pages import DOCS, make_tables, markdown
from reconstruction.settings import ReconstructionSettings
from tests.exact_bead import exact_bead

__all__ = ["TABLES", "main"]

_PAGE = DOCS / "explanation" / "accuracy.md"
_HEAD = (
    "index - band-limited truth",
    "index - sphere",
    "axial, um",
    "lateral, um",
    "position, um",
    "corr. band-limited",
    "corr. sphere",
)
BEAD = Sphere(2.0, 0.043)
NOISY = 5000.0


def _cells(s: Score) -> list[str]:
    return [
        f"{s.index_error:+.4f}",
        f"{s.true_index_error:+.4f}",
        f"{s.axial_um:+.2f}",
        f"{s.lateral_um:+.2f}",
        f"{s.position_um:.2f}",
        f"{s.correlation:.4f}",
        f"{s.true_correlation:.4f}",
    ]


def _table(first: Sequence[str], rows: Iterator[list[str]], last: Sequence[str] = _HEAD) -> str:
    return markdown(first, last, rows)


def spheres() -> str:
    """Return the table over radius, contrast and aperture, for Born and Rytov in 1 and 3 planes."""

    def rows() -> Iterator[list[str]]:
        for kind in ("cell", "bacteria"):
            for radius in (0.5, 1.0, 2.0, 3.5, 5.0):
                for contrast in (0.005, 0.02, 0.04, 0.08):
                    case = (Sphere(radius, contrast),)
                    yield _sphere_row(kind, case, radius, contrast)

    names = ("Born", "1 plane", "default planes")
    how = [f"{what}: {name}" for name in names for what in ("index", "corr.")]
    return _table(
        ("NA", "radius, um", "contrast"),
        rows(),
        (*how, "axial, um", "lateral, um", "position, um", "bending", "residues a frame"),
    )


def _sphere_row(kind: str, case: tuple[Sphere, ...], radius: float, contrast: float) -> list[str]:
    stacks = record(case, View(kind))
    row = ["1.2" if kind == "cell" else "0.8", f"{radius:g}", f"{contrast:g}"]
    for settings in (
        ReconstructionSettings(approximation="born"),
        ReconstructionSettings(planes=1),
        ReconstructionSettings(),
    ):
        s = score(case, stacks, settings)
        row += [f"{s.index_error:+.4f}", f"{s.correlation:.3f}"]
    residues = f"{s.residues:.1f}"
    sizes = [f"{s.axial_um:+.2f}", f"{s.lateral_um:+.2f}", f"{s.position_um:.2f}"]
    return [*row, *sizes, f"{s.bending:.3f}", residues]


def places() -> str:
    """Return the table of spheres off the centre, in pairs, and without stored wave vectors."""
    middle = replace(BEAD, contrast=0.03)
    pair = (Sphere(1.2, 0.03, (-2.2, 0.8, -1.0)), Sphere(1.5, 0.02, (2.0, -1.0, 1.2)))
    cases: list[tuple[str, tuple[Sphere, ...]]] = [("in the centre", (middle,))]
    centres = ((3.0, -2.0, 0.0), (0.0, 0.0, 1.5), (0.0, 0.0, 3.0), (2.0, 1.5, -2.5))
    cases += [(f"at x, y, z = {c}", (replace(middle, centre_um=c),)) for c in centres]
    cases += [("two spheres, the first", pair), ("two spheres, the second", pair[::-1])]

    def rows() -> Iterator[list[str]]:
        for kind in ("cell", "bacteria"):
            for known in (True, False):
                for name, case in cases:
                    s = score(case, record(case, View(kind, NOISY, known)))
                    aperture = "1.2, 49" if kind == "cell" else "0.8, 71"
                    yield [aperture, "yes" if known else "no", name, *_cells(s)]

    return _table(("NA, angles", "k stored", "sphere"), rows())


def noise() -> str:
    """Return the table over the noise, in photo-electrons at the highest grey value."""

    def rows() -> Iterator[list[str]]:
        for kind in ("cell", "bacteria"):
            for photons in (500.0, 2000.0, 5000.0, 50000.0, float("inf")):
                s = score((BEAD,), record((BEAD,), View(kind, photons)))
                yield ["1.2" if kind == "cell" else "0.8", f"{photons:g}", *_cells(s)]

    return _table(("NA", "photo-electrons"), rows())


def limits() -> str:
    """Return the table of single changes, on the sphere of the recording bead_exact."""
    usual, weak = record((BEAD,), View(photons=NOISY)), (replace(BEAD, contrast=0.0005),)
    choices: list[tuple[str, Callable[[], Score]]] = [("as it is", lambda: score((BEAD,), usual))]

    def add(name: str, settings: ReconstructionSettings) -> None:
        choices.append((name, lambda: score((BEAD,), usual, settings)))

    for planes in (1, 2, 5, 9):
        add(
            f"logarithm in {planes} plane{'s' * (planes > 1)}",
            ReconstructionSettings(planes=planes),
        )
    add("linear gridding along Kz", ReconstructionSettings(gridding="linear"))
    for planes in (1, 3):
        for factor in (2, 3):
            settings = ReconstructionSettings(planes=planes, oversampling=factor)
            add(f"Kz sampled {factor} times finer, {planes} planes", settings)
    settings = ReconstructionSettings(oversampling=2, gridding="linear")
    add("Kz sampled 2 times finer, linear", settings)
    for slices in (96, 128):
        add(f"{slices} slices", ReconstructionSettings(slices=slices))
    add("apodised over the outer 30 %", ReconstructionSettings(apodisation=0.3))
    choices += [
        (f"band of {margin:g} NA retrieved, not 1.05", _with_margin(margin, usual))
        for margin in (1.0, 1.2)
    ]
    free = record((BEAD,), View())
    unknown = record((BEAD,), View(photons=NOISY, known=False))
    choices.append(("no noise", lambda: score((BEAD,), free)))
    choices.append(("wave vectors estimated without a plan", lambda: score((BEAD,), unknown)))
    choices.append(("no noise, contrast 0.0005", lambda: score(weak, record(weak, View()))))
    milder = (replace(BEAD, contrast=0.023),)
    for photons, words in ((NOISY, ""), (float("inf"), ", no noise")):
        view = View("bacteria", photons)
        choices.append(
            (f"NA 0.8, 71 angles, contrast 0.023{words}", _scored(milder, view)),
        )
    return _table(("changed",), ([name, *_cells(made())] for name, made in choices))


def _scored(case: tuple[Sphere, ...], view: View) -> Callable[[], Score]:
    return lambda: score(case, record(case, view))


def _with_margin(
    margin: float, stacks: tuple[InterferogramStack, InterferogramStack]
) -> Callable[[], Score]:
    def scored() -> Score:
        usual = reconstruction.fields.BAND_MARGIN
        try:
            reconstruction.fields.BAND_MARGIN = margin
            return score((BEAD,), stacks)
        finally:
            reconstruction.fields.BAND_MARGIN = usual

    return scored


def recording(data: Path) -> str:
    """Return the table of the recording bead_exact, which was computed by other software."""
    pair = exact_bead(data)
    unknown = replace(pair[0], illumination_k=None), replace(pair[1], illumination_k=None)

    def rows() -> Iterator[list[str]]:
        for planes in (1, 3, 5):
            for known, stacks in (("yes", pair), ("no", unknown)):
                found = score((BEAD,), stacks, ReconstructionSettings(planes=planes))
                yield [f"{planes}", known, *_cells(found)]

    return _table(("planes", "k stored"), rows())


TABLES: dict[str, Callable[[], str]] = {
    "limits": limits,
    "spheres": spheres,
    "places": places,
    "noise": noise,
}


def main(argv: Sequence[str] = ()) -> int:
    """Make the tables and write them into the page."""
    parser = argparse.ArgumentParser(prog="benchmarks.accuracy", description=__doc__)
    return make_tables(_PAGE, TABLES, {"recording": recording}, parser, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
