"""Split Bregman against its textbook form, and on objects whose truth is known."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from acquisition.errors import ConfigurationError, DataError, Stopped
from acquisition.illumination.angles import preset
from reconstruction.inversion import contrast_of
from reconstruction.reconstructor import Reconstruction, Reconstructor
from reconstruction.tomogram import Spectrum, Tomogram, index_from_contrast
from regularizer.metrics import compare, data_residual, structural_similarity
from regularizer.total_variation.automatic import automatic_parameters
from regularizer.total_variation.compiled import CompiledPass
from regularizer.total_variation.parameters import PARAMETERS, TvParameters
from regularizer.total_variation.split_bregman import SplitBregman, fused_pass
from regularizer.total_variation.total_variation import TotalVariation
from tests.exact_bead import INDEX, MIDDLE, RADIUS_UM, exact_bead

OPTICS = preset("cell").optics
VOXEL = (0.178, 0.1067, 0.1067)


def ball(shape: tuple[int, int, int], radius: float) -> torch.Tensor:
    z, y, x = (torch.arange(n) - n // 2 for n in shape)
    return 0.05 * ((z[:, None, None] ** 2 + y[:, None] ** 2 + x**2).sqrt() < radius).float()


def measured(volume: torch.Tensor, noise: float = 0.0, seed: int = 0) -> Spectrum:
    """Measure a volume's spectrum outside a double cone about z, as a tomograph does."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.fft.rfftn(torch.fft.ifftshift(volume), norm="ortho")
    kz = torch.fft.fftfreq(volume.shape[0])[:, None, None]
    ky = torch.fft.fftfreq(volume.shape[1])[:, None]
    kx = torch.fft.rfftfreq(volume.shape[2])
    mask = (ky**2 + kx**2).sqrt() >= 1.2 * kz.abs()
    values = values + noise * torch.randn(values.shape, generator=generator, dtype=values.dtype)
    shape = (volume.shape[0], volume.shape[1], volume.shape[2])
    return Spectrum(values * mask, mask.float(), shape, VOXEL, OPTICS)


def textbook(spectrum: Spectrum, p: TvParameters, scale: float) -> torch.Tensor:
    """Goldstein and Osher's iteration with explicit d, w, b, c and complex transforms, float64."""
    shape = spectrum.shape
    mask_half = (spectrum.measured > 0).double()
    g0 = spectrum.values.to(torch.complex128) / scale
    g = g0.clone()
    f = torch.zeros(shape, dtype=torch.float64)
    d, b = (torch.zeros(3, *shape, dtype=torch.float64) for _ in range(2))
    w, c = (torch.zeros(shape, dtype=torch.float64) for _ in range(2))
    delta = torch.zeros(shape, dtype=torch.float64)
    delta[0, 0, 0] = 1
    laplacian = sum(torch.fft.rfftn(torch.roll(delta, -1, a) - delta).abs() ** 2 for a in range(3))
    for outer in range(p.outer):
        for _ in range(p.inner):
            right = p.gamma * (w - c)
            for a in range(3):
                v = d[a] - b[a]
                right = right + p.tau * (torch.roll(v, 1, a) - v)
            top = p.mu * mask_half * g + torch.fft.rfftn(right, norm="ortho")
            bottom = p.mu * mask_half + p.tau * laplacian + p.gamma
            f = torch.fft.irfftn(top / bottom, s=shape, norm="ortho")
            v = torch.stack([torch.roll(f, -1, a) - f for a in range(3)]) + b
            length = v.square().sum(0).sqrt() if p.isotropic else v.abs()
            d = v * ((length - 1 / p.tau).clamp_min(0) / length.clamp_min(1e-300))
            b = v - d
            w = (f + c).clamp_min(0) if p.nonnegative else f + c
            c = c + f - w
        if outer + 1 < p.outer:
            g = g + g0 - mask_half * torch.fft.rfftn(f, norm="ortho")
    result: torch.Tensor = torch.fft.fftshift(f.clamp_min(0) if p.nonnegative else f) * scale
    return result


@pytest.mark.parametrize("shape", [(24, 32, 28), (15, 21, 18)])
@pytest.mark.parametrize(
    "parameters",
    [
        TvParameters(1, 7, 50, 20, 10),
        TvParameters(3, 4, 10, 10, 1),
        TvParameters(2, 5, 50, 20, 10, False),
    ],
)
@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize(
    ("fused", "dtype", "tolerance"),
    [(True, torch.float32, 1e-5), (False, torch.float32, 1e-5), (False, torch.float64, 1e-12)],
)
def test_iterates_equal_the_textbook(
    shape: tuple[int, int, int],
    parameters: TvParameters,
    isotropic: bool,
    fused: bool,
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    if fused and fused_pass(torch.device("cpu")) is None:
        pytest.skip("numba is not installed")
    spectrum = measured(ball(shape, 6), noise=0.002)
    parameters = replace(parameters, isotropic=isotropic)
    solver = SplitBregman(spectrum, parameters, fused=fused, dtype=dtype)
    expected = textbook(spectrum, parameters, float(solver.scale))
    result = solver.run()
    assert result.dtype == dtype
    assert float((result - expected).norm() / expected.norm()) < tolerance


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("nonnegative", [True, False])
def test_relaxed_iterates_are_those_of_the_formula(isotropic: bool, nonnegative: bool) -> None:
    """D f and f are replaced by r D f + (1 - r) d and r f + (1 - r) w (Boyd et al., 3.4.3)."""
    r, tau, gamma, mu = 1.6, 10.0, 2.0, 20.0
    spectrum = measured(ball((15, 21, 18), 5), noise=0.002)
    how = TvParameters(1, 6, mu, tau, gamma, nonnegative, isotropic, relaxation=r)
    solver = SplitBregman(spectrum, how)
    g, known = spectrum.values / solver.scale[0], spectrum.measured > 0
    turns = (torch.fft.fftfreq(n) for n in (15, 21))
    eigenvalues = sum(
        ((2 * torch.sin(torch.pi * m)) ** 2).reshape([-1 if a == axis else 1 for a in range(3)])
        for axis, m in enumerate((*turns, torch.fft.rfftfreq(18)))
    )
    b, d = (torch.zeros(3, 15, 21, 18) for _ in range(2))
    c, w = (torch.zeros(15, 21, 18) for _ in range(2))
    for _ in range(how.inner):
        adjoint = sum(torch.roll((d - b)[a], 1, a) - (d - b)[a] for a in range(3))
        top = mu * known * g + torch.fft.rfftn(tau * adjoint + gamma * (w - c), norm="ortho")
        f = torch.fft.irfftn(
            top / (mu * known + tau * eigenvalues + gamma), s=c.shape, norm="ortho"
        )
        slope = r * torch.stack([torch.roll(f, -1, a) - f for a in range(3)]) + (1 - r) * d
        level = r * f + (1 - r) * w
        v = slope + b
        length = v.square().sum(0).sqrt() if isotropic else v.abs()
        d = v * (1 - 1 / (tau * length.clamp_min(1e-30))).clamp_min(0)
        b = v - d
        w = (level + c).clamp_min(0) if nonnegative else level + c
        c = c + level - w
    expected = torch.fft.fftshift(f.clamp_min(0) if nonnegative else f) * solver.scale[0]
    for fused in (True, False):
        found = SplitBregman(spectrum, how, fused=fused).run()
        assert float((found - expected).norm() / expected.norm()) < 1e-5


def test_relaxed_iterations_end_at_the_same_solution_and_sooner() -> None:
    spectrum = measured(ball((24, 32, 32), 7), noise=0.001)
    plain = PARAMETERS["tv-fast"]
    relaxed = replace(plain, relaxation=1.6)
    ends = [SplitBregman(spectrum, replace(p, inner=400)).run() for p in (plain, relaxed)]
    assert float((ends[0] - ends[1]).norm() / ends[0].norm()) < 1e-3
    short, sooner = (
        float((SplitBregman(spectrum, p).run() - ends[0]).norm()) for p in (plain, relaxed)
    )
    assert sooner < 0.9 * short


def test_threads_change_nothing() -> None:
    spectrum = measured(ball((8, 256, 64), 3), noise=0.002)  # two slabs
    threads = torch.get_num_threads()
    found = []
    try:
        for one in (1, 2):
            torch.set_num_threads(one)
            found.append(SplitBregman(spectrum, TvParameters(1, 5, 20, 20, 1)).run())
    finally:
        torch.set_num_threads(threads)
    assert float((found[0] - found[1]).norm() / found[0].norm()) < 1e-6


@pytest.mark.parametrize("isotropic", [True, False])
def test_the_pass_for_gpus_equals_the_plain_one(
    isotropic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operations that torch captures, run without kernels; a failure would be a warning."""
    spectra = [measured(ball((15, 21, 18), radius), 0.002, seed=radius) for radius in (4, 6)]
    how = TvParameters(2, 4, 20, 20, 1, isotropic=isotropic, gradient="micrometres")
    plain = SplitBregman(spectra, how, fused=False).run()
    compiled = CompiledPass("aot_eager")
    monkeypatch.setattr(
        "regularizer.total_variation.split_bregman.fused_pass", lambda device: compiled
    )
    found = SplitBregman(spectra, how).run()
    assert float((found - plain).norm() / plain.norm()) < 1e-5


def test_a_failing_compiler_is_warned_about_and_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: object) -> None:
        raise RuntimeError("no Triton for this GPU")

    monkeypatch.setattr(
        "regularizer.total_variation.compiled.torch.compile", lambda *_, **__: failing
    )
    monkeypatch.setattr(
        "regularizer.total_variation.split_bregman.fused_pass", lambda device: CompiledPass()
    )
    spectrum = measured(ball((15, 21, 18), 5), 0.002)
    parameters = TvParameters(1, 4, 20, 20, 1, nonnegative=False)
    with pytest.warns(UserWarning, match="compiling failed: no Triton for this GPU"):
        found = SplitBregman(spectrum, parameters).run()
    plain = SplitBregman(spectrum, parameters, fused=False).run()
    assert float((found - plain).norm() / plain.norm()) < 1e-5


@pytest.mark.parametrize("isotropic", [True, False])
def test_a_fused_warm_start_equals_a_plain_one(isotropic: bool) -> None:
    spectrum = measured(ball((24, 32, 28), 6), noise=0.002)
    parameters = TvParameters(1, 5, 20, 20, 10, isotropic=isotropic)
    results = []
    for fused in (True, False):
        solver = SplitBregman(spectrum, parameters, fused=fused)
        solver.start_from(ball((24, 32, 28), 6))
        results.append(solver.run())
    assert float((results[0] - results[1]).norm() / results[1].norm()) < 1e-5


def test_it_stops_where_nothing_changes_any_more() -> None:
    spectrum = measured(ball((24, 32, 32), 7), noise=0.001)
    told: list[tuple[int, int]] = []
    parameters = TvParameters(2, 400, 20, 20, 10, tolerance=1e-4)
    found = SplitBregman(spectrum, parameters).run(lambda done, of: told.append((done, of)))
    whole = SplitBregman(spectrum, replace(parameters, tolerance=0.0)).run()
    assert len(told) < 400  # of 800
    assert told[-1] == (800, 800)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert float((found - whole).norm() / whole.norm()) < 0.01


def test_the_missing_cone_is_filled() -> None:
    truth = ball((32, 48, 48), 9)
    spectrum = measured(truth, noise=0.0005)
    raw = contrast_of(spectrum)
    result = SplitBregman(spectrum, PARAMETERS["tv"]).run()
    before, after = compare(raw, truth), compare(result, truth)
    assert float(result.min()) >= 0
    assert after.ssim > before.ssim + 0.2
    assert after.mse < before.mse / 5
    assert after.correlation > before.correlation


def test_the_iterations_of_tv_come_as_near_as_a_hundred_plain_ones() -> None:
    spectrum = measured(ball((16, 24, 24), 5), noise=0.001)
    tv = PARAMETERS["tv"]
    solution = SplitBregman(spectrum, replace(tv, inner=600)).run()
    plain = SplitBregman(spectrum, replace(tv, inner=100, relaxation=1.0)).run()
    assert tv.inner < 100
    assert (SplitBregman(spectrum, tv).run() - solution).norm() < (plain - solution).norm()


def test_a_warm_start_goes_on_where_it_was() -> None:
    spectrum = measured(ball((24, 32, 32), 7), noise=0.001)
    solution = SplitBregman(spectrum, replace(PARAMETERS["tv"], inner=300)).run()
    few = replace(PARAMETERS["tv"], inner=3)
    warm, cold = SplitBregman(spectrum, few), SplitBregman(spectrum, few)
    warm.start_from(solution)
    kept, fresh = (float((s.run() - solution).norm() / solution.norm()) for s in (warm, cold))
    assert kept < 0.2 * fresh


def test_the_scale_of_the_sample_does_not_matter() -> None:
    spectrum = measured(ball((24, 32, 32), 7), noise=0.001)
    tenfold = replace(spectrum, values=10 * spectrum.values)
    one, ten = (SplitBregman(s, PARAMETERS["tv"]).run() for s in (spectrum, tenfold))
    assert torch.allclose(10 * one, ten, atol=1e-4)


def test_progress_counts_all_iterations() -> None:
    seen: list[tuple[int, int]] = []
    SplitBregman(measured(ball((8, 8, 8), 2)), TvParameters(2, 3, 50, 20, 10)).run(
        lambda done, of: seen.append((done, of))
    )
    assert seen == [(i + 1, 6) for i in range(6)]


@pytest.mark.parametrize(
    "wrong", [{"outer": 0}, {"inner": 0}, {"mu": 0.0}, {"tau": -1.0}, {"relaxation": 2.0}]
)
def test_impossible_parameters_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        replace(PARAMETERS["tv"], **wrong)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def bead(ground_truth: Path) -> Reconstruction:
    background, scan = exact_bead(ground_truth, MIDDLE)
    return Reconstructor(background)(scan)


@pytest.mark.parametrize("name", ["tv", "tv-fast"])
def test_the_exact_bead_gets_its_index_and_width_back(name: str, bead: Reconstruction) -> None:
    contrast = SplitBregman(bead.spectrum, PARAMETERS[name]).run()
    medium = bead.spectrum.optics.medium_index
    index = index_from_contrast(contrast, medium)
    dz, dy, dx = bead.tomogram.voxel_size_um
    z, y, x = ((np.arange(n) - n // 2) * d for n, d in zip(index.shape, (dz, dy, dx), strict=True))
    r = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    volume = index.numpy()
    assert volume[r < 1.4].mean() == pytest.approx(INDEX, abs=0.002)
    fine = np.linspace(z[0], z[-1], 8000)
    axis = np.interp(fine, z, volume[:, volume.shape[1] // 2, volume.shape[2] // 2])
    width = float((axis > (medium + INDEX) / 2).sum() * (fine[1] - fine[0]))
    assert width == pytest.approx(2 * RADIUS_UM, abs=0.2)
    assert volume[r > 6].std() < 5e-4


def test_ssim_is_scikit_images() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    rng = np.random.default_rng(0)
    a, b = rng.random((12, 14, 16)), rng.random((12, 14, 16))
    ours = structural_similarity(torch.tensor(a), torch.tensor(b), 1.0)
    _, theirs = metrics.structural_similarity(a, b, data_range=1.0, full=True, win_size=7)
    assert np.allclose(ours.numpy(), theirs[3:-3, 3:-3, 3:-3], atol=1e-10)


def test_metrics_of_a_volume_with_itself_and_with_noise() -> None:
    truth = ball((16, 16, 16), 5)
    same = compare(truth, truth)
    assert (same.ssim, same.mse, same.correlation) == pytest.approx((1.0, 0.0, 1.0))
    noisy = compare(truth + 0.005 * torch.randn(truth.shape), truth)
    assert noisy.mse == pytest.approx(0.01, rel=0.2)  # (0.005 / 0.05)^2
    assert noisy.psnr_db == pytest.approx(20, abs=1)
    assert noisy.paper_ssim > noisy.ssim


def test_the_data_residual_is_what_a_tomogram_does_not_explain() -> None:
    truth = ball((24, 32, 32), 7)
    clean, noisy = measured(truth), measured(truth, noise=0.001)
    real = torch.fft.rfftn(torch.fft.ifftshift(contrast_of(noisy)), norm="ortho")
    noisy = replace(noisy, values=real * noisy.measured)  # that of a real volume
    assert data_residual(contrast_of(noisy), noisy) == pytest.approx(0, abs=1e-5)
    assert data_residual(truth, clean) == pytest.approx(0, abs=1e-5)
    noise = float((noisy.values - clean.values).norm() / noisy.values.norm())
    assert data_residual(truth, noisy) == pytest.approx(noise, rel=1e-3)
    regularized = SplitBregman(noisy, PARAMETERS["tv"]).run()
    assert 0.5 * noise < data_residual(regularized, noisy) < 3 * noise
    assert data_residual(torch.zeros_like(truth), noisy) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["tv", "tv-fast", "auto"])
def test_measured_frequencies_stay_within_the_noise(name: str) -> None:
    """Total variation is closer to the truth than the raw measurement."""
    clean, noisy = (measured(ball((24, 48, 48), 9), noise) for noise in (0.0, 0.004))
    noise = float((noisy.values - clean.values).norm())
    noisy = replace(noisy, noise=noise / float(noisy.values.norm()))
    parameters = automatic_parameters(noisy) if name == "auto" else PARAMETERS[name]
    found = SplitBregman(noisy, parameters).run()
    predicted = torch.fft.rfftn(torch.fft.ifftshift(found), norm="ortho") * noisy.measured
    assert float((predicted - clean.values).norm()) < 0.8 * noise
    assert float((predicted - noisy.values).norm()) < 1.3 * noise


def test_several_volumes_at_once_are_the_same_as_one_by_one() -> None:
    spectra = [measured(ball((15, 21, 18), r), 0.002, seed=r) for r in (4, 6)]
    parameters = TvParameters(2, 5, 20, 20, 10, gradient="micrometres")
    for fused in (True, False):
        together = SplitBregman(spectra, parameters, fused=fused).run()
        for found, spectrum in zip(together, spectra, strict=True):
            alone = SplitBregman(spectrum, parameters, fused=not fused).run()
            assert float((found - alone).norm() / alone.norm()) < 1e-5


def test_a_set_event_stops_it() -> None:
    stop = threading.Event()
    told: list[int] = []

    def look(done: int, of: int) -> None:
        told.append(done)
        if done == 3:
            stop.set()

    with pytest.raises(Stopped):
        SplitBregman(measured(ball((8, 8, 8), 2)), PARAMETERS["tv"]).run(look, stop)
    assert told == [1, 2, 3]


def test_data_that_follow_go_on_from_where_the_former_led() -> None:
    first, second = (measured(ball((15, 21, 18), 6), 0.002, seed=seed) for seed in (0, 1))
    short = SplitBregman(first, TvParameters(1, 5, 20, 20, 10), scale=0.05)
    short.run()
    short.update_data(first)
    whole = SplitBregman(first, TvParameters(1, 10, 20, 20, 10), scale=0.05).run()
    assert torch.allclose(short.run(), whole, atol=1e-7)
    few = TvParameters(1, 3, 20, 20, 10)
    solution = SplitBregman(second, replace(few, inner=300), scale=0.05).run()
    short.parameters = few
    short.update_data(second)
    cold = SplitBregman(second, few, scale=0.05).run()
    assert float((short.run() - solution).norm()) < 0.5 * float((cold - solution).norm())
    with pytest.raises(DataError):
        short.update_data(measured(ball((8, 8, 8), 2)))


def moving(offsets: list[int]) -> list[Spectrum]:
    """Return spectra of a ball that moves along x, with new noise each time."""
    balls = (torch.roll(ball((16, 32, 32), 5), offset, 2) for offset in offsets)
    scans = [measured(volume, 0.002, seed) for seed, volume in enumerate(balls)]
    noise = [0.002 * one.measured.sum().sqrt() * 2**0.5 / one.values.norm() for one in scans]
    return [replace(one, noise=float(n)) for one, n in zip(scans, noise, strict=True)]


def tomogram_of(spectrum: Spectrum) -> Tomogram:
    index = index_from_contrast(contrast_of(spectrum), OPTICS.medium_index)
    return Tomogram(index, spectrum.voxel_size_um, OPTICS)


def counter(steps: list[int]) -> Callable[[int, int], None]:
    def count(done: int, of: int) -> None:
        steps[0] += 1

    return count


def distances(offsets: list[int], warm: bool) -> tuple[list[float], list[int]]:
    """Return the error of live TV against converged TV, and its iterations, for each scan."""
    live = TotalVariation("tv-fast", warm=warm)
    far, done = [], []
    for spectrum in moving(offsets):
        converged = SplitBregman(spectrum, replace(PARAMETERS["tv-fast"], inner=150)).run()
        steps = [0]
        found = live(tomogram_of(spectrum), spectrum, counter(steps)).contrast
        far.append(float((found - converged).norm() / converged.norm()))
        done.append(steps[0])
    return far, done


def test_live_total_variation_goes_on_from_the_last_tomogram() -> None:
    warm, iterations = distances([0, 0, 0, 1, 2], warm=True)
    cold, all_of_them = distances([0, 0, 0, 1, 2], warm=False)
    assert iterations == [20, 10, 10, 20, 20]  # a voxel of a radius of five is a large step
    assert all_of_them == [20] * 5
    assert warm[0] == pytest.approx(cold[0], rel=1e-3)
    assert all(a < 0.95 * b for a, b in zip(warm[1:], cold[1:], strict=True))
    jump, steps = distances([0, 12], warm=True)  # another place: nothing to go on from
    assert steps == [20, 20]
    assert jump[1] == pytest.approx(distances([0, 12], warm=False)[0][1], rel=1e-3)


def test_live_total_variation_begins_anew_where_the_scan_does_not_fit() -> None:
    live = TotalVariation("tv-fast", warm=True)
    first = moving([0])[0]
    steps: list[int] = []

    def iterations(spectrum: Spectrum) -> int:
        steps.clear()
        live(tomogram_of(spectrum), spectrum, lambda done, of: steps.append(done))
        return len(steps)

    assert iterations(first) == 20
    brighter = replace(first, values=1.3 * first.values)
    assert iterations(brighter) == 20  # another scale: mu would mean something else
    assert iterations(replace(first, voxel_size_um=(0.2, 0.1, 0.1))) == 20
    assert iterations(replace(first, voxel_size_um=(0.2, 0.1, 0.1))) == 10
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        live(tomogram_of(first), first, stop=stop)
    assert iterations(first) == 20
