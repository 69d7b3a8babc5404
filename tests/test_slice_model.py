"""The multi-slice model in torch: exact spheres, the simulation's own model, and its adjoint."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from acquisition.simulation.multislice import scattered_spectra
from acquisition.simulation.phantom import Grid, Phantom
from reconstruction.scattering.slice_model import Box, SliceModel
from tests.partial_waves import sphere_fields
from tests.scans import CELL

OPTICS = CELL.optics
K = CELL.angles.k[::7]
FIELD, PIXEL_UM = (128, 120), 0.1
VOLUME, DZ_UM = (40, 128, 120), 0.16


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


def sphere_box(radius_um: float, contrast: float, centre_um: tuple[float, float, float]) -> tuple[
    torch.Tensor, Box
]:  # fmt: skip
    """Return the contrast of a sphere, centre (x, y, z), in its box of the volume."""
    grid = Grid.of_shape(VOLUME, (DZ_UM, PIXEL_UM, PIXEL_UM))
    index = OPTICS.medium_index + grid.ball(centre_um[::-1], radius_um) * contrast
    volume = torch.from_numpy((index / OPTICS.medium_index) ** 2 - 1)
    there = volume.nonzero()
    low, high = there.amin(dim=0) - 1, there.amax(dim=0) + 2
    first, last = [int(v) for v in low], [int(v) for v in high]
    box = Box((first[0], first[1], first[2]),
              (last[0] - first[0], last[1] - first[1], last[2] - first[2]))  # fmt: skip
    return volume[box.slices].contiguous(), box


def model(box: Box, **changes: object) -> SliceModel:
    pixels = (PIXEL_UM, PIXEL_UM)
    return SliceModel(OPTICS, K, FIELD, pixels, VOLUME, DZ_UM, box, **changes)  # type: ignore[arg-type]


def inside(light: torch.Tensor) -> torch.Tensor:
    """Return the field of light away from the frame's rim, where cut light rings."""
    field: torch.Tensor = torch.fft.fftshift(torch.fft.ifft2(light), dim=(1, 2))
    return field[:, 12:-12, 12:-12]


def test_the_light_is_that_of_an_exact_sphere() -> None:
    centre = (0.6, -0.9, 0.5)
    contrast, box = sphere_box(1.4, 0.03, centre)
    lit = model(box)
    optics = replace(OPTICS, pixel_size_um=PIXEL_UM)
    exact = sphere_fields(optics, K, 1.4, OPTICS.medium_index + 0.03, FIELD, centre, cut=True)
    expected = torch.fft.fft2(torch.fft.ifftshift(exact - 1, dim=(1, 2)))
    found = torch.cat(lit.each(lambda angles: lit.scatter(contrast, angles)))
    # of the slices, the neglect of light scattered back, and spheres made of voxels
    assert relative(inside(found), inside(expected)) < 0.035


def test_it_is_the_simulation_s_model() -> None:
    contrast, box = sphere_box(1.0, 0.04, (0.0, 0.0, 0.0))
    whole = torch.zeros(VOLUME)
    whole[box.slices] = contrast
    wide = Box((8, 34, 30), (24, 60, 60))  # its grid is as wide as the simulation's; centre kept
    inner = whole[wide.slices].contiguous()
    index = OPTICS.medium_index * (np.sqrt(1 + inner.numpy()) - 1)
    phantom = Phantom(index.astype(np.float32), (DZ_UM, PIXEL_UM, PIXEL_UM))
    side, angles = 144, K[:2]
    simulated = scattered_spectra(phantom, OPTICS, angles, side * PIXEL_UM)
    pixels, volume = (PIXEL_UM, PIXEL_UM), (24, 60, 60)
    same = Box((0, 0, 0), volume)
    lit = SliceModel(OPTICS, angles, (side, side), pixels, volume, DZ_UM, same)
    found = torch.cat(lit.each(lambda batch: lit.scatter(inner, batch))) / side**2
    for one, band, values in zip(found, simulated.bands, simulated.values, strict=True):
        rows = (band.first[0] + np.arange(band.size)) % side
        columns = (band.first[1] + np.arange(band.size)) % side
        # the grids differ by two pixels, and here light is collected slab by slab
        assert relative(one[rows][:, columns], torch.from_numpy(values)) < 5e-3


def test_the_adjoint_is_that_of_autograd_and_of_the_dot_product() -> None:
    box = Box((4, 50, 40), (14, 18, 22))
    lit = model(box, refocus_um=0.3, dtype=torch.complex128)
    assert len(lit.slabs) > 1
    generator = torch.Generator().manual_seed(1)
    contrast = 0.05 * torch.rand(box.shape, generator=generator, dtype=torch.float64)
    change = torch.randn(box.shape, generator=generator, dtype=torch.float64)
    angles = next(lit.batches())
    shape = (angles.stop, *FIELD)
    light = torch.randn(shape, generator=generator, dtype=torch.complex128)

    variable = contrast.clone().requires_grad_()
    torch.autograd.backward((lit.scatter(variable, angles).conj() * light).real.sum())
    scattered, tape = lit.record(contrast, angles)
    gradient = lit.pull_back(contrast, angles, tape, light)
    assert variable.grad is not None
    assert relative(gradient, variable.grad) < 1e-12
    assert torch.equal(scattered, lit.scatter(contrast, angles))

    step = 1e-5
    ahead, behind = (lit.scatter(contrast + s * change, angles) for s in (step, -step))
    forward = float((((ahead - behind) / (2 * step)).conj() * light).real.sum())
    assert float((gradient * change).sum()) == pytest.approx(forward, rel=1e-7)


def test_single_precision_has_the_same_gradient() -> None:
    contrast, box = sphere_box(1.2, 0.04, (0.0, 0.0, 0.0))
    gradients = []
    for dtype in (torch.complex64, torch.complex128):
        lit = model(box, dtype=dtype)
        angles = slice(0, 1)
        f = contrast.to(dtype.to_real())
        scattered, tape = lit.record(f, angles)
        gradients.append(lit.pull_back(f, angles, tape, scattered).double())
    assert relative(gradients[0], gradients[1]) < 1e-5


def test_light_does_not_depend_on_the_box() -> None:
    contrast, box = sphere_box(1.2, 0.04, (0.5, 0.2, -0.4))
    whole = torch.zeros(VOLUME)
    whole[box.slices] = contrast
    wide = Box((10, 44, 42), (20, 40, 38))
    tight, loose = model(box), model(wide)
    found = torch.cat(tight.each(lambda angles: tight.scatter(contrast, angles)))
    same = whole[wide.slices].contiguous()
    expected = torch.cat(loose.each(lambda angles: loose.scatter(same, angles)))
    assert relative(found, expected) < 0.02


def test_light_that_leaves_the_frame_does_not_come_back() -> None:
    box = Box((8, 90, 80), (24, 30, 30))  # to the side, so that its light runs out of the frame
    lit = model(box)
    whole, place = (192, 180), Box((8, 90 + 32, 80 + 30), box.shape)
    pixels = (PIXEL_UM, PIXEL_UM)
    larger = SliceModel(OPTICS, K, whole, pixels, (40, *whole), DZ_UM, place)
    contrast = 0.03 * torch.rand(box.shape, generator=torch.Generator().manual_seed(3))
    found = torch.cat(lit.each(lambda angles: lit.scatter(contrast, angles)))
    expected = torch.cat(larger.each(lambda angles: larger.scatter(contrast, angles)))
    expected = torch.fft.fftshift(torch.fft.ifft2(expected), dim=(1, 2))
    seen = expected[:, 32:-32, 30:-30]
    found = torch.fft.fftshift(torch.fft.ifft2(found), dim=(1, 2))
    assert relative(found, seen) < 0.04  # light goes on beyond the rays, too
    assert float((expected.norm() / seen.norm()).square()) > 1.03  # what is lost
