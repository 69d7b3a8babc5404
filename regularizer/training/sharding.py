"""Makes training samples in shards: which shard holds which samples, and those that are missing.

What a shard holds depends on the numbers of objects and geometries and on its size alone, and a
sample on its kind and seed: whoever makes a shard, here or on a cluster, makes the same one. The
process that shares out the work alone writes the manifest, shard by shard, so that an interrupted
making goes on with what is missing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regularizer.training.bulk_samples import BULK_SEED, geometry_samples
from regularizer.training.shards import (
    Shard,
    is_sharded,
    read_manifest,
    write_manifest,
    write_shard,
)
from regularizer.training.training_data import (
    FRAME,
    KINDS,
    Sample,
    scan_sample,
    training_objects,
    validation_objects,
)

__all__ = ["PlannedShard", "make_shard", "make_shards", "planned_shards"]

Tasks = Sequence[tuple[object, ...]]
Compute = Callable[[Callable[..., Shard], Tasks, Callable[[Shard], Any]], None]


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """A shard to be made.

    Parameters
    ----------
    file : str
    scans : tuple of (kind, seed)
        Its simulated scans.
    geometries : tuple of int
        Seeds of its geometries, of which each gives an object of every kind in bulk.
    """

    file: str
    scans: tuple[tuple[str, int], ...] = ()
    geometries: tuple[int, ...] = ()

    @property
    def samples(self) -> tuple[tuple[str, int], ...]:
        """Kind and seed of all its samples."""
        bulk = ((kind, seed) for seed in self.geometries for kind in KINDS)
        return (*self.scans, *bulk)


def planned_shards(objects: int, bulk: int, size: int) -> list[PlannedShard]:
    """Return the shards of a training: so many cells, geometries in bulk, and samples a shard.

    Kinds alternate, so that every shard has nearly all of them.
    """
    scans, unseen = training_objects(objects), validation_objects()
    seeds = range(BULK_SEED, BULK_SEED + bulk)
    geometries = max(1, size // len(KINDS))
    return [
        *_numbered("validation", unseen, size, lambda file, part: PlannedShard(file, part)),
        *_numbered("scans", scans, size, lambda file, part: PlannedShard(file, part)),
        *_numbered("bulk", seeds, geometries, lambda file, part: PlannedShard(file, (), part)),
    ]


def _numbered(
    name: str, items: Sequence[Any], size: int, make: Callable[[str, Any], PlannedShard]
) -> Iterator[PlannedShard]:
    for number, first in enumerate(range(0, len(items), size)):
        yield make(f"{name}-{number:05d}.h5", tuple(items[first : first + size]))


def make_shard(folder: Path, planned: PlannedShard, tv: bool, frame: int = FRAME) -> Shard:
    """Simulate the samples of a shard and write it; return its entry for the manifest."""
    samples: list[Sample] = [scan_sample(kind, seed, tv, frame) for kind, seed in planned.scans]
    for seed in planned.geometries:
        samples += geometry_samples(KINDS, seed, tv, frame)
    return write_shard(folder / planned.file, samples)


def make_shards(
    folder: Path,
    planned: Sequence[PlannedShard],
    compute: Compute,
    *,
    tv: bool = True,
    frame: int = FRAME,
) -> int:
    """Make the shards that are missing, and write the manifest; return how many were made.

    A shard counts as missing if its file is not there, or the manifest names other samples for it.

    Parameters
    ----------
    folder : Path
        On a disk that all share who work on it.
    planned : sequence of PlannedShard
        All that the manifest shall name.
    compute : callable
        compute(work, tasks, take) calls ``take`` with work(*task) of every task, as it comes.
    tv : bool
        Whether total variation is computed as well.
    frame : int
        Camera pixels a side.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = {one.file: one for one in read_manifest(folder)} if is_sharded(folder) else {}
    made: dict[str, Shard] = {}
    missing = []
    for one in planned:
        held = known.get(one.file)
        if held is not None and _holds(folder, held, one):
            made[one.file] = held
        else:
            missing.append(one)

    def take(shard: Shard) -> None:
        made[shard.file] = shard
        write_manifest(folder, made.values())

    write_manifest(folder, made.values())
    compute(make_shard, [(folder, one, tv, frame) for one in missing], take)
    return len(missing)


def _holds(folder: Path, held: Shard, planned: PlannedShard) -> bool:
    names = tuple((one.kind, one.seed) for one in held.samples)
    return names == planned.samples and (folder / held.file).is_file()
