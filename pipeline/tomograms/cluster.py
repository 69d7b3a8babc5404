"""Connects to a Dask cluster: workers on this machine, or a scheduler that runs elsewhere.

A local worker is a process of its own with its share of the cores, and with a GPU of its own where
there are GPUs. It is started again when it dies. A worker makes one range of scans at a time.
"""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from acquisition.errors import ConfigurationError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["connected", "local_workers"]

_HERE = "127.0.0.1"
_PATIENCE_S = 60
# A process that starts on a busy machine may take minutes. Dask gives up a worker that was not
# replaced within 15 s, and closes the replacement.
_PATIENT = {
    "distributed.comm.timeouts.connect": "300s",
    "distributed.comm.timeouts.tcp": "300s",
    "distributed.deploy.lost-worker-timeout": "600s",
    "distributed.worker.profile.enabled": False,  # it keeps what a task has just let go of
}
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


@contextmanager
def connected(scheduler: str, patience_s: float = _PATIENCE_S) -> Iterator["Client"]:
    """Connect to a scheduler that runs, and wait for its first worker.

    Parameters
    ----------
    scheduler : str
        Its address, such as "tcp://10.0.0.1:8786".
    patience_s : float
        How long to wait for it, and for the worker.

    Raises
    ------
    ConfigurationError
        If it cannot be reached or has no worker, or Dask is not installed.
    """
    distributed = _distributed()
    try:
        _reach(scheduler, patience_s)  # a client that cannot leaves a thread behind
        client = distributed.Client(scheduler, timeout=patience_s, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"the Dask scheduler {scheduler} must be reachable: {error}: check the address, which "
            "`dask scheduler` prints when it starts, and the network"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=patience_s)
        except TimeoutError as error:
            raise ConfigurationError(
                f"the Dask scheduler {scheduler} must have a worker, but in {patience_s:g} s there "
                f"was none: start one with `dask worker {scheduler} --nthreads 1`"
            ) from error
        yield client


def _reach(address: str, patience_s: float) -> None:
    """Open a connection to an address such as tcp://10.0.0.1:8786, and close it."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=patience_s).close()


@contextmanager
def local_workers(count: int, device: str | None = None) -> Iterator["Client"]:
    """Start workers on this machine, each a process; end them on leaving.

    Parameters
    ----------
    count : int
    device : "cpu", "cuda" or None
        Where they will compute; None: on the GPUs if there are any.

    Raises
    ------
    ConfigurationError
        If ``count`` is below 1 or there are fewer GPUs, or Dask is not installed.
    """
    if count < 1:
        raise ConfigurationError(f"--workers must be at least 1, got {count}")
    distributed = _distributed()
    import dask  # comes with distributed

    gpus = [] if device == "cpu" else _gpus()
    if gpus and count > len(gpus):
        raise ConfigurationError(
            f"each worker must have a GPU of its own, but there are {len(gpus)} for {count} "
            "workers: start fewer workers, or compute with --device cpu"
        )
    workers = {
        number: {"cls": distributed.Nanny, "options": _options(count, gpus[number : number + 1])}
        for number in range(count)
    }
    scheduler = {
        "cls": distributed.Scheduler,
        "options": {
            "host": _HERE,
            "port": 0,
            "dashboard": False,
            "dashboard_address": f"{_HERE}:0",
        },
    }
    with (
        dask.config.set(_PATIENT),
        distributed.SpecCluster(workers, scheduler, silence_logs=logging.ERROR) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _options(count: int, gpu: list[str]) -> dict[str, Any]:
    threads = str(max(1, _cores() // count))
    environment = dict.fromkeys(_THREADS, threads)
    if gpu:
        environment["CUDA_VISIBLE_DEVICES"] = gpu[0]
    # the memory is checked before the start; Dask would kill a worker at its share of it
    return {
        "nthreads": 1,
        "memory_limit": 0,
        "host": _HERE,
        "env": environment,
        "silence_logs": logging.ERROR,
    }


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on Windows and macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _gpus() -> list[str]:
    """Return the names by which CUDA_VISIBLE_DEVICES knows the GPUs."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(number) for number in range(count)]


def _distributed() -> Any:
    """Return the package distributed, a part of the extra "cluster"."""
    try:
        import distributed
    except ImportError as error:
        raise ConfigurationError(
            "--workers and --scheduler need Dask's distributed, which is not installed: "
            'python -m pip install "distributed>=2025.7" (the extra "cluster")'
        ) from error
    return distributed
