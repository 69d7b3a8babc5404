"""Laws that hold for every input: there and back, symmetries, sums. Inputs by hypothesis."""

import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from acquisition.dlpc900.images import PLANES, pack, stored_image
from acquisition.illumination.angles import circular_scan, preset
from acquisition.illumination.gratings import DmdGeometry, applied, inverse
from acquisition.interferograms import InterferogramStack
from acquisition.optics import Optics
from files.recording import RecordingWriter, read_recording
from files.tomograms import TomogramWriter, read_tomograms
from pipeline.timelapse.plan import BackgroundPlan, TimelapsePlan, evenly
from pipeline.timelapse.schedule import Schedule
from pipeline.wire.messages import Stamp, decode, encode, stack_from, stack_message
from reconstruction.inversion import contrast_of
from reconstruction.tomogram import (
    Spectrum,
    Tomogram,
    contrast_from_index,
    index_from_contrast,
)
from reconstruction.wave_vectors import find_wave_vectors
from regularizer.constraint import negative_of, opposite_of
from regularizer.networks.inference import apply_patches, apply_tiles, apply_whole
from tests.dlpc900_emulator import decode as decompressed

# The same inputs in every run; no time limit, since machines are busy.
settings.register_profile("laws", max_examples=20, deadline=None, derandomize=True, database=None)
settings.load_profile("laws")

OPTICS = preset("cell").optics
SIZES = st.tuples(st.integers(2, 9), st.integers(2, 9), st.integers(2, 9))
ANGLES = st.floats(-math.pi, math.pi)


def volume(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def spectrum_of(contrast: torch.Tensor) -> Spectrum:
    values = torch.fft.rfftn(torch.fft.ifftshift(contrast), norm="ortho")
    z, y, x = contrast.shape
    return Spectrum(values, torch.ones(values.shape), (z, y, x), (0.2, 0.1, 0.1), OPTICS)


# ---- Physics -------------------------------------------------------------------------------------


@given(st.floats(1.0, 2.0), st.floats(1.0, 1.6))
def test_index_and_contrast_are_each_other_s_inverse(index: float, medium: float) -> None:
    contrast = contrast_from_index(torch.tensor([index], dtype=torch.float64), medium)
    assert float(index_from_contrast(contrast, medium)) == pytest.approx(index, abs=1e-12)
    assert float(contrast) * (index - medium) >= 0  # of the same sign


@given(SIZES, st.integers(0, 99))
def test_a_spectrum_holds_its_volume(shape: tuple[int, int, int], seed: int) -> None:
    contrast = volume(shape, seed)
    spectrum = spectrum_of(contrast)
    assert torch.allclose(contrast_of(spectrum), contrast, atol=1e-5)
    assert torch.allclose(contrast_of(opposite_of(spectrum)), -contrast, atol=1e-5)


@given(SIZES, st.integers(0, 99))
def test_a_tomogram_turned_negative_twice_is_itself(shape: tuple[int, int, int], seed: int) -> None:
    index = index_from_contrast(0.05 * volume(shape, seed).clamp(-3, 3), OPTICS.medium_index)
    tomogram = Tomogram(index, (0.2, 0.1, 0.1), OPTICS)
    twice = negative_of(negative_of(tomogram))
    assert torch.allclose(twice.index, index, atol=1e-5)
    assert torch.allclose(negative_of(tomogram).contrast, -tomogram.contrast, atol=1e-5)


@given(st.floats(0.4, 0.7), st.floats(0.5, 1.3), st.floats(1.33, 1.52), st.floats(0.5, 2.0))
def test_resolution_scales_with_the_wavelength(
    wavelength: float, aperture: float, medium: float, factor: float
) -> None:
    one = Optics(wavelength, aperture, medium, 0.05)
    other = Optics(factor * wavelength, aperture, medium, 0.05)
    assert other.lateral_resolution_um == pytest.approx(factor * one.lateral_resolution_um)
    assert other.axial_resolution_um == pytest.approx(factor * one.axial_resolution_um)
    assert one.axial_resolution_um > one.lateral_resolution_um


# ---- Light ---------------------------------------------------------------------------------------


@given(ANGLES, st.floats(0.8, 1.2), st.floats(-2, 2), st.floats(-2, 2))
def test_a_grating_sends_light_where_it_was_asked_to(
    turn: float, stretch: float, kx: float, ky: float
) -> None:
    cos, sin = stretch * math.cos(turn), stretch * math.sin(turn)
    matrix = ((cos, -sin), (sin, cos))
    assert applied(inverse(matrix), *applied(matrix, kx, ky)) == pytest.approx((kx, ky))
    geometry = DmdGeometry((64, 64), (0.34, 0.24), 0.06, 0.2, matrix)
    assert geometry.wave_vector(*geometry.frequency(kx, ky)) == pytest.approx((kx, ky))


def fringes(k: np.ndarray, carrier: tuple[float, float], size: int, pixel: float) -> np.ndarray:
    """Return frames (angle, y, x) of plane waves (k in cycles/um) on a tilted reference."""
    at = (np.arange(size) - size // 2) * pixel
    y, x = np.meshgrid(at, at, indexing="ij")
    phases = [(kx + carrier[0]) * x + (ky + carrier[1]) * y for kx, ky in k]
    frames: np.ndarray = np.rint(100 + 80 * np.cos(2 * np.pi * np.array(phases)))
    return frames.astype(np.uint8)


@settings(max_examples=3)
@given(ANGLES)
def test_wave_vectors_turn_and_mirror_with_the_frames(turn: float) -> None:
    optics = Optics(0.532, 0.6, 1.337, 0.1)
    scan = circular_scan(6, 0.8 * optics.cutoff).k
    turned = np.array(applied_to_all(scan, turn))
    frames = fringes(turned, (2.4, 2.1), 97, optics.pixel_size_um)  # odd: the centre stays
    cases = {
        "as it is": (frames, turned),
        "mirrored": (frames[:, :, ::-1], turned * (-1, 1)),
        "turned": (np.rot90(frames, axes=(1, 2)), turned[:, ::-1] * (1, -1)),
    }
    for name, (seen, wanted) in cases.items():
        stack = InterferogramStack(np.ascontiguousarray(seen), optics, None)
        found = find_wave_vectors(stack).k
        # without an object nobody can tell the sideband from its conjugate: up to the sign
        off = min(np.abs(found - wanted).max(), np.abs(found + wanted).max())
        assert off < 0.01 * optics.cutoff, name


def applied_to_all(k: np.ndarray, turn: float) -> list[tuple[float, float]]:
    matrix = ((math.cos(turn), -math.sin(turn)), (math.sin(turn), math.cos(turn)))
    return [applied(matrix, kx, ky) for kx, ky in k]


@given(
    st.integers(1, PLANES), st.integers(1, 12), st.integers(1, 40), st.integers(0, 99),
    st.floats(0, 1),
)  # fmt: skip
def test_patterns_survive_packing_and_compression(
    count: int, rows: int, columns: int, seed: int, part: float
) -> None:
    rng = np.random.default_rng(seed)
    planes = [(rng.uniform(size=(rows, columns)) < part).astype(np.uint8) for _ in range(count)]
    planes[-1] = np.broadcast_to(planes[-1][:1], (rows, columns)).copy()  # lines that repeat
    image = pack(planes)
    assert sum(int(plane.sum()) for plane in planes) == int(np.unpackbits(image).sum())
    for number, plane in enumerate(planes):
        bits = image[..., 2 - number // 8] >> (number % 8) & 1
        np.testing.assert_array_equal(bits, plane)
    np.testing.assert_array_equal(decompressed(stored_image(image), rows, columns), image)


# ---- Networks ------------------------------------------------------------------------------------


@given(st.tuples(st.integers(3, 20), st.integers(3, 40), st.integers(3, 40)), st.integers(0, 99))
def test_stitching_gives_back_what_a_network_leaves_as_it_is(
    shape: tuple[int, int, int], seed: int
) -> None:
    seen = volume((1, *shape), seed)
    for stitched in (
        apply_patches(lambda v: v, seen, size=8, stride=4),
        apply_patches(lambda v: v, seen, size=16, stride=16),
        apply_whole(lambda v: v, seen),
        apply_tiles(lambda v: v, seen, tile=16),
    ):
        assert torch.allclose(stitched, seen, atol=1e-5)


# ---- What is sent and kept -----------------------------------------------------------------------

STACKS = st.builds(
    lambda frames, seed, lost, sequence: InterferogramStack(
        frames,
        OPTICS,
        np.random.default_rng(seed).uniform(-1, 1, (len(frames), 2)),
        timestamp=1.7e9 + seed / 8,
        lost=(0,) if lost else (),
        sequence=sequence,
        provenance={"seed": str(seed)},
    ),
    arrays_of.arrays(
        st.sampled_from([np.dtype("u1"), np.dtype("<u2")]),
        st.tuples(st.integers(2, 4), st.integers(8, 12), st.integers(8, 12)),
    ),
    st.integers(0, 999),
    st.booleans(),
    st.integers(0, 2**40),
)


@given(STACKS)
def test_a_scan_survives_the_wire(stack: InterferogramStack) -> None:
    message = stack_message(stack, Stamp("test", 1), kind="stack", background=3, sent_at=5.0)
    again = decode([bytes(part) for part in encode(message)])
    assert again.header.model_copy(update={"arrays": ()}) == message.header
    received = stack_from(again.header, again.arrays)  # type: ignore[arg-type]  # of its kind
    assert_same(received, stack)
    assert received.sequence == stack.sequence


@given(STACKS)
def test_a_scan_survives_its_file(stack: InterferogramStack) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.h5"
        with RecordingWriter(path, stack) as writer:
            writer.append(stack)
        recording = read_recording(path)
        (again,) = recording.stacks()
    assert_same(again, stack)
    assert_same(recording.background, stack, timestamp=False)


def assert_same(
    one: InterferogramStack, other: InterferogramStack, *, timestamp: bool = True
) -> None:
    np.testing.assert_array_equal(one.frames, other.frames)
    assert one.frames.dtype == other.frames.dtype
    assert one.illumination_k is not None and other.illumination_k is not None
    np.testing.assert_array_equal(one.illumination_k, other.illumination_k)
    assert (one.optics, one.lost) == (other.optics, other.lost)
    assert not timestamp or one.timestamp == other.timestamp


@given(SIZES, st.integers(0, 99))
def test_a_tomogram_survives_its_file(shape: tuple[int, int, int], seed: int) -> None:
    index = 1.337 + 0.05 * volume(shape, seed)
    tomogram = Tomogram(index, (0.3, 0.2, 0.1), OPTICS, timestamp=1.7e9 + seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tomogram.h5"
        with TomogramWriter(path, tomogram, ("tv",)) as writer:
            writer.append(tomogram, {"tv": negative_of(tomogram)})
        series = read_tomograms(path)
        raw, tv = series.raw(0), series.regularized("tv", 0)
    assert torch.equal(raw.index, index)
    assert tv is not None and torch.equal(tv.index, negative_of(tomogram).index)
    assert (raw.voxel_size_um, raw.optics) == (tomogram.voxel_size_um, OPTICS)
    assert raw.timestamp == tomogram.timestamp


# ---- Time ----------------------------------------------------------------------------------------


@given(st.integers(1, 10**6), st.floats(0, 1e4), st.integers(1, 1000), st.floats(0.1, 1e4))
def test_a_plan_s_time_is_that_of_its_visits(
    count: int, interval_s: float, every: int, minutes: float
) -> None:
    plan = evenly(count, interval_s, BackgroundPlan(background_every_scans=every))
    assert len(plan.visits) == count
    assert plan.visits[count - 1].time_s == pytest.approx((count - 1) * interval_s)
    assert plan.seconds == pytest.approx((count - 1) * interval_s)
    again = TimelapsePlan.from_json(plan.to_json())
    assert (len(again.visits), again.visits[count - 1]) == (count, plan.visits[count - 1])
    background = BackgroundPlan(background_every_scans=every, background_every_min=minutes)
    assert 0 <= background.count(count, plan.seconds) <= count
    assert background.due(every, 0.0) and background.due(0, minutes)
    assert not background.due(every - 1, 0.99 * minutes)


@given(st.integers(1, 60), st.floats(0, 100), st.lists(st.floats(0, 50), max_size=60))
def test_a_schedule_never_runs_ahead_of_its_plan(
    count: int, interval_s: float, waits: list[float]
) -> None:
    """Whatever the visits take, one is never due before its time; pauses move all that follow."""
    now = [1000.0]
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr("pipeline.timelapse.schedule.time.monotonic", lambda: now[0])
        schedule = Schedule(evenly(count, interval_s).visits)
        begun, paused = [], 0.0
        for number in range(count):
            wait = waits[number] if number < len(waits) else 0.0
            schedule.pause()
            assert schedule.due_s == math.inf
            now[0] += wait if number else 0.0
            paused += wait if number else 0.0
            schedule.go_on()
            now[0] += schedule.due_s
            schedule.begin()
            begun.append(now[0])
            now[0] += 3.0
            schedule.end()
        assert schedule.next is None and schedule.due_s == math.inf
    planned = [1000.0 + number * interval_s for number in range(count)]
    assert all(at >= plan - 1e-6 * count for at, plan in zip(begun, planned, strict=True))
    assert begun == sorted(begun)
    assert begun[-1] <= 1000.0 + count * max(interval_s, 3.0) + paused + 1e-6 * count
