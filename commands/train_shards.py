"""Options of `train` for samples in shards, and making them: here, on workers, or on a cluster."""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acquisition.errors import ConfigurationError
from commands.many_files import add_cluster, check_cluster, cluster_client, on_cluster

if TYPE_CHECKING:
    from regularizer.training.shards import Shard

__all__ = ["OF_SHARDS", "add_shard_options", "sharded"]

OF_SHARDS = ("shards", "workers", "scheduler")
_SIZE = 16


def add_shard_options(parser: ArgumentParser) -> None:
    """Add --shards, --only-samples, --workers and --scheduler."""
    group = parser.add_argument_group("samples in shards")
    text = f"make samples in files of N, with checksums; default: {_SIZE} on workers, else a file "
    text += "for each sample"
    group.add_argument("--shards", type=int, metavar="N", help=text)
    text = "make the samples and stop"
    group.add_argument("--only-samples", action="store_true", help=text)
    add_cluster(parser)


def sharded(options: Namespace, data: Path, *, tv: bool) -> bool:
    """Make the shards of a folder that are missing, if asked; return whether it holds shards.

    Parameters
    ----------
    options : Namespace
        ``objects``, ``bulk``, ``jobs``, ``shards``, ``workers``, ``scheduler`` and ``device``.
    data : Path
    tv : bool
        Whether total variation is computed as well.

    Raises
    ------
    ConfigurationError
        If options exclude each other, or a cluster cannot be reached.
    """
    from regularizer.training.shards import is_sharded

    check_cluster(options)
    if options.shards is not None and options.shards < 1:
        raise ConfigurationError(f"--shards must be at least 1 sample, got {options.shards}")
    if options.shards is not None or on_cluster(options):
        _make(options, data, tv=tv)
    return is_sharded(data)


def _make(options: Namespace, data: Path, *, tv: bool) -> None:
    from regularizer.training.sharding import make_shards, planned_shards
    from regularizer.training.training_data import in_processes

    planned = planned_shards(options.objects, options.bulk, options.shards or _SIZE)
    jobs = options.jobs or os.cpu_count() or 1

    def here(work: Any, tasks: Sequence[Any], take: Callable[["Shard"], Any]) -> None:
        in_processes(work, tasks, jobs, "shards", take)

    if not on_cluster(options):
        make_shards(data.resolve(), planned, here, tv=tv)
        return

    def there(work: Any, tasks: Sequence[Any], take: Callable[["Shard"], Any]) -> None:
        if not tasks:
            return
        from pipeline.tomograms.cluster_calls import call_on_cluster

        with cluster_client(options) as client:
            call_on_cluster(work, tasks, client, "shards", take)

    make_shards(data.resolve(), planned, there, tv=tv)
