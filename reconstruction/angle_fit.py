"""Measures a microscope from the fringes of an empty field: angles, carrier, contrast, emptiness.

The interferogram of angle i is I = A (1 + V cos(2 pi (k_c + k_i) . r + phase)): the position of its
sideband gives the angle, its height the visibility V. All figures are of a background, which must
hold no sample. A second background, taken with the stage moved, shows whether that holds
(``emptiness``): dust and aberrations of the light path stay in place, a sample moves.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from acquisition.errors import DataError
from acquisition.illumination.angles import AngleSet
from acquisition.illumination.gratings import Matrix
from acquisition.interferograms import InterferogramStack
from acquisition.optics import Optics
from reconstruction.reconstructor import Reconstructor
from reconstruction.wave_vectors import WaveVectors, find_wave_vectors, folded_conjugates

__all__ = ["AngleFit", "CarrierFit", "carrier_fit", "emptiness", "fit_angles"]

Points = NDArray[np.float64]

_TRIPLES = 500
_IN_A_LINE = 0.02  # of the plan's extent, squared: below, three angles are too nearly in a line
_STANDSTILL = 0.05  # determinant of the map
_AGREES = 0.05  # NA/wavelength
_DUPLICATE = 0.5  # of the smallest planned distance
_DARK = 0.2  # of the median visibility, below which an angle counts as without fringes
_OBJECT = 0.15  # of the field; larger differences are not the noise of a well exposed background
_NOISE = 2.5  # standard deviations a component; noise alone has a mean distance of 1.25


@dataclass(frozen=True, slots=True)
class AngleFit:
    """Measured illumination wave vectors against the planned ones.

    Parameters
    ----------
    vectors : WaveVectors
        Measured wave vectors.
    planned : (angles, 2)
        Planned wave vectors, cycles/um.
    correction : ((xx, xy), (yx, yy))
        k measured = correction k planned, by least squares.
    offset : (kx, ky)
        Constant term of the fit, cycles/um; small, since the carrier includes any common shift.
    residual : (angles,)
        Distance of each angle from the fit, cycles/um; nan where it cannot be measured.
    visibility : (angles,)
        Fringe visibility, 0 to 1.
    missing : tuple of int
        Angles without fringes.
    duplicates : tuple of (int, int)
        Pairs that lie closer together than half of the smallest planned distance.
    """

    vectors: WaveVectors
    planned: Points
    correction: Matrix
    offset: tuple[float, float]
    residual: Points
    visibility: Points
    missing: tuple[int, ...]
    duplicates: tuple[tuple[int, int], ...]

    @property
    def rotation_deg(self) -> float:
        """Rotation of the DMD's image against the camera, in degrees from x towards y."""
        (xx, xy), (yx, yy) = self.correction
        return float(np.degrees(np.arctan2(yx - xy, xx + yy)))

    @property
    def scale(self) -> float:
        """Ratio of the measured to the planned |k|."""
        return float(np.sqrt(abs(np.linalg.det(np.array(self.correction)))))


def fit_angles(background: InterferogramStack, planned: AngleSet) -> AngleFit:
    """Measure the angles of a background and fit the plan to them.

    The DMD's image may be rotated, mirrored and stretched in any way. A rotation by 180 degrees
    looks like none, so the fit closer to the plan is taken.

    Parameters
    ----------
    background : InterferogramStack
    planned : AngleSet
        The angles that the gratings were made for, without a correction.

    Raises
    ------
    DataError
        If there are no fringes, or fewer than three angles that are not in a line, from which no
        matrix can be fitted.
    """
    _check_plane(planned.k)
    image, vectors = _measured(background, planned)
    usable = np.ones(len(planned), bool)
    usable[[*vectors.unusable, *background.lost]] = False
    design = np.column_stack([planned.k, np.ones(len(planned))])
    _check_plane(planned.k[usable])
    off = vectors.k - image
    off = np.hypot(*(off - np.median(off[usable], axis=0)).T)
    robust = usable & (off <= max(_AGREES * background.optics.cutoff, np.median(off[usable])))
    fit = np.linalg.lstsq(design[robust], vectors.k[robust], rcond=None)[0]  # (3, 2)
    residual = np.where(usable, np.hypot(*(vectors.k - design @ fit).T), np.nan)
    (xx, yx), (xy, yy), offset = fit.tolist()
    visibility = _visibilities(background, vectors)
    dark = ~(visibility > _DARK * np.median(visibility[usable]))
    return AngleFit(
        vectors,
        planned.k,
        ((xx, xy), (yx, yy)),
        (offset[0], offset[1]),
        residual,
        visibility,
        tuple(int(i) for i in np.flatnonzero(dark)),
        _duplicates(vectors.k, planned.k, usable),
    )


def _check_plane(k: Points) -> None:
    if np.linalg.matrix_rank(np.column_stack([k, np.ones(len(k))])) < 3:
        raise DataError(
            f"at least three angles that are not in a line must show fringes, got {len(k)}, too "
            "few or in a line: check the reference beam, the Fourier stop and the pictures"
        )


def _measured(background: InterferogramStack, planned: AngleSet) -> tuple[Points, WaveVectors]:
    """Return the plan mapped onto the measured angles, and the wave vectors found near it."""
    normal = planned.normal if planned.normal not in background.lost else None
    blind = find_wave_vectors(replace(background, illumination_k=None, normal=normal))
    image = planned.k @ _most_agreed(planned.k, blind.k)
    return image, find_wave_vectors(replace(background, illumination_k=image))


def _most_agreed(planned: Points, found: Points) -> Points:
    """Return the matrix of the affine map, for rows of k, that most angles agree with.

    It is the best of many maps through three angles each: least squares would be misled by a few
    pictures in the wrong order.
    """
    design = np.column_stack([planned, np.ones(len(planned))])
    usable = np.flatnonzero(np.isfinite(found).all(axis=1))
    rng = np.random.default_rng(0)
    best, smallest = np.eye(3, 2), np.inf
    for _ in range(_TRIPLES):
        three = rng.choice(usable, 3, replace=False)
        if abs(np.linalg.det(design[three])) < _IN_A_LINE * np.ptp(planned) ** 2:
            continue
        fit = np.linalg.solve(design[three], found[three])
        error = float(np.median(np.hypot(*(found - design @ fit)[usable].T)))
        if error < smallest:
            best, smallest = fit, error
    matrix = np.asarray(best[:2])
    if not abs(np.linalg.det(matrix)) > _STANDSTILL:
        raise DataError(
            "the measured angles must change with the planned ones, and they are all the same: "
            "check that the DMD shows its pictures and triggers the camera"
        )
    return -matrix if np.trace(matrix) < 0 else matrix


def _duplicates(
    k: Points, planned: Points, usable: NDArray[np.bool_]
) -> tuple[tuple[int, int], ...]:
    """Return pairs of usable angles that were measured nearly the same."""
    if len(k) < 2:
        return ()
    first, second = np.triu_indices(len(k), 1)
    wanted = np.hypot(*(planned[first] - planned[second]).T)
    least = float(wanted[wanted > 0].min(initial=np.inf))
    with np.errstate(invalid="ignore"):
        near = np.hypot(*(k[first] - k[second]).T) < _DUPLICATE * least
    near &= usable[first] & usable[second]
    return tuple((int(a), int(b)) for a, b in zip(first[near], second[near], strict=True))


@dataclass(frozen=True, slots=True)
class CarrierFit:
    """Distances of the sideband from what it must not overlap, in NA/wavelength.

    Parameters
    ----------
    distance : float
        Distance of the carrier from the zero order.
    to_zero_order : float
        Gap between the sideband's disk (radius 1) and that of the zero order's halo (radius 2);
        negative where they overlap: a strong sample's own intensity then disturbs its phase.
    to_conjugate : float
        Gap between the sideband's disk and that of its conjugate, folded at the camera's Nyquist
        frequency; negative where they overlap: angles there are left out.
    """

    distance: float
    to_zero_order: float
    to_conjugate: float


def carrier_fit(carrier: tuple[float, float], optics: Optics) -> CarrierFit:
    """Return the sideband's distances for a carrier (kx, ky) in cycles/um."""
    sampling = 1 / optics.pixel_size_um
    folds = sampling * np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    zero = float(np.hypot(*(folds - carrier).T).min()) / optics.cutoff
    conjugate = float(np.hypot(*folded_conjugates(carrier, optics).T).min()) / optics.cutoff
    return CarrierFit(float(np.hypot(*carrier)) / optics.cutoff, zero - 3, conjugate - 2)


def _visibilities(background: InterferogramStack, vectors: WaveVectors) -> Points:
    """Return the fringe visibility V of each angle, (angles,); 0 without fringes."""
    rows, columns = background.frames.shape[1:]
    pixel = background.optics.pixel_size_um
    window_y, window_x = (np.hanning(n + 1)[:-1] for n in (rows, columns))
    found = np.zeros(len(background.frames))
    for i, frame in enumerate(background.frames):  # runs once per calibration, not per frame
        if i in background.lost or not np.isfinite(vectors.k[i]).all():
            continue
        fx, fy = vectors.k[i] + vectors.carrier
        wave_y = window_y * np.exp(-2j * np.pi * fy * pixel * np.arange(rows))
        wave_x = window_x * np.exp(-2j * np.pi * fx * pixel * np.arange(columns))
        mean = float(window_y @ frame @ window_x)
        found[i] = 2 * abs(wave_y @ frame @ wave_x) / mean if mean > 0 else 0.0
    return found


def emptiness(background: InterferogramStack, beside: InterferogramStack) -> float:
    """Return the share of the field that is empty at both of two stage positions.

    Parameters
    ----------
    background : InterferogramStack
    beside : InterferogramStack
        Background with the same light path, the stage moved by part of the field.

    Returns
    -------
    float
        1 if nothing moved. Pixels whose field changed by more than 0.15, or by more than its noise,
        count as not empty.
    """
    reconstructor = Reconstructor(background)
    lost = {*background.lost, *beside.lost, *reconstructor.wave_vectors.unusable}
    fields, quality = reconstructor.retrieve(beside.frames, beside, lost=tuple(sorted(lost)))
    kept = [i for i in range(len(beside.frames)) if i not in lost]
    change = (fields[kept] - 1).abs().mean(dim=0)
    limit = max(_OBJECT, _NOISE * float(np.median(quality.noise[kept])))
    return float((change < limit).float().mean())
