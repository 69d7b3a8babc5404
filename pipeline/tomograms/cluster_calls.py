"""Calls a function many times on a Dask cluster: independent work that writes its own files."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from distributed import Client, KilledWorker, as_completed

from acquisition.errors import DataError

__all__ = ["call_on_cluster"]

_RETRIES = 3  # of a call that ended with an error, and of one whose worker died

Made = TypeVar("Made")


def call_on_cluster(
    work: Callable[..., Made],
    tasks: Sequence[tuple[object, ...]],
    client: Client,
    what: str,
    take: Callable[[Made], object],
) -> None:
    """Call work(*task) for every task on the workers; print progress.

    Parameters
    ----------
    work : callable
        What it returns should be small: files are written where all machines find them.
    tasks : sequence of tuple
    client : distributed.Client
    what : str
        For the progress: "shards".
    take : callable
        Called here with what each returns, as soon as it is there.

    Raises
    ------
    DataError
        If a call killed its workers again and again.
    """
    futures: list[Any] = [
        client.submit(work, *task, pure=False, retries=_RETRIES) for task in tasks
    ]
    try:
        finished = as_completed(futures, loop=client.loop)  # type: ignore[no-untyped-call]  # Dask's gap
        for done, future in enumerate(finished, 1):
            take(future.result())
            print(f"\r{what} {done} of {len(tasks)}", end="", file=sys.stderr, flush=True)
    except KilledWorker as error:
        raise DataError(
            f"{error.allowed_failures + 1} workers died of the same work, the last was "
            f"{error.last_worker.address}: if they ran out of memory, use fewer on a machine"
        ) from error
    finally:
        for future in futures:
            future.cancel()
    if tasks:
        print(file=sys.stderr)
