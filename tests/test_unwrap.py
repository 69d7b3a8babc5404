"""Phase unwrapping against phases that are known before they are wrapped."""

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.optimize import linprog

from acquisition.illumination.angles import preset
from acquisition.optics import Optics
from reconstruction.empty_field import fit_empty_field
from reconstruction.fields import FieldPlan
from reconstruction.unwrap import (
    needs_unwrapping,
    path_turns,
    residues,
    unwrap,
    unwrap_frames,
    weighted_turns,
    wrap,
)
from tests.partial_waves import sphere_field

Image = NDArray[np.float64]


def hills(shape: tuple[int, int], height: float, seed: int = 1, width: float = 12.0) -> Image:
    """Return a smooth phase from 0 to ``height``."""
    smooth = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), width)
    return np.asarray(height * (smooth - smooth.min()) / np.ptp(smooth))


def plane(shape: tuple[int, int]) -> NDArray[np.complex128]:
    """Return x + i y, so that arg(z - z0) is a vortex at z0."""
    return np.asarray(np.arange(shape[1]) + 1j * np.arange(shape[0])[:, None])


def noisy(truth: Image, sigma: float, seed: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a field of amplitude 1 with noise, and its true phase before wrapping."""
    rng = np.random.default_rng(seed)
    factor = 1 + sigma * (rng.standard_normal(truth.shape) + 1j * rng.standard_normal(truth.shape))
    field = torch.tensor(factor * np.exp(1j * truth), dtype=torch.complex64)
    return field[None], torch.tensor(truth + np.angle(factor), dtype=torch.float32)[None]


def share_off(result: torch.Tensor, truth: torch.Tensor) -> float:
    """Return the share of pixels off by whole turns, up to one constant."""
    turns = torch.round((result - truth) / (2 * math.pi))
    return float((turns != turns.median()).float().mean())


@pytest.mark.parametrize("shape", [(96, 128), (81, 81)])
def test_a_smooth_phase_is_recovered_and_is_congruent(shape: tuple[int, int]) -> None:
    truth = torch.tensor(np.stack([hills(shape, 60), hills(shape, 2)]), dtype=torch.float32)
    wrapped = wrap(truth)
    assert needs_unwrapping(wrapped).tolist() == [True, False]
    result = unwrap(wrapped)
    turns = (result - truth) / (2 * torch.pi)
    assert float((turns - turns.round()).abs().max()) < 1e-4  # congruent
    assert float((turns[0] - turns[0].median()).abs().max()) < 1e-3  # one constant


def test_without_residues_the_path_and_least_squares_agree() -> None:
    wrapped = noisy(hills((96, 128), 60), 0.1)[0].angle()
    assert not residues(wrapped).any()
    down, right = (-torch.round(wrapped.diff(dim=axis) / (2 * math.pi)) for axis in (1, 2))
    difference = path_turns([down, right]) - weighted_turns(wrapped, iterations=1)
    assert float(difference.min()) == float(difference.max())


def test_frames_without_a_jump_are_returned_as_they_are() -> None:
    phase = torch.linspace(-3.1, 3.1, 2 * 40 * 50).reshape(2, 40, 50)
    assert unwrap(phase, torch.ones_like(phase)) is phase
    assert unwrap_frames(phase).residues.tolist() == [0, 0]


def test_most_of_a_frame_keeps_its_multiple_of_two_pi() -> None:
    y, x = (np.arange(n) - n // 2 for n in (90, 100))
    bump = 9 * np.exp(-(x**2 + y[:, None] ** 2) / 12**2)
    truth = torch.tensor(np.stack([bump, bump - 3.0, 2.0 - bump]), dtype=torch.float32)
    assert torch.allclose(unwrap(wrap(truth)), truth, atol=1e-4)


def test_residues_are_the_vortices() -> None:
    z = plane((64, 64))
    phase = np.angle((z - (20.5 + 30.5j)) * (z - (40.5 + 11.5j)).conj())
    charge = residues(torch.tensor(phase)[None])[0]
    # y down: the turn of x + i y is positive along +x, then +y
    assert charge.nonzero().tolist() == [[11, 40], [30, 20]]
    assert charge[30, 20] == -charge[11, 40]
    assert unwrap_frames(torch.tensor(phase)[None]).residues.tolist() == [2]


def test_a_frame_does_not_depend_on_the_frames_beside_it() -> None:
    fields = torch.cat([noisy(hills((64, 80), 20, seed), 0.6, seed)[0] for seed in range(3)])
    fields = torch.cat([fields, torch.ones_like(fields[:1])])
    together = unwrap(fields.angle(), fields.abs())
    for i in range(4):
        alone = unwrap(fields[i : i + 1].angle(), fields[i : i + 1].abs())
        assert share_off(together[i], alone[0]) < 1e-3  # a product rounds otherwise in a batch


@pytest.mark.parametrize(("sigma", "most"), [(0.35, 0.0005), (0.5, 0.002), (0.65, 0.006)])
def test_noise_that_makes_residues(sigma: float, most: float) -> None:
    field, truth = noisy(hills((128, 128), 25, width=16), sigma)
    result = unwrap_frames(field.angle(), field.abs())
    assert int(result.residues) > 0
    assert share_off(result.phase, truth) < most
    least_squares = field.angle() + 2 * math.pi * weighted_turns(field.angle(), iterations=1)
    assert share_off(result.phase, truth) <= share_off(least_squares, truth)


def test_the_cut_between_two_vortices_is_short() -> None:
    """arg((z - a) / (z - b)) has its cut straight from a to b."""
    z = plane((96, 96))
    pair = np.angle((z - (36.3 + 48.4j)) / (z - (60.3 + 48.4j)))
    truth = torch.tensor(hills((96, 96), 15, width=20) + pair, dtype=torch.float32)[None]
    assert share_off(unwrap(wrap(truth)), truth) == 0


def test_the_amplitude_leads_the_cut_through_the_dark() -> None:
    z = plane((64, 64))
    a, b = 20.5 + 40.5j, 44.5 + 40.5j
    phase = torch.tensor(np.angle((z - a) / (z - b)), dtype=torch.float32)[None]
    amplitude = torch.ones(1, 64, 64)
    amplitude[:, 28:42, 18:24] = amplitude[:, 28:42, 42:48] = amplitude[:, 28:32, 18:48] = 0.02
    straight, detour = unwrap(phase), unwrap(phase, amplitude)
    column = slice(26, 40)  # between the vortices, clear of both dark arms
    for result, row in ((straight, 40), (detour, 30)):
        jumps = result[0].diff(dim=0)[:, column].abs() > math.pi
        assert jumps.sum(dim=0).tolist() == [1] * 14
        assert int((jumps.nonzero()[:, 0] - row).abs().max()) <= 2


@pytest.mark.parametrize(("iterations", "above"), [(20, 0.06), (400, 0.002)])
def test_the_cost_is_that_of_the_linear_program(iterations: int, above: float) -> None:
    """The relaxed problem has an integer optimum, a network flow: HiGHS finds it exactly."""
    field, _ = noisy(hills((20, 24), 9, width=5), 0.7)
    wrapped = field.angle()
    turns = weighted_turns(wrapped, iterations=iterations)[0].numpy().ravel().astype(float)
    shape = (20, 24)
    number = np.arange(480).reshape(shape)
    first = np.concatenate([number[:-1].ravel(), number[:, :-1].ravel()])
    second = np.concatenate([number[1:].ravel(), number[:, 1:].ravel()])
    phase = wrapped[0].numpy().ravel().astype(float)
    difference = phase[second] - phase[first]
    step = -np.round(difference / (2 * np.pi))
    slope = (difference + 2 * np.pi * step) / np.pi
    cost = np.concatenate([np.maximum(1 + slope, 0.02), np.maximum(1 - slope, 0.02)])
    edges = np.arange(len(step))
    gradient = scipy.sparse.csr_array(
        (np.repeat([1.0, -1.0], len(step)), (np.tile(edges, 2), np.r_[second, first])),
        shape=(len(step), 480),
    )
    one = scipy.sparse.eye_array(len(step))
    best = linprog(
        np.r_[np.zeros(480), cost],
        A_eq=scipy.sparse.hstack([gradient, -one, one]),
        b_eq=step,
        bounds=[(None, None)] * 480 + [(0, None)] * (2 * len(step)),
    ).fun
    excess = gradient @ turns - step
    found = cost @ np.r_[np.maximum(excess, 0), np.maximum(-excess, 0)]
    assert best > 0
    assert best * (1 - 1e-6) <= found <= best * (1 + above)


def test_an_oblique_strong_sphere_reaches_its_optical_path() -> None:
    """The truth follows each pixel's phase while the sphere's index rises from the medium's."""
    optics, radius, index = preset("cell").optics, 3.0, 1.45
    k = (0.9 * optics.cutoff, 0.0)
    truth, before = np.zeros((160, 160)), np.ones((160, 160), complex)
    for n in np.linspace(optics.medium_index, index, 25)[1:]:
        field = sphere_field(optics, k, radius, n, (160, 160))
        truth, before = truth + np.angle(field / before), field
    result = unwrap_frames(
        torch.tensor(np.angle(field), dtype=torch.float32)[None], torch.tensor(np.abs(field))[None]
    )
    assert int(result.residues) > 0  # interference behind the sphere has zeros
    # the wake is torn either way: the two cuts enclose the difference
    assert share_off(result.phase[0], torch.tensor(truth)) < 0.04
    path = 2 * np.pi * 2 * radius * (index - optics.medium_index) / optics.wavelength_um
    assert float(result.phase.max()) == pytest.approx(path, rel=0.05)


def test_a_measured_cell_is_one_smooth_disc(ground_truth: Path) -> None:
    with np.load(ground_truth / "offaxis_holograms" / "hologram_cell.npz") as file:
        frames = np.stack([file["data"], file["bg_data"]])
    # optics in pixels; this sideband gives the cell a positive phase
    optics = Optics(wavelength_um=4.0, numerical_aperture=0.4, medium_index=1.333, pixel_size_um=1)
    plan = FieldPlan(frames.shape[1:], optics, (-0.124, -0.2), torch.device("cpu"))
    fields = plan.retrieve(torch.from_numpy(frames))
    quotient = fields[:1] / fields[1:]
    quotient = fit_empty_field(quotient).remove(quotient)
    phase = unwrap(quotient.angle(), quotient.abs())[0]
    inside = gaussian_filter(phase.numpy(), 1) > 2
    rows, columns = inside.nonzero()
    area, diameter = inside.sum(), (np.ptp(rows) + np.ptp(columns) + 2) / 2
    assert area == pytest.approx(math.pi / 4 * diameter**2, rel=0.1)  # a disc without holes
    middle = phase[round(rows.mean()), round(columns.mean())]
    assert float(middle) == pytest.approx(4.3, abs=0.6)
    assert not needs_unwrapping(phase[None])
    assert abs(float(phase.median())) < 0.5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_on_a_gpu() -> None:
    field, truth = noisy(hills((128, 128), 25, width=16), 0.5)
    result = unwrap(field.cuda().angle(), field.cuda().abs()).cpu()
    assert share_off(result, truth) < 0.002
