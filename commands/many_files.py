"""Many files at once, for the commands that make tomograms: here, on several workers, or a cluster.

Results are printed file by file on standard output, or as one JSON object; progress on standard
error.
"""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from acquisition.errors import ConfigurationError, LiveTomoError

if TYPE_CHECKING:
    from distributed import Client

    from commands.progress import BatchBar
    from pipeline.tomograms.batch import BatchProgress, FileResult
    from pipeline.tomograms.file_work import FileWork, Row
    from pipeline.tomograms.needs import Needs

__all__ = [
    "add_cluster",
    "check_cluster",
    "cluster_client",
    "on_cluster",
    "run_works",
    "say_needs",
]

_LOOKED_AT = 10  # files whose needs are found before the start; a look takes half a second


def add_cluster(parser: ArgumentParser) -> None:
    """Add --workers and --scheduler."""
    group = parser.add_argument_group("many files", "several processes, or a cluster, work at once")
    text = "work in N processes of this machine, each with a GPU of its own where there are GPUs; "
    text += "a killed one is replaced"
    group.add_argument("--workers", type=int, metavar="N", help=text)
    text = "work on the Dask cluster of this scheduler, such as tcp://10.0.0.1:8786; files must "
    text += "lie on a disk that all its machines share"
    group.add_argument("--scheduler", metavar="ADDRESS", help=text)


def on_cluster(options: Namespace) -> bool:
    """Return whether the work is given to workers."""
    return options.workers is not None or options.scheduler is not None


def check_cluster(options: Namespace) -> None:
    """Refuse both kinds of cluster at once."""
    if options.workers is not None and options.scheduler is not None:
        raise ConfigurationError(
            f"choose one of --workers and --scheduler, got {options.workers} and "
            f"{options.scheduler}"
        )


def say_needs(
    works: "Sequence[FileWork]",
    workers: int = 1,
    device: str | None = None,
    *,
    here: bool = True,
    memory: bool = True,
) -> None:
    """Say on standard error what the works need, by the first of them, and check that it fits.

    Parameters
    ----------
    works : sequence of FileWork
        A file that cannot be read is left out: it is reported when its turn comes.
    workers : int
        Processes that work at once.
    device : "cpu", "cuda" or None
    here : bool
        Whether they are processes of this machine.
    memory : bool
        Whether to check the memory; a single reconstruction does so itself, and says what fits.

    Raises
    ------
    LiveTomoError
        If the disk or the memory is too small.
    """
    from commands.progress import duration
    from pipeline.tomograms.torch_device import torch_device

    needs: list[Needs] = []
    looked_at = works[:_LOOKED_AT]
    for work in looked_at:
        with suppress(LiveTomoError, OSError):
            if (found := work.needs()) is not None:
                needs.append(found)
    if not needs:
        return
    share = len(works) / len(looked_at)
    largest = max(needs, key=lambda one: one.memory_bytes)
    count = round(share * sum(one.count for one in needs))
    disk = round(share * sum(one.disk_bytes for one in needs))
    whole = replace(largest, count=count, disk_bytes=disk)
    output = works[0].output
    said = [whole.sentence(output)]
    on_gpu = here and device != "cpu" and torch_device(device) == "cuda"
    seconds = share * sum(one.seconds(workers) for one in needs)
    if here and not on_gpu and all(one.pairs for one in needs):
        said.append(f"some {duration(seconds)} on an idle machine like this")
    if share > 1:
        said.append(f"by the first {len(looked_at)} of {len(works)} files")
    print("; ".join(said), file=sys.stderr, flush=True)
    whole.check(output, workers if here and memory and not on_gpu else 0)


def run_works(
    works: "Sequence[FileWork]",
    options: Namespace,
    title: str,
    unit: str,
    describe: "Callable[[Row], Sequence[str]]",
    finish: "Callable[[FileResult, BatchProgress], Sequence[str]] | None" = None,
) -> int:
    """Make all files and print what became of each; return 0 if all is complete, else 1.

    Parameters
    ----------
    works : sequence of FileWork
    options : Namespace
        ``workers``, ``scheduler``, ``device`` and ``json``.
    title, unit : str
        For the progress: "Reconstructing", "scans".
    describe : callable
        Returns a row's lines for people.
    finish : callable or None
        What remains to be done with a finished file, such as exports; returns the names of files.
    """
    from commands.progress import BatchBar, progress_bar

    for work in works:
        work.output.parent.mkdir(parents=True, exist_ok=True)
    workers = options.workers or 1
    say_needs(works, workers, options.device, here=options.scheduler is None)
    told: list[dict[str, Any]] = []
    incomplete = 0
    with progress_bar(title, len(works)) as plain:
        bar = BatchBar(plain, unit)
        for made in _results(works, options, bar):
            result, more = _finished(made, bar, finish)
            whole = all(getattr(row, "complete", True) for row in result.rows)
            incomplete += result.state == "failed" or not whole
            if options.json:
                told.append(_as_json(result, more))
            else:
                _tell(result, describe, more)
    if options.json:
        print(json.dumps({"files": told}))
    else:
        print(f"{len(works) - incomplete} of {len(works)} files are complete")
    return 1 if incomplete else 0


def _finished(
    result: "FileResult",
    bar: "BatchBar",
    finish: "Callable[[FileResult, BatchProgress], Sequence[str]] | None",
) -> "tuple[FileResult, Sequence[str]]":
    """Do what remains with a file; one that fails there is a failed file and stops no other."""
    if finish is None or result.state == "failed":
        return result, ()
    try:
        return result, finish(result, bar)
    except (LiveTomoError, OSError) as error:
        return replace(result, state="failed", error=str(error)), ()


def _results(
    works: "Sequence[FileWork]", options: Namespace, bar: "BatchBar"
) -> "Iterator[FileResult]":
    from pipeline.tomograms.batch import run_batch

    if not on_cluster(options):
        yield from run_batch(works, bar)
        return
    bar.say("starting the workers" if options.scheduler is None else "waiting for the workers")
    with cluster_client(options) as client:
        from pipeline.tomograms.cluster_batch import run_on_cluster

        bar.say(f"on {len(client.scheduler_info(n_workers=-1)['workers'])} workers")
        yield from run_on_cluster(works, client, bar)


@contextmanager
def cluster_client(options: Namespace) -> "Iterator[Client]":
    """Connect to the cluster that the options ask for, local workers or a scheduler elsewhere."""
    from pipeline.tomograms.cluster import connected, local_workers

    if options.scheduler is not None:
        with connected(options.scheduler) as client:
            yield client
    else:
        with local_workers(options.workers, options.device) as client:
            yield client


def _as_json(result: "FileResult", more: Sequence[str]) -> dict[str, Any]:
    return {
        "source": str(result.source),
        "output": str(result.output),
        "state": result.state,
        "held": result.held,
        "error": result.error,
        "rows": [asdict(row) for row in result.rows],
        "exported": list(more),
    }


def _tell(
    result: "FileResult", describe: "Callable[[Row], Sequence[str]]", more: Sequence[str]
) -> None:
    name = result.source.name
    for row in result.rows:
        for line in describe(row):
            print(f"{name}, {line}")
    if result.state == "failed":
        print(f"{name}: FAILED: {result.error}", flush=True)
    elif result.state == "done":
        print(f"{name}: done before: {result.output}", flush=True)
    else:
        before = f", {result.held} before" if result.held else ""
        print(f"{name}: {len(result.rows)} made{before}: {result.output}", flush=True)
    for file in more:
        print(file)
