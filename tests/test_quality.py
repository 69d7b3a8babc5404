"""The quality check: figures against total variation, also for a published live tomogram."""

import math
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from acquisition.errors import DataError, Stopped
from acquisition.illumination.angles import preset
from pipeline.live.quality_comparison import check_view, spectrum_of
from pipeline.wire.messages import (
    QualityHeader,
    Stamp,
    decode,
    encode,
    quality_message,
    quality_view,
)
from pipeline.wire.state import TomogramView
from reconstruction.inversion import contrast_of
from reconstruction.tomogram import Spectrum, index_from_contrast
from regularizer.metrics import compare
from regularizer.quality_check import check
from regularizer.total_variation.parameters import PARAMETERS
from regularizer.total_variation.split_bregman import SplitBregman

OPTICS = preset("cell").optics
VOXEL = (0.178, 0.1067, 0.1067)
QUICK = replace(PARAMETERS["tv"], inner=30)


def spectrum(size: int = 24) -> Spectrum:
    """Measure a noisy ball outside a double cone about z."""
    z, y, x = (torch.arange(size) - size // 2 for _ in range(3))
    ball = 0.05 * ((z[:, None, None] ** 2 + y[:, None] ** 2 + x**2).sqrt() < 5).float()
    kz, ky = torch.fft.fftfreq(size)[:, None, None], torch.fft.fftfreq(size)[:, None]
    mask = (ky**2 + torch.fft.rfftfreq(size) ** 2).sqrt() >= 1.2 * kz.abs()
    noise = 0.002 * torch.randn(ball.shape, generator=torch.Generator().manual_seed(0))
    values = torch.fft.rfftn(torch.fft.ifftshift(ball + noise), norm="ortho") * mask
    return Spectrum(values, mask.float(), (size, size, size), VOXEL, OPTICS)


def live(spectrum: Spectrum, regularized: torch.Tensor | None, **changes: Any) -> TomogramView:
    """Return the processor's published view of a scan."""

    def index(contrast: torch.Tensor) -> Any:
        return index_from_contrast(contrast, OPTICS.medium_index).numpy()

    view = TomogramView(
        raw=index(contrast_of(spectrum)),
        regularized=None if regularized is None else index(regularized),
        method="none" if regularized is None else "deep",
        voxel_size_um=VOXEL,
        medium_index=OPTICS.medium_index,
        sequence=17,
        timestamp=12.5,
        latency_s=0.1,
        optics=OPTICS,
        measured=np.packbits((spectrum.measured > 0).numpy()),
    )
    return replace(view, **changes)


def test_total_variation_agrees_with_itself_and_the_raw_tomogram_does_not() -> None:
    measured = spectrum()
    converged = SplitBregman(measured, QUICK).run()
    itself = check(converged, measured, "tv", parameters=QUICK).report
    raw = check(None, measured, "none", parameters=QUICK).report
    assert itself.ssim == pytest.approx(1, abs=1e-6)
    assert itself.correlation == pytest.approx(1, abs=1e-6)
    assert itself.mse < 1e-12
    assert itself.residual == pytest.approx(itself.residual_tv, rel=1e-4)
    assert raw.ssim < 0.9
    assert raw.correlation < 0.99
    assert raw.residual == raw.residual_raw < 1e-5 < raw.residual_tv < 1
    assert raw.data_range == pytest.approx(float(converged.max() - converged.min()))
    assert raw.residual_tv == pytest.approx(itself.residual_tv)


def test_the_figures_are_those_of_the_metrics() -> None:
    measured = spectrum()
    found = check(None, measured, "none", parameters=QUICK)
    metrics = compare(contrast_of(measured), found.reference)
    report = found.report
    assert (report.ssim, report.mse) == pytest.approx((metrics.ssim, metrics.mse))
    assert report.correlation == pytest.approx(metrics.correlation)
    assert len(report.ssim_z) == measured.shape[0] - 6
    assert np.mean(report.ssim_z) == pytest.approx(report.ssim)
    assert str(round(report.ssim, 3)) in report.summary()


def test_the_check_can_be_stopped_and_needs_an_object() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        check(None, spectrum(), "none", stop=stop)
    nothing = replace(spectrum(), values=torch.zeros_like(spectrum().values))
    with pytest.raises(DataError, match="needs an object"):
        check(None, nothing, "none", parameters=QUICK)
    with pytest.raises(DataError, match="at least 7 voxels"):
        check(None, spectrum(size=6), "none")
    flat = check(torch.zeros(24, 24, 24), spectrum(), "gp", parameters=QUICK).report
    assert flat.correlation == 0
    assert flat.residual == pytest.approx(1)


def test_the_spectrum_of_a_live_tomogram_is_the_one_it_was_made_from() -> None:
    measured = spectrum()
    found = spectrum_of(live(measured, None))
    assert torch.equal(found.measured, measured.measured)
    difference = torch.linalg.vector_norm(found.values - measured.values)
    assert float(difference / torch.linalg.vector_norm(measured.values)) < 1e-4
    assert (found.shape, found.voxel_size_um) == (measured.shape, VOXEL)


@pytest.mark.parametrize(
    "changes", [{"measured": None}, {"optics": None}, {"measured": np.zeros(5, np.uint8)}]
)
def test_a_tomogram_that_cannot_be_checked_is_named(changes: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="scan 18"):
        spectrum_of(live(spectrum(), None, **changes))


def test_a_report_belongs_to_its_scan_and_survives_the_wire() -> None:
    measured = spectrum()
    steps: list[int] = []
    view = live(measured, SplitBregman(measured, QUICK).run())
    found = check_view(view, progress=lambda done, of: steps.append(done))
    assert steps == list(range(1, PARAMETERS["tv"].inner + 1))
    assert (found.sequence, found.timestamp, found.report.method) == (17, 12.5, "deep")
    assert found.report.ssim > 0.98
    assert view.regularized is not None
    np.testing.assert_allclose(
        np.asarray(found.reference + found.error), np.asarray(view.regularized), atol=1e-6
    )
    parts = [bytes(part) for part in encode(quality_message(found, Stamp("test", 1)))]
    message = decode(parts)
    assert isinstance(message.header, QualityHeader)
    read = quality_view(message.header, message.arrays)
    np.testing.assert_array_equal(read.error, found.error)
    for name in ("report", "sequence", "timestamp", "voxel_size_um", "seconds"):
        assert getattr(read, name) == getattr(found, name)
    assert math.isfinite(read.report.mse)
