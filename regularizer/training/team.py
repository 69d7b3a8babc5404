"""Training by several processes at once, each with its share of every batch.

``torchrun --nproc-per-node N launcher.py train ...`` starts them and says in the environment which
one each is. Gradients are averaged by torch's DistributedDataParallel (gloo on processors, NCCL on
GPUs). Every process draws the patches of its share by their number in the batch, so that N
processes see the patches that one would see; the statistics of batch norms are averaged over all
parts of a batch. The first process makes the samples, validates and writes.
"""

import gc
import os
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from acquisition.errors import ConfigurationError

__all__ = ["ALONE", "Team", "averaged", "chosen_backend", "joined_team", "own_device"]

_PATIENCE: Final = timedelta(days=1)  # the others wait while the first makes samples


@dataclass(frozen=True, slots=True)
class Team:
    """The processes of a training, and which one this is.

    Parameters
    ----------
    rank : int
        Number of this process, from 0.
    size : int
        Number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that makes samples, validates and writes."""
        return self.rank == 0

    def share(self, batch: int) -> range:
        """Return the numbers of the patches of a batch that this process takes.

        Raises
        ------
        ConfigurationError
            If the batch cannot be divided evenly.
        """
        if batch % self.size:
            raise ConfigurationError(
                f"a batch must be a multiple of the {self.size} processes, got {batch}: give "
                f"another --batch, such as {batch // self.size * self.size or self.size}"
            )
        own = batch // self.size
        return range(self.rank * own, (self.rank + 1) * own)

    def wrapped(self, network: nn.Module) -> nn.Module:
        """Return the network with gradients averaged over the processes; alone, itself."""
        if self.size == 1:
            return network
        # the uncertainty head is trained later and has no gradient here
        return DistributedDataParallel(
            network, forward_sync_buffers=False, find_unused_parameters=True
        )

    @contextmanager
    def part(self, network: nn.Module, *, last: bool) -> Iterator[None]:
        """Sum the gradients of a part of the batch; of the ``last`` part, average the sums."""
        if not isinstance(network, DistributedDataParallel):
            yield
            return
        with warnings.catch_warnings(), nullcontext() if last else network.no_sync():
            # of weights that are stored channels last; it concerns the speed of copies only
            warnings.filterwarnings("ignore", "Grad strides do not match bucket", UserWarning)
            yield

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """Return the sum of a value over the processes, in place."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            distributed.barrier()


ALONE: Final = Team()


def own_device(name: str) -> torch.device:
    """Return the device of this process: of several processes each has a GPU of its own."""
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return torch.device(name)


def chosen_backend(device: torch.device) -> str:
    """Return what the processes talk by: NCCL between GPUs, where torch has it, else gloo."""
    return "nccl" if device.type == "cuda" and distributed.is_nccl_available() else "gloo"


@contextmanager
def joined_team(device: torch.device) -> Iterator[Team]:
    """Join the processes that torchrun has started; alone where it has started none.

    What ``Team.wrapped`` returned must be gone before the block ends, so call a function in it that
    does all: a DistributedDataParallel that outlives its group ends the group's threads while it
    holds Python's lock, and waits for ever for one that wants it (seen with torch 2.13).

    Parameters
    ----------
    device : torch.device
        Where this process computes.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    backend = chosen_backend(device)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # else all processes of a machine meet on its first GPU
    bound = device if backend == "nccl" else None
    distributed.init_process_group(backend, timeout=_PATIENCE, device_id=bound)
    try:
        yield Team(distributed.get_rank(), size)
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # which hold networks, see above
        raise
    finally:
        gc.collect()
        distributed.destroy_process_group()


@contextmanager
def averaged(
    statistics: Sequence[torch.Tensor], parts: int, team: Team
) -> Iterator[Callable[[], None]]:
    """Let each part of a batch begin with the same statistics, and keep the mean of what it made.

    Yields a function to be called before each part.
    """
    if parts * team.size == 1:
        yield lambda: None
        return
    begun = [one.clone() for one in statistics]
    sums = [torch.zeros_like(one) for one in statistics]
    started = False

    def take() -> None:
        for one, before, summed in zip(statistics, begun, sums, strict=True):
            summed += one
            one.copy_(before)

    def begin_part() -> None:
        nonlocal started
        if started:
            take()
        started = True

    yield begin_part
    take()
    for one, summed in zip(statistics, sums, strict=True):
        one.copy_(team.total(summed) / (parts * team.size))
