"""Corrections of the Rytov approximation, and multi-slice inversion, on exact spheres."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from acquisition.errors import ConfigurationError, DataError, Stopped
from acquisition.interferograms import InterferogramStack
from benchmarks.accuracy_cases import Sphere
from benchmarks.scattering_cases import sphere_contrast
from benchmarks.scattering_cost import Point, measured
from reconstruction.reconstructor import Reconstruction, Reconstructor
from reconstruction.rolling import RollingTomography
from reconstruction.scattering.slice_model import Box
from reconstruction.tomogram import Spectrum, Tomogram
from regularizer.constraint import Constrained
from regularizer.metrics import relative_error
from regularizer.registry import needs_fields, regularizer
from regularizer.scattering.defect_correction import Corrected, Seen, warned
from regularizer.scattering.defect_correction import corrected as corrected_spectrum
from regularizer.scattering.light_misfit import LightMisfit
from regularizer.scattering.multislice_regularizer import MultisliceRegularizer
from regularizer.scattering.object_box import object_box
from regularizer.scattering.weighted_tv import WeightedTv
from regularizer.total_variation.total_variation import TotalVariation
from tests.partial_waves import sphere_fields
from tests.scans import CELL, interferograms

SPHERE = Sphere(1.2, 0.045, (0.3, -0.2, 0.2))
FRAME, K = (128, 128), CELL.angles.k[::3]


def scan_of(contrast: float) -> tuple[InterferogramStack, InterferogramStack]:
    """Return background and scan of the sphere with another contrast."""
    optics = CELL.optics
    index = optics.medium_index + contrast
    centre = SPHERE.centre_um
    fields = sphere_fields(optics, K, SPHERE.radius_um, index, FRAME, centre, cut=True).numpy()
    empty, lit = (interferograms(optics, K, f, FRAME) for f in (None, fields))
    return empty, lit


@pytest.fixture(scope="module")
def scan() -> tuple[InterferogramStack, InterferogramStack]:
    return scan_of(SPHERE.contrast)


@pytest.fixture(scope="module")
def made(scan: tuple[InterferogramStack, InterferogramStack]) -> Reconstruction:
    return Reconstructor(scan[0], keep_fields=True)(scan[1])


@pytest.fixture(scope="module")
def fast(made: Reconstruction) -> Tomogram:
    return regularizer("tv-fast")(made.tomogram, made.spectrum)


@pytest.fixture(scope="module")
def corrected(made: Reconstruction) -> Tomogram:
    """Return the result of one correction, without a step by the light."""
    method = Constrained(Corrected(TotalVariation("tv-fast"), 1, light_steps=False))
    return method(made.tomogram, made.spectrum)


def error(tomogram: Tomogram, spectrum: Spectrum, sphere: Sphere = SPHERE) -> float:
    return relative_error(tomogram.contrast, sphere_contrast(spectrum, sphere))


def misfits(tomogram: Tomogram) -> list[float]:
    """Return the misfits before and after each correction that was kept, from the provenance."""
    said = tomogram.provenance["corrections"].partition("light ")[2].partition(",")[0]
    return [float(word) for word in said.split(" to ")]


def test_a_correction_takes_the_rytov_error_off(
    made: Reconstruction, fast: Tomogram, corrected: Tomogram
) -> None:
    assert error(corrected, made.spectrum) < 0.75 * error(fast, made.spectrum)
    before, after = misfits(corrected)
    assert after < 0.75 * before
    assert corrected.provenance["corrections"].startswith("1 of 1;")
    assert corrected.provenance["constraint"] == "non-negative"


def test_multislice_finds_the_sphere(made: Reconstruction, corrected: Tomogram) -> None:
    start = Corrected(TotalVariation("tv-fast"), 1)
    seen: list[tuple[int, int]] = []
    method = Constrained(MultisliceRegularizer(start, steps=3))
    found = method(made.tomogram, made.spectrum, lambda *now: seen.append(now))
    assert error(found, made.spectrum) < 0.8 * error(corrected, made.spectrum)
    assert float(found.contrast.min()) > -1e-6
    assert seen[-1][0] == seen[-1][1]
    shares = [done / total for done, total in seen]
    assert shares == sorted(shares)


def test_a_lighter_sphere_is_corrected_too() -> None:
    empty, lit = scan_of(-SPHERE.contrast)
    made = Reconstructor(empty, keep_fields=True)(lit)
    raw, spectrum = made.tomogram, made.spectrum
    plain = regularizer("tv-fast")(raw, spectrum)
    found = regularizer("tv-fast", corrections=1)(raw, spectrum)
    sphere = replace(SPHERE, contrast=-SPHERE.contrast)
    assert found.provenance["constraint"] == "non-positive"
    assert error(found, spectrum, sphere) < 0.85 * error(plain, spectrum, sphere)


class Worsening:
    """A regularizer whose second result is twice as strong as it should be."""

    def __init__(self, base: Callable[..., Tomogram]) -> None:
        self.base, self.calls = base, 0

    def __call__(self, tomogram: Tomogram, spectrum: Spectrum, *rest: object, **more: object) -> (
        Tomogram
    ):  # fmt: skip
        self.calls += 1
        found = self.base(tomogram, spectrum)
        excess = found.index - tomogram.optics.medium_index
        return replace(found, index=found.index + (self.calls - 1) * excess)


def test_a_correction_that_fits_worse_is_undone(made: Reconstruction, fast: Tomogram) -> None:
    method = Corrected(Worsening(TotalVariation("tv-fast")), 3, light_steps=False)
    found = method(made.tomogram, made.spectrum)
    assert torch.equal(found.index, fast.index)
    assert found.provenance["corrections"].startswith("0 of 3;")


def test_a_step_by_the_light_takes_off_what_a_regularizer_leaves(
    made: Reconstruction, corrected: Tomogram
) -> None:
    found = regularizer("tv-fast", corrections=1)(made.tomogram, made.spectrum)
    assert "by light" in found.provenance["corrections"]
    assert misfits(found)[-1] < misfits(corrected)[-1]
    assert error(found, made.spectrum) < 0.9 * error(corrected, made.spectrum)


def test_a_step_by_the_light_goes_on_from_the_start_where_a_correction_is_no_use(
    made: Reconstruction, fast: Tomogram
) -> None:
    useless = Corrected(Worsening(TotalVariation("tv-fast")), 1)(made.tomogram, made.spectrum)
    assert "steps 0.00; then by light" in useless.provenance["corrections"]
    assert error(useless, made.spectrum) < 0.9 * error(fast, made.spectrum)


def test_the_empty_field_is_found_anew(made: Reconstruction, fast: Tomogram) -> None:
    """An object that leaves little of the frame empty leaves power, phase and tilt uncertain."""
    fields, spectrum = made.spectrum.fields, made.spectrum
    box = object_box(fast.contrast, spectrum.voxel_size_um, 0.3)
    assert fields is not None
    assert box is not None
    y, x = (torch.arange(n) / (n / 2) - 1 for n in fields.values.shape[1:])
    wrong = 0.9 * torch.exp(1j * (0.3 + 0.2 * y[:, None] - 0.1 * x))
    bent = replace(fields, values=fields.values * wrong)
    boxed = torch.zeros_like(fast.contrast)
    boxed[box.slices] = fast.contrast[box.slices]
    waves, differences, spectra = [], [], []
    for one in (fields, bent):
        light = LightMisfit(one, box).light(boxed[box.slices].contiguous())
        waves.append(light.wave)
        differences.append(light.difference)
        spectra.append(corrected_spectrum(fast, spectrum, Seen(boxed, light, 0.0), one)[1].values)
    assert torch.allclose(waves[1], waves[0] * torch.fft.ifftshift(wrong), atol=1e-3)
    assert float(differences[1].norm()) == pytest.approx(
        0.9 * float(differences[0].norm()), rel=0.02
    )
    assert float((spectra[1] - spectra[0]).norm() / spectra[0].norm()) < 1e-3


def test_multislice_returns_its_start_where_nothing_fits_better(
    made: Reconstruction, fast: Tomogram
) -> None:
    fields = made.spectrum.fields
    assert fields is not None
    box = object_box(fast.contrast, made.spectrum.voxel_size_um, 0.6)
    assert box is not None
    light = LightMisfit(fields, box)
    exact = torch.zeros_like(fast.contrast)
    exact[box.slices] = fast.contrast[box.slices]
    scattered = light.light(exact[box.slices].contiguous()).scattered
    own = fields.values.clone()
    own[torch.as_tensor(fields.used)] = 1 + torch.fft.fftshift(
        torch.fft.ifft2(scattered), dim=(1, 2)
    )
    spectrum = replace(made.spectrum, fields=replace(fields, values=own))
    start = replace(fast, index=1.337 * torch.sqrt(1 + exact))
    method = MultisliceRegularizer(lambda *_, **__: start)
    found = method(made.tomogram, spectrum)
    assert torch.equal(found.index, start.index)
    assert "nothing that fits the measured light better" in found.warnings[0]


def test_the_gradient_is_that_of_the_misfit(made: Reconstruction, fast: Tomogram) -> None:
    assert made.spectrum.fields is not None
    box = Box((24, 36, 36), (16, 24, 24))
    light = LightMisfit(made.spectrum.fields, box)
    contrast = fast.contrast[box.slices].contiguous()
    misfit, gradient = light.gradient(contrast)
    assert misfit == pytest.approx(light.light(contrast).misfit, rel=1e-5)
    change = gradient / gradient.abs().max() * 0.01
    ahead, behind = (light.light(contrast + s * change).misfit ** 2 / 2 for s in (1, -1))
    slope = float((gradient * change).sum())
    assert (ahead - behind) / 2 == pytest.approx(slope, rel=0.02)


def test_the_noise_is_read_off_the_rim(scan: tuple[InterferogramStack, InterferogramStack]) -> None:
    made = Reconstructor(scan[0], keep_fields=True)(scan[1])
    fields = made.spectrum.fields
    assert fields is not None
    box = Box((24, 36, 36), (16, 24, 24))
    generator = torch.Generator().manual_seed(3)
    noise = 0.05 * torch.randn(fields.values.shape, generator=generator, dtype=torch.complex64)
    clean = LightMisfit(fields, box)
    noisy = LightMisfit(replace(fields, values=fields.values + noise), box)
    expected = 0.0
    for angles in clean.model.batches():
        spectra = torch.fft.fft2(torch.fft.ifftshift(noise[fields.used[angles]], dim=(1, 2)))
        expected += float((spectra * clean.model.pupil(angles)).abs().square().sum())
    pixels = noise[0].numel()
    relative = (expected / pixels) ** 0.5 / noisy.measured
    assert noisy.noise == pytest.approx(relative, rel=0.1)
    assert clean.noise < 0.2 * noisy.noise


def test_the_proximal_step_without_total_variation_is_its_target() -> None:
    generator = torch.Generator().manual_seed(2)
    target = torch.rand((8, 10, 12), generator=generator)
    weight = torch.full((8, 10, 7), 1e6)
    step = WeightedTv(
        weight, (0.2, 0.1, 0.1), CELL.optics, 1.0, nonnegative=True, start=torch.zeros_like(target)
    )
    assert step.step(target, 5) == pytest.approx(target, abs=1e-3)


def test_a_step_goes_as_far_as_the_light_wants(made: Reconstruction, corrected: Tomogram) -> None:
    """The second result overshoots threefold: a part of the way is right."""

    class Overshooting:
        def __init__(self) -> None:
            self.base, self.calls, self.first = TotalVariation("tv-fast"), 0, corrected

        def __call__(
            self, tomogram: Tomogram, spectrum: Spectrum, *_: object, **__: object
        ) -> Tomogram:
            found = self.base(tomogram, spectrum)
            self.calls += 1
            if self.calls == 1:
                self.first = found
                return found
            far = self.first.index + 3 * (corrected.index - self.first.index)
            self.second = replace(found, index=far.clamp_min(1.337))
            return self.second

    base = Overshooting()
    found = Corrected(base, 1, light_steps=False)(made.tomogram, made.spectrum)
    before, after = misfits(found)
    assert after < before
    step = float(found.provenance["corrections"].rpartition("steps ")[2])
    assert 0.2 < step < 0.9
    assert error(found, made.spectrum) < error(base.second, made.spectrum)
    mean = torch.lerp(base.first.contrast, base.second.contrast, step)
    assert torch.allclose(found.contrast, mean, atol=0.02 * float(mean.max()))  # step: two digits


def test_a_high_misfit_that_remains_is_said_and_not_corrected(
    made: Reconstruction, fast: Tomogram
) -> None:
    (said,) = warned(fast.with_warning("before"), 0.3, 0.1).warnings
    assert said.startswith("before; ")
    assert "28 % from the measured light" in said
    assert warned(fast, 0.60, 0.58).warnings == fast.warnings  # of a weak sphere: all is noise
    again = warned(warned(fast, 0.3, 0.1), 0.12, 0.1)
    assert again.warnings == fast.warnings
    assert made.spectrum.fields is not None
    other = replace(made.spectrum.fields, values=made.spectrum.fields.values.conj())
    wrong = Corrected(TotalVariation("tv-fast"), 1)(
        made.tomogram, replace(made.spectrum, fields=other)
    )
    assert "from the measured light" in wrong.warnings[-1]
    assert wrong.provenance["corrections"].startswith("0 of 1;")
    assert torch.equal(wrong.index, fast.index)  # a better fit of what is not explained is none


def test_what_drowns_in_noise_is_left_as_it_is(made: Reconstruction, fast: Tomogram) -> None:
    fields = made.spectrum.fields
    assert fields is not None
    generator = torch.Generator().manual_seed(4)
    noise = torch.randn(fields.values.shape, generator=generator, dtype=torch.complex64)
    spectrum = replace(made.spectrum, fields=replace(fields, values=1 + noise))
    start: Callable[..., Tomogram] = lambda *_, **__: fast  # noqa: E731
    found = Corrected(start, 1)(made.tomogram, spectrum)
    assert torch.equal(found.index, fast.index)
    assert found.provenance["corrections"].startswith("0 of 1; nothing stands out of the noise")
    found = MultisliceRegularizer(start)(made.tomogram, spectrum)
    assert torch.equal(found.index, fast.index)
    assert "stand out of the noise" in found.warnings[0]


def test_the_network_counts_by_what_its_light_leaves(
    made: Reconstruction, fast: Tomogram, corrected: Tomogram
) -> None:
    """Beside a perfect one, a poor network counts little; it never spoils what was found."""
    given: list[Spectrum] = []

    def network(tomogram: Tomogram, spectrum: Spectrum, *_: object, **__: object) -> Tomogram:
        given.append(spectrum)
        return fast

    start: Callable[..., Tomogram] = lambda *_, **__: corrected  # noqa: E731
    both = MultisliceRegularizer(start, 1, network=network)(made.tomogram, made.spectrum)
    assert not torch.equal(given[0].values, made.spectrum.values)
    said = both.provenance["regularizer"].partition("with ")[2]
    share = float(said.partition(" %")[0]) / 100
    assert 0 < share < 0.3
    assert error(both, made.spectrum) < error(corrected, made.spectrum)


def test_an_inverse_within_the_noise_is_not_averaged(
    made: Reconstruction, corrected: Tomogram
) -> None:
    def network(*_: object, **__: object) -> Tomogram:
        raise AssertionError("nothing is known that the inverse lacks")

    fields = made.spectrum.fields
    assert fields is not None
    generator = torch.Generator().manual_seed(5)
    noise = 0.06 * torch.randn(fields.values.shape, generator=generator, dtype=torch.complex64)
    spectrum = replace(made.spectrum, fields=replace(fields, values=fields.values + noise))
    start: Callable[..., Tomogram] = lambda *_, **__: corrected  # noqa: E731
    found = MultisliceRegularizer(start, 2, network=network)(made.tomogram, spectrum)
    assert found.provenance["regularizer"].startswith("multislice: ")
    assert "network" not in found.provenance["regularizer"]


def test_costs_are_measured() -> None:
    cost = measured(Point(0.4, every=12, frame=64), turns=1)
    assert cost.angles == 5
    assert all(box < grid for box, grid in zip(cost.box[1:], cost.grid, strict=True))
    assert min(cost.light_s, cost.spectrum_s, cost.tv_s, cost.torch_s, cost.pocketfft_s) > 0


def test_stopping_ends_a_correction(made: Reconstruction) -> None:
    stop = threading.Event()

    class Stopping(TotalVariation):
        def __call__(self, *arguments: object, **more: object) -> Tomogram:
            found = super().__call__(made.tomogram, made.spectrum)
            stop.set()
            return found

    with pytest.raises(Stopped):
        Corrected(Stopping("tv-fast"), 1)(made.tomogram, made.spectrum, None, stop)


def test_without_fields_it_says_what_to_do(made: Reconstruction) -> None:
    bare = replace(made.spectrum, fields=None)
    for method in (regularizer("tv-fast", corrections=1), regularizer("multislice")):
        with pytest.raises(DataError, match="reconstruct it from its recording"):
            method(made.tomogram, bare)
    with pytest.raises(ConfigurationError, match="corrections must be 0"):
        regularizer("tv-fast", corrections=-1)


def test_fields_are_kept_for_those_that_need_them() -> None:
    assert needs_fields("multislice")
    assert needs_fields("auto", 1)
    assert not needs_fields("deep")
    assert not needs_fields("none")


def test_an_empty_volume_has_no_box() -> None:
    assert object_box(torch.zeros(8, 8, 8), (0.2, 0.1, 0.1), 0.3) is None
    volume = torch.zeros(20, 30, 40)
    volume[8:12, 10:16, 20:30] = 1
    box = object_box(volume, (0.2, 0.1, 0.1), 0.4)
    assert box is not None
    assert (box.first, box.shape) == ((5, 5, 15), (10, 16, 20))


def test_rolling_tomograms_carry_their_fields(
    scan: tuple[InterferogramStack, InterferogramStack], made: Reconstruction
) -> None:
    empty, lit = scan
    reconstructor = Reconstructor(empty, keep_fields=True)
    rolling = RollingTomography(reconstructor)
    half = len(lit.frames) // 2
    rolling.update(lit.frames[:half], 0, lit)
    rolling.update(lit.frames[half:], half, lit)
    found = rolling.reconstruction().spectrum.fields
    assert found is not None
    assert made.spectrum.fields is not None
    assert torch.allclose(found.values, made.spectrum.fields.values, atol=1e-4)
    reconstructor.keep_fields = False
    rolling.update(lit.frames[:1], 0, lit)
    assert rolling.reconstruction().spectrum.fields is None
    reconstructor.keep_fields = True  # in the middle of a scan: the others were not kept
    rolling.update(lit.frames[:1], 0, lit)
    assert rolling.reconstruction().spectrum.fields is None
