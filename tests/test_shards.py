"""Training samples in shards: what is written is read, damage is refused, a making goes on."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acquisition.errors import DataError
from commands.command_line import parse
from regularizer.training import training_data
from regularizer.training.pairs import ShardedPairs, load_objects, training_pair
from regularizer.training.sharding import make_shards, planned_shards
from regularizer.training.shards import read_manifest, read_shard, write_manifest, write_shard
from regularizer.training.training_data import KINDS, load, save
from tests.training_process import KILLED, noise_sample


def test_a_shard_gives_back_its_samples_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    made = [noise_sample(seed) for seed in (0, 1, 1000)]
    shards = [
        write_shard(tmp_path / "train.h5", made[:2]),
        write_shard(tmp_path / "unseen.h5", made[2:]),
    ]
    write_manifest(tmp_path, shards)
    assert read_manifest(tmp_path) == shards
    assert [shard.validates for shard in shards] == [False, True]
    for sample, found in zip(made[:2], read_shard(tmp_path, shards[0]), strict=True):
        save(sample, tmp_path / "one.npz")
        expected = load(tmp_path / "one.npz")
        assert (found.kind, found.seed) == (expected.kind, expected.seed)
        assert torch.equal(found.raw, expected.raw) and torch.equal(found.truth, expected.truth)
        assert torch.equal(found.spectrum.values, expected.spectrum.values)
        assert found.spectrum.noise == expected.spectrum.noise and found.tv is None
    objects = load_objects(tmp_path, KILLED.recipe, KINDS, 2)
    assert (objects.scans, objects.bulk, len(objects.unseen)) == (2, 0, 1)
    assert objects.range.limits["contrast"] == (
        min(float(one.raw.max()) for one in made[:2]),
        max(float(one.raw.max()) for one in made[:2]),
    )
    (tmp_path / "train.h5").write_bytes((tmp_path / "train.h5").read_bytes()[:-1] + b"?")
    assert isinstance(objects.trained, ShardedPairs)
    with pytest.raises(DataError, match=r"train\.h5 must have the SHA-256 .* delete the file and"):
        objects.trained.of_patch(0)
    (tmp_path / "train.h5").unlink()
    with pytest.raises(DataError, match="found no file"):
        objects.trained.of_patch(0)
    with pytest.raises(DataError, match="must hold a shard with samples of cell"):
        load_objects(tmp_path, KILLED.recipe, ("cell",), 2)
    (tmp_path / "manifest.json").write_text(json.dumps({"format": "another", "version": 1}))
    with pytest.raises(DataError, match=r"manifest\.json must be a manifest of training shards"):
        load_objects(tmp_path, KILLED.recipe, KINDS, 2)


def test_every_patch_is_drawn_from_shards_of_its_own(tmp_path: Path) -> None:
    samples = [noise_sample(seed) for seed in range(5)]
    shards = [write_shard(tmp_path / f"{one.seed}.h5", [one]) for one in samples]
    targets = [training_pair(one, KILLED.recipe).target for one in samples]

    def drawn(patch: int, batch: int) -> list[int]:
        pairs = ShardedPairs(tmp_path, shards, KILLED.recipe, KINDS, batch)
        off = [[float((t - one.target).norm()) for t in targets] for one in pairs.of_patch(patch)]
        return [int(np.argmin(each)) for each in off]

    assert [drawn(patch, 2) for patch in range(2)] == [[0, 2, 4], [1, 3]]
    assert [drawn(patch, 8) for patch in (0, 4, 5, 7)] == [[0], [4], [0], [2]]  # more than shards


def test_what_is_missing_is_made_and_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("training_data", "sharding"):
        monkeypatch.setattr(f"regularizer.training.{module}.KINDS", ("bead",))
    planned = planned_shards(objects=3, bulk=1, size=2)
    assert [one.file.rpartition("-")[0] for one in planned] == ["validation", "scans", "bulk"]
    seeds = [seed for one in planned for _, seed in one.samples]
    assert seeds == [1000, 1001, 0, 1, 10_000]

    monkeypatch.setattr(  # processes that import torch take seconds, and know their own kinds
        training_data, "ProcessPoolExecutor", lambda jobs, *_: ThreadPoolExecutor(jobs)
    )

    def here(
        work: Callable[..., Any], tasks: Sequence[tuple[object, ...]], take: Callable[[Any], object]
    ) -> None:
        training_data.in_processes(work, tasks, 1, "shards", take)

    assert make_shards(tmp_path, planned[1:], here, tv=False, frame=48) == 2
    before = read_manifest(tmp_path)
    kept = (tmp_path / "bulk-00000.h5").stat().st_mtime_ns
    (tmp_path / "scans-00000.h5").unlink()
    assert make_shards(tmp_path, planned[1:], here, tv=False, frame=48) == 1
    assert read_manifest(tmp_path) == before  # the same bytes
    assert (tmp_path / "bulk-00000.h5").stat().st_mtime_ns == kept
    assert make_shards(tmp_path, planned_shards(1, 1, 2)[1:], here, tv=False, frame=48) == 1


def test_options_of_shards_are_checked(tmp_path: Path) -> None:
    for words, said in (
        (["--shards", "0", "--data", str(tmp_path)], "at least 1 sample, got 0"),
        (["--workers", "1", "--scheduler", "tcp://a:1"], "choose one of"),
        (["--shards", "4", "--minutes", "1"], "--shards does not go with --minutes"),
        (["--shards", "4", "--recordings", str(tmp_path)], "--shards does not go with own data"),
    ):
        options = parse(["train", "--device", "cpu", *words])
        with pytest.raises(Exception, match=said):
            options.run(options)
