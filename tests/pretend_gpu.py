"""A GPU for machines that have none: what is on "cuda" lies in the computer's own memory.

Torch runs everything on the processor, but ``PretendGpu`` remembers which memory is "on the GPU",
answers for it, and refuses what torch refuses there: to compute with tensors of two devices, and to
give memory of a GPU to numpy. So code that would stop on a real GPU stops here. What a GPU's own
kernels compute, and how fast, it cannot say.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode

__all__ = ["PretendGpu"]

_GPU, _CPU = torch.device("cuda", 0), torch.device("cpu")
_MIX = (
    torch.Tensor.copy_,
    torch.Tensor.data.__set__,  # type: ignore[attr-defined]  # a descriptor
    torch._has_compatible_shallow_copy_type,  # noqa: SLF001  # asked by Module.to, of both devices
)
_MANY = 1000
_INDEXING = (torch.Tensor.__getitem__, torch.Tensor.__setitem__)


class PretendGpu(TorchFunctionMode):
    """Within ``with PretendGpu():`` there is a device "cuda", for this thread only."""

    # Of all: what is cached is still there in the next. A weak reference keeps the address of what
    # is gone from being used again.
    _there: ClassVar[set[StorageWeakRef]] = set()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        answer = _ANSWERS.get(func)
        if answer is not None:
            return answer(self.holds(args[0]))
        if func in (torch.Tensor.to, torch.Tensor.cpu, torch.Tensor.cuda):
            return self._moved(func, args, kwargs)
        if func in (torch.Tensor.numpy, torch.Tensor.__array__) and self.holds(args[0]):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        asked = kwargs.get("device")
        if asked is not None:
            kwargs["device"] = _CPU
        there = self._decide(func, args, kwargs) if asked is None else _is_gpu(asked)
        result = func(*args, **kwargs)
        if there:
            self._mark(result)
        return result

    def holds(self, tensor: torch.Tensor) -> bool:
        """Return whether a tensor is on the pretended GPU."""
        return _memory(tensor) in self._there

    def _mark(self, result: object) -> None:
        self._there.update(_memory(tensor) for tensor in _tensors(result))
        if len(self._there) > _MANY:
            self._there.intersection_update([one for one in self._there if not _gone(one)])

    def _decide(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> bool:
        """Return whether a function runs on the GPU; refuse tensors of both devices."""
        if func in _MIX:
            return self.holds(args[0])
        if func in _INDEXING and self.holds(args[0]):
            return True  # places may be counted on the processor
        found = list(_tensors([args, kwargs]))
        there = [self.holds(tensor) for tensor in found]
        if any(there) and not all(on or t.ndim == 0 for on, t in zip(there, found, strict=True)):
            raise RuntimeError(
                f"Expected all tensors to be on the same device: {getattr(func, '__name__', func)} "
                "got some on cuda:0, some on cpu"
            )
        return any(there)

    def _moved(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> torch.Tensor:
        tensor: torch.Tensor = args[0]
        rest = list(args[1:])
        was = now = self.holds(tensor)
        if func is torch.Tensor.cpu:
            now, rest = False, []
        elif func is torch.Tensor.cuda:
            now, rest = True, []
        elif "device" in kwargs:
            now = _is_gpu(kwargs.pop("device"))
        elif rest and isinstance(rest[0], torch.Tensor):
            now, rest = self.holds(rest[0]), [rest[0].dtype, *rest[1:]]
        elif rest and isinstance(rest[0], str | torch.device | int):
            now, rest = _is_gpu(rest[0]), [_CPU, *rest[1:]]
        if rest or kwargs:
            tensor = torch.Tensor.to(tensor, *rest, **kwargs)
        if was != now:
            tensor = tensor.clone()  # memory of its own, in the same format
        if now:
            self._mark(tensor)
        return tensor


def _memory(tensor: torch.Tensor) -> StorageWeakRef:
    dense = tensor.values() if tensor.layout is torch.sparse_csr else tensor
    return StorageWeakRef(dense.untyped_storage())  # type: ignore[no-untyped-call]  # torch's gap


def _gone(memory: StorageWeakRef) -> bool:
    return bool(memory.expired())  # type: ignore[no-untyped-call]  # torch's gap


def _is_gpu(device: str | torch.device | int) -> bool:
    return torch.device(device).type == "cuda"


_ANSWERS: dict[object, Callable[[bool], object]] = {
    torch.Tensor.device.__get__: lambda there: _GPU if there else _CPU,
    torch.Tensor.is_cuda.__get__: lambda there: there,  # type: ignore[attr-defined]
    torch.Tensor.is_cpu.__get__: lambda there: not there,  # type: ignore[attr-defined]
}


def _tensors(found: object) -> Iterator[torch.Tensor]:
    """Return the tensors in what torch takes or gives."""
    if isinstance(found, torch.Tensor):
        yield found
    elif isinstance(found, list | tuple):
        for one in found:
            yield from _tensors(one)
    elif isinstance(found, dict):
        for one in found.values():
            yield from _tensors(one)
