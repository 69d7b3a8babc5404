"""Training on spectra that are corrected for Rytov's error, and the exact spheres among them."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from acquisition.errors import ConfigurationError
from acquisition.simulation.sphere_scene import SphereScene
from commands.command_line import parse
from reconstruction.reconstructor import Reconstructor
from reconstruction.tomogram import Spectrum, Tomogram
from regularizer.interface import Progress
from regularizer.networks.trained import load_network
from regularizer.scattering.defect_correction import Corrected
from regularizer.total_variation.total_variation import TotalVariation
from regularizer.training import corrected_samples
from regularizer.training.corrected_samples import EXACT, corrected_sample, exact_scan
from regularizer.training.training_data import (
    EMPTY_FIELD_X_UM,
    Sample,
    SimulatedScan,
    sample_file,
    save,
)
from tests.partial_waves import sphere_field
from tests.scans import CELL, sphere_spectrum

RADIUS_UM, CONTRAST = 1.3, 0.05


class Noted(TotalVariation):
    """Total variation that notes what spectra it is given."""

    def __init__(self) -> None:
        super().__init__("tv-fast")
        self.given: list[Spectrum] = []

    def __call__(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
        *,
        unconstrained: bool = False,
    ) -> Tomogram:
        self.given.append(spectrum)
        return super().__call__(tomogram, spectrum, progress, stop, unconstrained=unconstrained)


@pytest.fixture(scope="module")
def scan() -> SimulatedScan:
    """Return the scan of a sphere of fixed size, by every third angle."""
    angles = replace(CELL.angles, k=CELL.angles.k[::3])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corrected_samples, "preset", lambda _: replace(CELL, angles=angles))
        patch.setattr(corrected_samples, "_RADII_UM", (RADIUS_UM, RADIUS_UM))
        patch.setattr(corrected_samples, "_CONTRASTS", (CONTRAST, CONTRAST))
        return exact_scan(4, 96)


@pytest.fixture(scope="module")
def sample(scan: SimulatedScan) -> Sample:
    made = corrected_sample(scan, EXACT, 4, TotalVariation("tv-fast"))
    assert isinstance(made, Sample)
    return made


def test_the_scene_of_a_sphere_is_its_exact_light() -> None:
    """On the camera, at any place of the stage; far away there is none."""
    place, stage, k = (0.4, -0.3, 0.2), (0.1, 0.2, -0.1), (0.8, -1.1)
    scene = SphereScene(CELL.optics, (40, 32), RADIUS_UM, CONTRAST, place)
    light, *waves = scene.field(k, 0.0, stage)
    n = scene.size
    index = CELL.optics.medium_index + CONTRAST
    at = (0.3, -0.5, 0.3)
    world = sphere_field(CELL.optics, k, RADIUS_UM, index, (n, n), at)
    rows, columns = (slice(n // 2 - m // 2, n // 2 + m // 2) for m in (40, 32))
    assert np.abs(light * waves[0] * waves[1] - world[rows, columns]).max() < 1e-5
    assert np.abs(light - 1).max() > 0.3
    empty, *_ = scene.field(k, 0.0, (EMPTY_FIELD_X_UM, 0.0, 0.0))
    assert (empty == 1).all()


def test_samples_are_what_a_correction_gives_its_regularizer(
    scan: SimulatedScan, sample: Sample
) -> None:
    made = Reconstructor(scan.background, keep_fields=True)(scan.stack)
    noted = Noted()
    Corrected(TotalVariation("tv-fast"), 1, after=noted)(made.tomogram, made.spectrum)
    (given,) = noted.given
    assert torch.equal(sample.spectrum.values, given.values)
    assert sample.spectrum.fields is None  # files do not hold them

    index = sample.spectrum.optics.medium_index + CONTRAST
    exact = sphere_spectrum(sample.spectrum, RADIUS_UM, index, scan.position_um)
    there = sample.spectrum.measured > 0
    before, after = (
        float((values - exact)[there].norm() / exact[there].norm())
        for values in (made.spectrum.values, sample.spectrum.values)
    )
    assert after < 0.85 * before  # most of what is left is noise


def test_what_cannot_be_corrected_is_left_out(scan: SimulatedScan) -> None:
    class Empty(TotalVariation):
        def solve(self, raw: torch.Tensor, *_: object, **__: object):  # type: ignore[no-untyped-def]
            return torch.zeros_like(raw), "nothing"

    class Threefold(TotalVariation):
        def solve(self, raw: torch.Tensor, *_: object, **__: object):  # type: ignore[no-untyped-def]
            return 3 * raw.clamp_min(0), "too much"

    for method, why in ((Empty, "nothing stands out"), (Threefold, "of the light is not")):
        said = corrected_sample(scan, EXACT, 4, method("tv-fast"))
        assert isinstance(said, str) and why in said


def test_the_command_goes_on_from_the_shipped_weights(
    sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for seed in (0, 1000, 1001):
        save(replace(sample, seed=seed, tv=sample.truth), sample_file(data, EXACT, seed))
    files = f"--data {data} --run {tmp_path / 'run'} --output {tmp_path / 'own.safetensors'}"
    few = f"--kinds {EXACT} --objects 1 --steps 1 --batch 1 --rate 1e-9 --device cpu"
    words = f"train --corrections 1 --network light-unet-tv {few} {files}"
    options = parse(words.split())
    assert options.run(options) == 0
    assert "best validation MSE" in capsys.readouterr().out
    own, shipped = (
        load_network("light-unet-tv", tmp_path / "own.safetensors"),
        load_network("light-unet-tv"),
    )
    assert "spectra were corrected once" in own.metadata["training_data"]
    assert own.metadata["settings"].startswith(shipped.metadata["settings"])
    for (name, now), before in zip(
        own.network.named_parameters(), shipped.network.parameters(), strict=True
    ):
        assert torch.allclose(now, before, atol=1e-6), name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--corrections 1 --minutes 1", "--corrections does not go with --minutes"),
        ("--corrections 1 --bulk 2", "samples in bulk have no error of the Rytov"),
        ("--corrections 1 --recordings .", "--corrections does not go with own data"),
        ("--kinds sphere", "--kinds must be among cell, "),
    ],
)
def test_what_does_not_go_with_corrections_is_refused(words: str, message: str) -> None:
    options = parse(["train", *words.split(), "--device", "cpu"])
    with pytest.raises(ConfigurationError, match=message):
        options.run(options)
