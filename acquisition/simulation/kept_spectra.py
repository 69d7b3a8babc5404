"""Keeps the light that objects scatter from one start of the program to the next.

It takes seconds to compute, and the same simulated microscope is opened again and again. The files
lie in the user's cache folder, which may be emptied at any time.
"""

import contextlib
import os
import tempfile
from hashlib import blake2b
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import NDArray

from acquisition.optics import Optics
from acquisition.simulation import multislice
from acquisition.simulation.multislice import Band, ScatteredSpectra, scattered_spectra
from acquisition.simulation.phantom import Phantom

__all__ = ["kept_spectra"]

_WORTH = 8  # fewer angles are computed faster than they are looked for
_LIMIT = 256 * 2**20  # bytes of all files


def kept_spectra(
    phantom: Phantom,
    optics: Optics,
    k: NDArray[np.float64],
    period_um: float,
    *,
    threads: int = 1,
) -> ScatteredSpectra:
    """Return ``scattered_spectra`` of the same arguments, from an earlier time if there was one."""
    if len(k) < _WORTH:
        return scattered_spectra(phantom, optics, k, period_um, threads=threads)
    file = _folder() / f"{_identity(phantom, optics, k, period_um)}.npy"
    values = _read(file)
    if values is not None:
        bands = tuple(Band.of(optics, (float(kx), float(ky)), period_um) for kx, ky in k)
        return ScatteredSpectra(bands, values)
    spectra = scattered_spectra(phantom, optics, k, period_um, threads=threads)
    with contextlib.suppress(OSError):  # a full or protected disk costs time only
        _write(file, spectra.values)
    return spectra


def _folder() -> Path:
    return platformdirs.user_cache_path("livetomo", appauthor=False) / "scattering"


def _identity(phantom: Phantom, optics: Optics, k: NDArray[np.float64], period_um: float) -> str:
    """Return a name for all that the spectra depend on, the way they are computed included."""
    digest = blake2b(digest_size=16)
    digest.update(Path(multislice.__file__).read_bytes())
    digest.update(repr((phantom.contrast.shape, phantom.voxel_size_um, period_um)).encode())
    digest.update(repr((optics, k.shape)).encode())
    digest.update(phantom.contrast.tobytes())
    digest.update(k.tobytes())
    return digest.hexdigest()


def _read(file: Path) -> NDArray[np.complex64] | None:
    try:
        values = np.load(file)
        os.utime(file)  # those that were not used for long go first
    except (OSError, ValueError, EOFError):
        return None
    return np.asarray(values, dtype=np.complex64)


def _write(file: Path, values: NDArray[np.complex64]) -> None:
    """Write a file, whole or not at all, and remove the oldest ones above the limit."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as part:
        try:
            np.save(part, values)
        except BaseException:
            part.close()
            os.unlink(part.name)
            raise
    os.replace(part.name, file)
    files = sorted(file.parent.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for path in files:
        total += path.stat().st_size
        if total > _LIMIT and path != file:
            path.unlink(missing_ok=True)
