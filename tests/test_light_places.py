"""Frames that do not match their background, and light in impossible places.

Exact spheres of 2 um radius, 1.380 in 1.337, seen from 25 directions: a sound raw tomogram has a
mean index of 1.376 within 70 % of the radius.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from acquisition.errors import DataError
from acquisition.illumination.angles import circular_scan, spiral_scan
from acquisition.interferograms import InterferogramStack
from acquisition.optics import Optics
from files.recording import RecordingWriter
from launcher import main
from reconstruction.fields import FieldPlan, FieldStack
from reconstruction.light_places import LightPlaces
from reconstruction.reconstructor import Reconstruction, Reconstructor
from reconstruction.rolling import RollingTomography
from reconstruction.settings import ReconstructionSettings
from reconstruction.wave_vectors import find_wave_vectors
from tests.partial_waves import sphere_fields
from tests.scans import CELL, distance_um, interferograms

OPTICS, ANGLES, PIXELS = CELL.optics, 25, 192
K = circular_scan(ANGLES, 0.9 * OPTICS.cutoff).k
CARRIER = (3.95, 3.95)
RADIUS_UM, INDEX = 2.0, 1.380
ONE_PLANE = ReconstructionSettings(slices=16, planes=1)
Frames = NDArray[Any]
Fields = NDArray[np.complex128]


@pytest.fixture(scope="module")
def sphere() -> Fields:
    return sphere_fields(OPTICS, K, RADIUS_UM, INDEX, (PIXELS, PIXELS)).numpy()


def pictures(
    fields: Fields | None = None,
    carrier: tuple[float, float] = CARRIER,
    k: NDArray[np.float64] = K,
    optics: Optics = OPTICS,
) -> InterferogramStack:
    return interferograms(optics, k, fields, (PIXELS, PIXELS), carrier)


@pytest.fixture(scope="module")
def background() -> InterferogramStack:
    return pictures()


@pytest.fixture(scope="module")
def sample(sphere: Fields) -> InterferogramStack:
    return pictures(sphere)


@pytest.fixture(scope="module")
def one_plane(background: InterferogramStack) -> Reconstructor:
    return Reconstructor(background, settings=ONE_PLANE)


@pytest.fixture(scope="module")
def unplanned(background: InterferogramStack) -> Reconstructor:
    """Return the same without planned wave vectors; a scan that is refused teaches it nothing."""
    return Reconstructor(replace(background, illumination_k=None), settings=ONE_PLANE)


def inside(result: Reconstruction) -> float:
    """Return the mean index within 70 % of the radius."""
    tomogram = result.tomogram
    shape = (tomogram.index.shape[0], tomogram.index.shape[1], tomogram.index.shape[2])
    r = distance_um(shape, tomogram.voxel_size_um)
    return float(tomogram.index[r < 0.7 * RADIUS_UM].mean())


def reordered(stack: InterferogramStack, order: Iterable[int]) -> InterferogramStack:
    return replace(stack, frames=stack.frames[list(order)])


# ---- Frames and their background -----------------------------------------------------------------

TEXT = sorted(range(ANGLES), key=str)
ORDERS: list[tuple[list[int], str]] = [
    (np.roll(range(ANGLES), 1).tolist(), r"shifted by one frame \(each .* angle 1 before its own"),
    (np.roll(range(ANGLES), -2).tolist(), r"shifted by 2 frames \(each .* angle 2 after its own"),
    (list(range(ANGLES))[::-1], "25 frames .* frames are in reverse order$"),
    ([0, *range(ANGLES - 1, 0, -1)], "in reverse order, shifted by one frame"),
    (TEXT, r"sample's frames are sorted as text \(1, 10, 11, 2"),
    (np.argsort(TEXT).tolist(), "background's frames are sorted as text"),
    ([*range(9), *range(10, ANGLES), 0], "from angle 9 on they are shifted by one frame"),
    (np.random.default_rng(0).permutation(ANGLES).tolist(), "another order .*frame 0 shows angle"),
]


@pytest.mark.parametrize("planned", [True, False])
@pytest.mark.parametrize(("order", "cause"), ORDERS)
def test_a_scan_in_another_order_is_refused_with_its_cause(
    sample: InterferogramStack,
    one_plane: Reconstructor,
    unplanned: Reconstructor,
    order: list[int],
    cause: str,
    planned: bool,
) -> None:
    reconstructor = one_plane if planned else unplanned
    with pytest.raises(DataError, match=cause):
        reconstructor(reordered(sample, order))
    with pytest.raises(DataError, match=cause):
        reconstructor.field_stack(reordered(sample, order))
    assert reconstructor.oriented == planned


def test_single_frames_of_other_angles_are_left_out_and_named(
    background: InterferogramStack, sample: InterferogramStack
) -> None:
    order = list(range(ANGLES))
    order[4], order[5], order[17] = 5, 4, 2
    result = Reconstructor(background)(reordered(sample, order))
    assert result.report.left_out == (4, 5, 17)
    assert result.report.reasons[4] == "light 0.2 NA/wavelength from the background's"
    assert result.report.reasons[17].startswith("light 1.7 NA/wavelength")
    notes = " ".join(result.report.warnings)
    assert "NA/wavelength from the background's: angles 4, 5" in notes and "angles 17" in notes
    assert inside(result) == pytest.approx(1.376, abs=0.001)


def test_a_tilt_of_the_reference_is_no_other_angle(
    background: InterferogramStack, sphere: Fields
) -> None:
    """A common shift is removed up to half of the way to the next angle, 0.23 NA/wavelength."""
    result = Reconstructor(background)(pictures(sphere, k=K + np.array([0.15, 0.1])))
    assert result.report.warnings == ()
    assert inside(result) == pytest.approx(1.376, abs=0.0015)


def test_a_light_path_that_has_moved_and_a_scan_of_other_angles(one_plane: Reconstructor) -> None:
    with pytest.raises(DataError, match="all by the same distance, so the light path has moved"):
        one_plane(pictures(k=K + np.array([0.35, -0.2])))
    others = circular_scan(ANGLES, 0.45 * OPTICS.cutoff).k
    with pytest.raises(DataError, match="other angles"):
        one_plane(pictures(k=others))


@pytest.mark.parametrize(
    ("radius", "index", "centre", "photons", "reference"),
    [
        (2.0, 1.45, (0, 0, 0), 5000, 1.0),
        (7.0, 1.38, (0, 0, 0), 5000, 1.0),  # 6 rad over most of the field
        (7.0, 1.38, (5, 3, 0), 5000, 1.0),
        (6.0, 1.50, (0, 0, 3), 5000, 1.0),
        (4.0, 1.30, (3, 0, 4), 500, 1.0),
        (7.0, 1.38, (0, 0, 0), 500, 0.05),  # fringes of 10 % visibility
        (2.0, 1.38, (0, 0, 0), 100, 0.05),
    ],
)
def test_strong_samples_weak_fringes_and_noise_are_no_false_alarm(
    radius: float,
    index: float,
    centre: tuple[float, float, float],
    photons: float,
    reference: float,
) -> None:
    """8-bit frames with shot noise; the same frames shifted by one are all detected."""
    k = circular_scan(9, 0.9 * OPTICS.cutoff).k
    fields = sphere_fields(OPTICS, k, radius, index, (PIXELS, PIXELS), centre).numpy()
    rng = np.random.default_rng(0)

    def noisy(fields: Fields) -> InterferogramStack:
        stack = interferograms(OPTICS, k, reference * fields, (PIXELS, PIXELS), CARRIER)
        frames = rng.poisson(stack.frames / 65535 * photons) / photons * 255
        return replace(stack, frames=np.minimum(np.rint(frames), 255).astype(np.uint8))

    empty, scan = noisy(np.ones_like(fields)), noisy(fields)
    reconstructor = Reconstructor(empty, settings=ONE_PLANE)
    _, quality = reconstructor.retrieve(scan.frames, scan)
    assert reconstructor.unusable_frames(quality) == {}
    _, quality = reconstructor.retrieve(np.roll(scan.frames, 1, axis=0), scan)
    assert len(reconstructor.unusable_frames(quality)) == 9


def test_rolling_tomography_leaves_out_frames_of_other_angles(
    sample: InterferogramStack, one_plane: Reconstructor
) -> None:
    rolling = RollingTomography(one_plane)
    rolling.update(sample.frames, 0, sample)
    rolling.update(sample.frames[5:8], 6, sample)
    report = rolling.reconstruction().report
    assert report.left_out == (6, 7, 8)
    rolling.update(sample.frames[6:9], 6, sample)
    assert rolling.reconstruction().report.left_out == ()
    rolling.update(np.roll(sample.frames, 1, axis=0), 0, sample)
    with pytest.raises(DataError, match="shifted by one frame"):
        rolling.reconstruction()


def test_looking_at_the_places_costs_the_frame_path_little() -> None:
    """49 sidebands of 256 x 256 pixels, beside the transforms that make them."""
    k = circular_scan(49, 0.9 * OPTICS.cutoff).k
    device = torch.device("cpu")
    plan = FieldPlan((256, 256), OPTICS, CARRIER, device)
    places = LightPlaces(plan, k, OPTICS, device)
    frames = torch.randint(0, 255, (49, 256, 256), dtype=torch.uint8)

    def seconds(call: Callable[[], Any]) -> float:
        begin = time.process_time()
        call()
        return time.process_time() - begin

    sideband = plan.sideband(frames)
    retrieval = min(seconds(lambda: plan.retrieve(frames)) for _ in range(3))
    assert min(seconds(lambda: places.measure(sideband)) for _ in range(3)) < 0.3 * retrieval


def test_the_commands_refuse_a_shifted_scan(
    tmp_path: Path,
    background: InterferogramStack,
    sample: InterferogramStack,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with RecordingWriter(tmp_path / "shifted.h5", background) as writer:
        writer.append(reordered(sample, np.roll(range(ANGLES), 1)))
    argv = ["reconstruct", str(tmp_path / "shifted.h5"), "-o", str(tmp_path / "t.h5")]
    assert main([*argv, "--regularizer", "none", "--planes", "1", "--slices", "16"]) != 0
    told = capsys.readouterr()
    assert "shifted by one frame" in " ".join((told.out + told.err).split())
    for name, frames in (("sample", np.roll(sample.frames, 1, axis=0)), ("e", background.frames)):
        np.save(tmp_path / f"{name}.npy", frames)
    (tmp_path / "o.toml").write_text(
        "wavelength_um = 0.532\nnumerical_aperture = 1.2\nmedium_index = 1.337\n"
        f"pixel_size_um = 0.08\nangles = {ANGLES}\n"
    )
    argv = ["import", f"{tmp_path}/sample.npy", "--background", f"{tmp_path}/e.npy"]
    assert main([*argv, "--optics", f"{tmp_path}/o.toml", "-o", f"{tmp_path}/r.h5"]) == 1
    assert "shifted by one frame" in capsys.readouterr().err
    assert not (tmp_path / "r.h5").exists()


# ---- Light outside the pupil ---------------------------------------------------------------------


def with_fringe(
    stack: InterferogramStack, angle: int, frequency: tuple[float, float], strength: float = 1.5
) -> InterferogramStack:
    """Return the scan with a parasitic fringe in one frame, stronger than its own (1)."""
    y, x = ((np.arange(n) - n // 2) * OPTICS.pixel_size_um for n in stack.frames.shape[1:])
    wave = np.cos(2 * np.pi * (frequency[0] * x + frequency[1] * y[:, None]))
    frames = stack.frames.astype(np.float64)
    frames[angle] = (frames[angle] + strength * 2 * (1 + wave) / 9 * 65535) / (1 + strength)
    return replace(stack, frames=np.rint(frames).clip(0, 65535).astype(np.uint16))


@pytest.mark.parametrize("planned", [True, False])
@pytest.mark.parametrize("frequency", [(0.5, 5.5), (5.9, -3.0), (1.0, 3.0), (5.7, 5.7)])
def test_a_stronger_parasitic_fringe_does_not_move_the_others(
    background: InterferogramStack, frequency: tuple[float, float], planned: bool
) -> None:
    stray = with_fringe(background, 7, frequency)
    if not planned:
        stray = replace(stray, illumination_k=None)
    found = find_wave_vectors(stray)
    assert found.unusable == found.outliers == ()
    sign = 1 if planned else np.sign((found.k * K).sum())
    assert np.hypot(*(sign * found.k - K).T).max() < 0.01 * OPTICS.cutoff


def test_a_frame_with_nothing_but_a_parasitic_fringe_is_left_out(
    background: InterferogramStack, sample: InterferogramStack
) -> None:
    only = background.frames.copy()
    only[7] = background.frames[7].mean()
    stray = with_fringe(replace(background, frames=only), 7, (0.5, 5.5))
    found = find_wave_vectors(stray)
    assert found.outside == found.unusable == (7,)
    result = Reconstructor(stray)(sample)
    assert result.report.reasons == {7: "the background's fringes lie outside the pupil"}
    assert inside(result) == pytest.approx(1.376, abs=0.001)


def test_a_parasitic_fringe_within_the_pupil_outshines_its_angle(
    background: InterferogramStack, sample: InterferogramStack
) -> None:
    """The plan gives the place of the angle's own light, but not the other beam's effect on it."""
    report = Reconstructor(with_fringe(background, 7, (3.0, 3.0)), settings=ONE_PLANE)(
        with_fringe(sample, 7, (3.0, 3.0))
    ).report
    assert report.reasons == {7: "another beam in the background outshines the angle's own"}


def test_one_impossible_planned_angle_is_found_on_the_fringes(
    background: InterferogramStack,
) -> None:
    for wrong in ((1e6, 3.0), (0.0, 2.6)):
        planned = K.copy()
        planned[7] = wrong
        found = find_wave_vectors(replace(background, illumination_k=planned))
        assert found.outliers == (7,) and found.unusable == ()
        assert np.hypot(*(found.k - K).T).max() < 0.01 * OPTICS.cutoff


@pytest.mark.parametrize(
    ("planned", "said"),
    [
        (2 * np.pi * K, "not rad/um"),
        (K / OPTICS.cutoff, "agree multiplied by NA/wavelength"),
        (K * OPTICS.wavelength_um, "agree divided by the wavelength"),
        (K[:, ::-1], "agree with x and y exchanged"),
        (K * [-1, 1], "agree with another sign of x or of y"),
        (K[::-1], "agree in reverse order"),
        (np.roll(K, 1, axis=0), "agree one frame earlier"),
    ],
)
def test_a_plan_in_another_reading_is_refused_with_it(
    background: InterferogramStack, planned: NDArray[np.float64], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        find_wave_vectors(replace(background, illumination_k=np.ascontiguousarray(planned)))


def test_an_aperture_that_the_light_exceeds_is_named(background: InterferogramStack) -> None:
    """Angles reach 1.08 where the file says 1.0."""
    wrong = replace(background, optics=replace(OPTICS, numerical_aperture=1.0))
    with pytest.raises(DataError, match=r"numerical_aperture is at least 1\.08"):
        Reconstructor(wrong)
    with pytest.raises(DataError, match=r"illumination must lie within NA/wavelength"):
        Reconstructor(replace(wrong, illumination_k=None))
    # on a spiral only the outermost angles are beyond: they are left out
    k = spiral_scan(31, 1.08 / 0.532).k
    spiral = pictures(k=k, optics=wrong.optics)
    report = Reconstructor(spiral, settings=ONE_PLANE)(spiral).report
    steepest = tuple(int(i) for i in np.flatnonzero(np.hypot(*k.T) > 1.05 / 0.532))
    assert report.left_out == steepest and len(steepest) == 2
    assert all("outside the pupil" in reason for reason in report.reasons.values())


def test_evanescent_light_of_fields_is_refused() -> None:
    fields = torch.ones(2, 8, 8, dtype=torch.complex64)
    with pytest.raises(DataError, match=r"n/wavelength = 2\.513 .* got 2\.600: .*not rad/um"):
        FieldStack(fields, (0.1, 0.1), OPTICS, np.array([[0, 0], [0, 2.6]]))


# ---- Carriers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("planned", [True, False])
@pytest.mark.parametrize(
    ("carrier", "said"),
    [
        ((0.0, 6.25), "tilt the reference mirror in another direction"),
        ((6.25, 0.0), "folded at the camera's Nyquist frequency"),
        ((6.2, 6.2), r"must lie at least 0\.5 NA/wavelength apart.* 0\.\d+ apart"),
        ((2.2, 0.3), "farther than NA/wavelength = 2.26 cycles/um from the zero order"),
    ],
)
def test_a_carrier_that_meets_its_conjugate_or_the_zero_order_is_refused(
    carrier: tuple[float, float], said: str, planned: bool
) -> None:
    background = pictures(carrier=carrier)
    if not planned:
        background = replace(background, illumination_k=None)
    with pytest.raises(DataError, match=said):
        find_wave_vectors(background)


@pytest.mark.parametrize("planned", [True, False])
@pytest.mark.parametrize(
    ("carrier", "left_out"),
    [
        ((3.38, 0.0), ()),  # 1.5 NA/wavelength: three angles close to the zero order
        ((2.39, 2.39), ()),
        ((5.6, 0.3), (1, 2, 3, 4, 19, 20, 21, 22, 23, 24)),  # beyond the middle to the conjugate
    ],
)
def test_a_carrier_near_the_zero_order_or_the_nyquist_frequency(
    sphere: Fields, carrier: tuple[float, float], left_out: tuple[int, ...], planned: bool
) -> None:
    background, sample = pictures(carrier=carrier), pictures(sphere, carrier)
    if not planned:
        background = replace(background, illumination_k=None)
    result = Reconstructor(background)(replace(sample, illumination_k=background.illumination_k))
    report = result.report
    assert set(report.left_out) >= set(left_out)
    assert len(report.left_out) <= len(left_out) + (0 if planned else 2)
    on_light = [note for note in report.warnings if "without wave vectors" not in note]
    assert len(report.warnings) - len(on_light) == (not planned)
    assert len(on_light) == bool(left_out)
    assert all("folded conjugate" in note for note in on_light)
    assert inside(result) == pytest.approx(1.376, abs=0.0015)


# ---- An oil objective on a watery sample ---------------------------------------------------------


def test_an_oil_objective_on_a_watery_sample(sphere: Fields) -> None:
    """The angles reach 1.26, steeper than any water objective lights; all numbers stay finite."""
    oil = Optics(0.532, 1.4, 1.337, 0.08)
    k = circular_scan(13, 0.9 * 1.4 / 0.532).k
    fields = sphere_fields(oil, k, RADIUS_UM, INDEX, (PIXELS, PIXELS)).numpy()
    background, sample = (pictures(f, k=k, optics=oil) for f in (None, fields))
    result = Reconstructor(background)(sample)
    assert "NA 1.4 exceeds the medium's index 1.337" in result.report.warnings[0]
    assert result.report.left_out == ()
    assert bool(torch.isfinite(result.tomogram.index).all())
    assert inside(result) == pytest.approx(1.3765, abs=0.002)
