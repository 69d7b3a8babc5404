"""Volume and dry mass of exact spheres: regenerates the tables of docs/how-to/measuring.md.

    python -m benchmarks measuring [--only TABLE ...]

Every table is between ``<!-- NAME -->`` and ``<!-- /NAME -->`` in the page and is replaced there.
Spheres are exact partial-wave solutions (tests/partial_waves.py), each at a place of its own. They
are recorded at NA 1.2 with 49 angles and 5,000 photons, reconstructed, regularized, and measured as
``launcher.py measure`` does.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

import livetomo
from benchmarks.accuracy_cases import Sphere, View, record
from benchmarks.pages import DOCS, make_tables, markdown
from measuring.finding import find_objects
from measuring.measure_volume import measure_volume
from measuring.measured_object import MeasuredObject
from measuring.outline import LabelledVolume, find_outline
from measuring.surface import area_and_volume
from measuring.threshold import otsu
from reconstruction.inversion import contrast_of
from reconstruction.reconstructor import Reconstruction, Reconstructor
from reconstruction.tomogram import Tomogram, index_from_contrast
from regularizer.registry import regularizer
from tests.scans import sphere_spectrum

__all__ = ["TABLES", "main"]

_PAGE = DOCS / "how-to" / "measuring.md"
_INCREMENT = 0.19
_RADII = (0.7, 1.0, 1.5, 2.0, 3.0)
_CONTRASTS = (-0.02, 0.01, 0.02, 0.03, 0.045, 0.06)
_VOLUMES = ("none", "tv", "deep")


def spheres() -> str:
    """Return the table over radius and contrast: errors of volume and dry mass in per cent."""

    def rows() -> Iterator[list[str]]:
        rng = np.random.default_rng(7)
        for radius in _RADII:
            for contrast in _CONTRASTS:
                x, y, z = (float(v) for v in rng.uniform(-0.8, 0.8, 3))
                yield _sphere_row(
                    Sphere(radius, contrast, (x, y, z)), seed=int(rng.integers(1_000_000))
                )

    names = [f"{name}: {what}" for name in ("raw", "tv", "deep") for what in ("volume", "dry mass")]
    return markdown(("radius, um", "contrast"), names, rows())


def _sphere_row(sphere: Sphere, seed: int) -> list[str]:
    made = _reconstructed(sphere, seed)
    row = [f"{sphere.radius_um:g}", f"{sphere.contrast:g}"]
    for name in _VOLUMES:
        seen = regularizer(name)(made.tomogram, made.spectrum).windowed()
        row += _errors(_nearest(seen, sphere), sphere)
    return row


def _reconstructed(sphere: Sphere, seed: int) -> Reconstruction:
    frame = 192 if sphere.radius_um < 2 else 256
    background, sample = record((sphere,), View(photons=5000.0, frame=frame), seed)
    return Reconstructor(background)(sample)


def _nearest(seen: Tomogram, sphere: Sphere) -> MeasuredObject | None:
    """Return the object that the sphere is; None where it is not found."""
    found = measure_volume(seen.index.numpy(), seen.voxel_size_um, seen.optics).objects
    centre = sphere.centre_um[::-1]
    near = [one for one in found if math.dist(one.centroid_um, centre) < sphere.radius_um]
    return max(near, key=lambda one: one.volume_um3, default=None)


def _errors(one: MeasuredObject | None, sphere: Sphere) -> list[str]:
    if one is None:
        return ["not found", "not found"]
    volume = _volume(sphere)
    mass = volume * sphere.contrast / _INCREMENT
    return [_percent(one.volume_um3 / volume), _percent(one.dry_mass_pg / mass)]


def _volume(sphere: Sphere) -> float:
    return 4 / 3 * math.pi * sphere.radius_um**3


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f}"


def cells() -> str:
    """Return the table of simulated samples beside their known index, both measured."""

    def rows() -> Iterator[list[str]]:
        for kind in ("cell", "fatty", "several", "adherent", "cocci"):
            recording = livetomo.simulate_scan(kind, seed=2, frame=192)
            raw = livetomo.reconstruct(recording[0], device="cpu")
            known = recording.truth_like(raw)
            assert known is not None
            truth = livetomo.measure(known).objects
            for name in ("tv", "deep"):
                found = livetomo.measure(livetomo.regularize(raw, name)).objects
                yield [
                    kind, name, f"{len(truth)}", f"{len(found)}",
                    _percent(_sum(found, "volume_um3") / _sum(truth, "volume_um3")),
                    _percent(_sum(found, "dry_mass_pg") / _sum(truth, "dry_mass_pg")),
                ]  # fmt: skip

    return markdown(("sample", "by"), ("objects", "found", "volume", "dry mass"), rows())


def _sum(objects: Sequence[MeasuredObject], name: str) -> float:
    return float(sum(getattr(one, name) for one in objects))


def estimators() -> str:
    """Return the table of what each step of measuring brings, on the band-limited truth."""

    def rows() -> Iterator[list[str]]:
        for radius in (0.7, 1.0, 1.5, 2.0, 3.0):
            sphere = Sphere(radius, 0.03, (0.13, -0.21, 0.17))
            made = _reconstructed(sphere, seed=1)
            values = sphere_spectrum(
                made.spectrum, radius, made.spectrum.optics.medium_index + 0.03, sphere.centre_um
            )
            spectrum = replace(made.spectrum, values=values.to(made.spectrum.values.dtype))
            index = index_from_contrast(contrast_of(spectrum), spectrum.optics.medium_index)
            for name in ("tv", "deep"):
                raw = replace(made.tomogram, index=index)
                seen = regularizer(name)(raw, spectrum).windowed()
                yield [f"{radius:g}", name, *_steps(seen, sphere)]

    return markdown(
        ("radius, um", "by"),
        (
            "voxels above Otsu's threshold",
            "half maximum",
            "half maximum, without blur",
            "mass above the threshold",
            "mass with the rim",
        ),
        rows(),
    )


def _steps(seen: Tomogram, sphere: Sphere) -> list[str]:
    """Return the errors of a sphere's volume and dry mass, step by step."""
    contrast = seen.index.numpy() - np.float32(seen.optics.medium_index)
    threshold = otsu(np.abs(contrast))
    assert threshold is not None
    resolution = seen.optics.axial_resolution_um, seen.optics.lateral_resolution_um
    labels = find_objects(contrast, threshold, seen.voxel_size_um, max(resolution), 0.2)
    (box,) = ndimage.find_objects(labels)
    volume = LabelledVolume(contrast, labels, seen.voxel_size_um, resolution)
    outline = find_outline(volume, 1, box)
    assert outline is not None
    above, voxel = contrast > threshold, math.prod(seen.voxel_size_um)
    _, half = area_and_volume(
        np.pad(outline.contrast, 1, constant_values=outline.around), outline.level,
        seen.voxel_size_um,
    )  # fmt: skip
    whole, mass = _volume(sphere), _volume(sphere) * sphere.contrast
    (one,) = measure_volume(seen.index.numpy(), seen.voxel_size_um, seen.optics).objects
    ratios = (
        np.count_nonzero(above) * voxel / whole,
        half / whole,
        one.volume_um3 / whole,
        float(contrast[above].sum()) * voxel / mass,
        one.dry_mass_pg * _INCREMENT / mass,
    )
    return [_percent(float(ratio)) for ratio in ratios]


TABLES: dict[str, Callable[[], str]] = {
    "spheres": spheres,
    "cells": cells,
    "estimators": estimators,
}


def main(argv: Sequence[str] = ()) -> int:
    """Make the tables and write them into the page."""
    parser = argparse.ArgumentParser(prog="benchmarks.measuring", description=__doc__)
    return make_tables(_PAGE, TABLES, {}, parser, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
