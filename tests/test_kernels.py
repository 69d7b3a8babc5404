"""Compiled loops against the tensor operations whose place they take."""

import math

import pytest
import torch

from reconstruction.empty_field import fit_empty_field
from reconstruction.field_inversion import rytov_fields
from reconstruction.kernels.hartley import hartley
from reconstruction.kernels.logarithms import field_logarithm
from reconstruction.unwrap import weighted_turns

pytest.importorskip("numba")

CPU = torch.device("cpu")
SHAPES = [(4, 6, 8), (5, 7, 9), (6, 5, 8), (1, 4, 7), (33, 64, 96)]


def of_random(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.complex64)


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("shape", SHAPES)
def test_an_inverse_by_a_forward_transform(shape: tuple[int, int, int]) -> None:
    """Also of a half spectrum that is no real volume's: torch drops what does not belong."""
    compiled = hartley(CPU)
    assert compiled is not None
    half = of_random(shape[0], shape[1], shape[2] // 2 + 1)
    expected = torch.fft.fftshift(torch.fft.irfftn(half, s=shape, norm="ortho"))
    assert relative(compiled.inverse(half, shape), expected) < 1e-6


@pytest.mark.parametrize("shape", SHAPES)
def test_a_weighted_solution_by_forward_transforms(shape: tuple[int, int, int]) -> None:
    compiled = hartley(CPU)
    assert compiled is not None
    right, found = of_random(*shape).real.contiguous(), torch.empty(shape)
    added = of_random(shape[0], shape[1], shape[2] // 2 + 1)
    weight = added.abs().roll(1, dims=0)  # another one at -K than at K
    spectrum = (torch.fft.rfftn(right, norm="ortho") + added) * weight
    expected = torch.fft.irfftn(spectrum, s=shape, norm="ortho")
    compiled.solve(right, added, weight, found)
    assert relative(found, expected) < 1e-6


def test_the_logarithm_is_that_of_torch() -> None:
    compiled = field_logarithm(CPU)
    assert compiled is not None
    amplitude = torch.logspace(-2.9, 8, 200)[:, None]
    angle = torch.linspace(-3.1415, 3.1415, 301)
    near = 1 + 1e-4 * of_random(200, 301)  # an empty field
    fields = torch.stack([torch.polar(amplitude, angle.expand(200, 301)), near])
    found, extent = compiled(fields, 1e-6)
    exact = fields.to(torch.complex128)
    assert torch.allclose(found.real.double(), exact.abs().log(), rtol=1e-6, atol=2e-7)
    assert torch.allclose(found.imag.double(), exact.angle(), rtol=1e-6, atol=2e-7)
    phase = fields.angle().flatten(1)
    assert torch.allclose(extent, phase.amax(dim=1) - phase.amin(dim=1), atol=1e-6)


def test_the_logarithm_of_zero_and_on_the_axes() -> None:
    compiled = field_logarithm(CPU)
    assert compiled is not None
    fields = torch.tensor([0, 1, -1, 1j, -1j, 1e-9], dtype=torch.complex64).reshape(1, 2, 3)
    found, _ = compiled(fields, 1e-6)
    darkest = math.log(1e-3)
    assert found.real.flatten().tolist() == pytest.approx([darkest, 0, 0, 0, 0, darkest], abs=1e-6)
    half = math.pi / 2
    phase = [0, 0, math.pi, half, -half, 0]
    assert found.imag.flatten().tolist() == pytest.approx(phase, abs=1e-6)


@pytest.mark.parametrize("part", [0.3, 0.7, 1.2])  # of the frame, that the object covers
def test_plane_waves_are_those_of_torch(part: float, monkeypatch: pytest.MonkeyPatch) -> None:
    y, x = torch.meshgrid(torch.arange(90.0) - 45, torch.arange(75.0) - 37, indexing="ij")
    wave = torch.polar(torch.tensor(1.1), 0.7 + 2.3 * y / 90 - 1.2 * x / 75)
    inside = (y**2 + x**2 < (45 * part) ** 2).to(torch.float32)
    object_ = torch.polar(torch.ones(()), 1.5 * inside)
    fields = wave * object_ * (1 + 0.02 * of_random(3, 90, 75))
    compiled = fit_empty_field(fields)
    monkeypatch.setattr("reconstruction.empty_field.plane_waves", lambda *how: None)
    plain = fit_empty_field(fields)
    for name in ("offset", "tilt", "share", "noise", "uneven"):
        found, expected = getattr(compiled, name), getattr(plain, name)
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5), name


def test_no_plane_wave_fits_a_dark_frame() -> None:
    fields = 1 + 0.02 * of_random(3, 60, 60)
    fields[1] = 0
    fields[2, :30] = torch.nan
    found = fit_empty_field(fields)
    assert found.offset.isfinite().tolist() == [True, False, False]
    assert float(found.noise[0]) == pytest.approx(0.02 / math.sqrt(2), rel=0.1)


def test_torn_phases_are_unwrapped_as_without_compiled_loops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    y, x = torch.meshgrid(torch.arange(64.0) - 32, torch.arange(48.0) - 24, indexing="ij")
    hill = 9 * torch.exp(-(x**2 + y**2) / 150)
    vortices = torch.atan2(y - 9.4, x - 0.3) - torch.atan2(y + 8.7, x - 0.3)
    amplitude = 1 - 0.5 * torch.exp(-(x**2) / 50)
    fields = torch.stack([torch.polar(amplitude, one) for one in (0.1 * hill, hill, vortices)])
    compiled, counted = rytov_fields(fields)
    monkeypatch.setattr("reconstruction.field_inversion.field_logarithm", lambda device: None)
    plain, expected = rytov_fields(fields)
    assert counted.tolist() == expected.tolist() and int(expected[2]) > 0
    assert float((compiled - plain).abs().max()) < 1e-5


@pytest.mark.parametrize("shape", [(2, 40, 50), (3, 31, 27)])
def test_cuts_are_those_without_compiled_loops(
    shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = 1 + 1.5 * of_random(*shape)
    compiled = weighted_turns(fields.angle(), fields.abs())
    monkeypatch.setattr("reconstruction.unwrap.edge_steps", lambda device: None)
    plain = weighted_turns(fields.angle(), fields.abs())
    assert len(set(plain.flatten().tolist())) > 2
    assert float((compiled != plain).float().mean()) < 0.01  # ties are rounded either way
