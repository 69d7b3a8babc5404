"""Training samples in shards: files of many samples each, and their checksums.

A folder of shards has a manifest (``manifest.json``) that names each file, its SHA-256 and the
samples in it, with the figures that say what range they cover. A shard is checked before it is
read: the samples of a damaged file would spoil a training without a word. A shard is HDF5, a group
for each sample, with the arrays that ``training_data.save`` writes.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py

from acquisition.errors import DataError
from regularizer.training.trained_range import figures
from regularizer.training.training_data import (
    TEST_SEED,
    VALIDATION_SEED,
    Sample,
    arrays_of,
    sample_of,
)

__all__ = [
    "SampleName",
    "Shard",
    "is_sharded",
    "read_manifest",
    "read_shard",
    "write_manifest",
    "write_shard",
]

_MANIFEST = "manifest.json"
_FORMAT, _VERSION = "livetomo.training-shards", 1


@dataclass(frozen=True, slots=True)
class SampleName:
    """A sample of a shard: its kind, its seed, and the figures of its scan."""

    kind: str
    seed: int
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of samples.

    Parameters
    ----------
    file : str
        Its name in the folder.
    sha256 : str
        Checksum of its bytes, in hexadecimal digits.
    samples : tuple of SampleName
    """

    file: str
    sha256: str
    samples: tuple[SampleName, ...]

    @property
    def validates(self) -> bool:
        """Whether its samples are never trained on."""
        return all(VALIDATION_SEED <= one.seed < TEST_SEED for one in self.samples)


def is_sharded(folder: Path) -> bool:
    """Return whether a folder holds shards."""
    return (folder / _MANIFEST).is_file()


def read_manifest(folder: Path) -> list[Shard]:
    """Return the shards of a folder.

    Raises
    ------
    DataError
        If there is no manifest, or it is malformed.
    """
    path = folder / _MANIFEST
    try:
        found = json.loads(path.read_text("utf-8"))
        if (found["format"], found["version"]) != (_FORMAT, _VERSION):
            raise ValueError(f"its format is {found['format']}, version {found['version']}")
        return [
            Shard(one["file"], one["sha256"], tuple(SampleName(**s) for s in one["samples"]))
            for one in found["shards"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} must be a manifest of training shards, format {_FORMAT}, version {_VERSION}: "
            f"{error}: make the shards again (train --shards)"
        ) from error


def write_manifest(folder: Path, shards: Iterable[Shard]) -> None:
    """Write the manifest of a folder, whole or not at all."""
    partial = folder / f"{_MANIFEST}.partial"
    held = [asdict(one) for one in sorted(shards, key=lambda one: one.file)]
    found = {"format": _FORMAT, "version": _VERSION, "shards": held}
    partial.write_text(json.dumps(found, indent=1), "utf-8")
    os.replace(partial, folder / _MANIFEST)


def write_shard(path: Path, samples: Sequence[Sample]) -> Shard:
    """Write samples into a file, whole or not at all; return its entry for the manifest."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with h5py.File(partial, "w") as file:
            for sample in samples:
                group = file.create_group(f"{sample.kind}-{sample.seed:05d}")
                for name, values in arrays_of(sample).items():
                    group[name] = values
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    names = (SampleName(one.kind, one.seed, figures(one.raw, one.spectrum)) for one in samples)
    return Shard(path.name, _sha256(path), tuple(names))


def read_shard(folder: Path, shard: Shard) -> Iterator[Sample]:
    """Yield the samples of a shard, after checking all of its bytes.

    Raises
    ------
    DataError
        If it is missing, or its checksum is not that of the manifest.
    """
    path = folder / shard.file
    found = _sha256(path) if path.is_file() else "no file"
    if found != shard.sha256:
        raise DataError(
            f"the shard {path} must have the SHA-256 that the manifest names, {shard.sha256}, "
            f"found {found}: delete the file and make it again (train --shards), or copy it anew"
        )
    with h5py.File(path) as file:
        for group in file.values():
            yield sample_of({name: held[()] for name, held in group.items()})


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
