"""A pretended GPU for machines without one: tensors on "cuda" are in the computer's own memory.

Torch runs everything on the processor, but ``PretendGpu`` remembers which memory is "on the GPU",
answers for it, and refuses what torch refuses there: to compute with tensors of two devices, and to
give memory of a GPU to numpy. So code that would stop on a real GPU stops here. What a GPU's own
kernels compute, and how fast, it cannot say: half precision, which processors without instructions
for it compute a hundred times slower, is computed in float32 here, and only its type is remembered.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self
from unittest import mock

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode

__all__ = ["PretendGpu"]

_GPU, _CPU = torch.device("cuda", 0), torch.device("cpu")
_ELSEWHERE: Any = object()  # said of a tensor that is not on the pretended GPU
_Found = tuple[torch.Tensor, torch.dtype | None]  # a tensor, and what is said of its type
_MIX = (
    torch.Tensor.copy_,
    torch.Tensor.data.__set__,  # type: ignore[attr-defined]  # a descriptor
    torch._has_compatible_shallow_copy_type,  # noqa: SLF001  # asked by Module.to, of both devices
)
_MANY = 1000
_INDEXING = (torch.Tensor.__getitem__, torch.Tensor.__setitem__)
_HALF = (torch.bfloat16, torch.float16)
_CASTS = {
    torch.Tensor.bfloat16: torch.bfloat16,
    torch.Tensor.half: torch.float16,
    torch.Tensor.float: torch.float32,
}
_MOVES = (torch.Tensor.to, torch.Tensor.cpu, torch.Tensor.cuda, *_CASTS)
# what torch.autocast runs in half precision, by the functions' names
_PRODUCTS = {"conv1d", "conv2d", "conv3d", "conv_transpose3d", "linear", "bmm", "einsum", "mm"}
_PRODUCTS |= {"matmul", "__matmul__", "__rmatmul__"}


# after these the processor has to wait until the GPU has done all that it was told before
_WAITS = {"item", "tolist", "nonzero", "argwhere", "unique", "bincount", "solve", "equal"}
_WAITS |= {"masked_select", "__bool__", "__int__", "__float__", "__index__", "__contains__"}


class PretendGpu(TorchFunctionMode):
    """Provides a device "cuda" inside ``with PretendGpu():``, for this thread only.

    Attributes
    ----------
    waits : list of str
        Names of the functions so far that a GPU is waited for in.
    """

    # The memory that is there and, where the processor computes in another, the type it is said to
    # have. Of all GPUs: what is cached is still there in the next. A weak reference keeps the
    # address of what is gone from being used again.
    _there: ClassVar[dict[StorageWeakRef, torch.dtype | None]] = {}
    _looked_at: ClassVar[int] = _MANY  # from this many on, what is gone is looked for

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __enter__(self) -> Self:
        super().__enter__()  # type: ignore[no-untyped-call]  # torch's gap
        self._capable = mock.patch("torch.cuda.get_device_capability", lambda _: (9, 0))
        self._capable.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._capable.stop()
        super().__exit__(*error)  # type: ignore[no-untyped-call]  # torch's gap

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func == torch.Tensor.dtype.__get__:  # type: ignore[attr-defined]  # a descriptor
            return self._type(args[0])
        answer = _ANSWERS.get(func)
        if answer is not None:
            return answer(self.holds(args[0]))
        if func in _MOVES:
            return self._moved(func, args, kwargs)
        if func in (torch.Tensor.numpy, torch.Tensor.__array__) and self.holds(args[0]):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        asked = kwargs.get("device")
        found = [(one, self._there.get(_memory(one), _ELSEWHERE)) for one in _tensors(args, kwargs)]
        there = self._decide(func, args, found) if asked is None else _is_gpu(asked)
        if self._waits_for(func, args, there=there):
            self.waits.append(func.__name__)
        half = self._half(func, kwargs, found) if there else None
        if there and asked is not None:
            kwargs["device"] = _CPU
        kwargs.pop("pin_memory", None)  # of the processor's memory: a GPU can read and write it
        if there and kwargs.get("dtype") in _HALF:
            kwargs["dtype"] = torch.float32
        result = func(*args, **kwargs)
        if there:
            self._mark(result, half)
        return result

    def _waits_for(self, func: Callable[..., Any], args: Sequence[Any], *, there: bool) -> bool:
        if func == torch.Tensor.copy_:
            return not there and self.holds(args[1])
        if func in _INDEXING:  # the places where a mask is true are counted
            return there and any(tensor.dtype == torch.bool for tensor in _tensors(args[1]))
        return there and getattr(func, "__name__", "") in _WAITS

    def holds(self, tensor: torch.Tensor) -> bool:
        """Return whether a tensor is on the pretended GPU."""
        return _memory(tensor) in self._there

    def _type(self, tensor: torch.Tensor) -> torch.dtype:
        return self._there.get(_memory(tensor)) or tensor.dtype

    def _mark(self, result: object, half: torch.dtype | None) -> None:
        for tensor in _tensors(result):
            said = half if tensor.dtype == torch.float32 else None
            self._there.setdefault(_memory(tensor), said)  # memory keeps the type it was made with
        if len(self._there) > PretendGpu._looked_at:
            for memory in [one for one in self._there if _gone(one)]:
                del self._there[memory]
            PretendGpu._looked_at = max(_MANY, 2 * len(self._there))

    def _decide(
        self, func: Callable[..., Any], args: Sequence[Any], found: Sequence[_Found]
    ) -> bool:
        """Return whether a function runs on the GPU; refuse tensors of both devices."""
        if func in _MIX:
            return self.holds(args[0])
        if func in _INDEXING and self.holds(args[0]):
            return True  # places may be counted on the processor
        there = [said is not _ELSEWHERE for _, said in found]
        if any(there) and not all(
            on or t.ndim == 0 for on, (t, _) in zip(there, found, strict=True)
        ):
            raise RuntimeError(
                f"Expected all tensors to be on the same device: {getattr(func, '__name__', func)} "
                "got some on cuda:0, some on cpu"
            )
        return any(there)

    def _half(
        self, func: Callable[..., Any], kwargs: Mapping[str, Any], found: Sequence[_Found]
    ) -> torch.dtype | None:
        """Return the half-precision type of a result on the GPU; None if it has another type."""
        if "dtype" in kwargs:
            return kwargs["dtype"] if kwargs["dtype"] in _HALF else None
        if getattr(func, "__name__", "") in _PRODUCTS and torch.is_autocast_enabled("cuda"):
            return torch.get_autocast_dtype("cuda")
        numbers = ((t, said) for t, said in found if t.ndim and t.is_floating_point())
        kinds = {said if said in _HALF else t.dtype for t, said in numbers}
        (kind,) = kinds if len(kinds) == 1 else (None,)  # of two kinds torch takes the wider
        return kind if kind in _HALF else None

    def _moved(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> torch.Tensor:
        tensor: torch.Tensor = args[0]
        device, kind = self._goal(func, args, kwargs)
        there = _is_gpu(device)
        half = kind if there and kind in _HALF else None
        if there:
            device, kind = _CPU, torch.float32 if half else kind
        result = torch.Tensor.to(tensor, device, kind, **kwargs)
        before = (self.holds(tensor), self._there.get(_memory(tensor)))
        if before[0] and not there:
            self.waits.append("to the processor")
        if before != (there, half) and _memory(result) == _memory(tensor):
            result = result.clone()  # memory of its own, in the same format
        if there:
            self._mark(result, half)
        return result

    def _goal(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[torch.device, torch.dtype]:
        """Return the target device and type of a tensor; removes both from ``kwargs``."""
        tensor: torch.Tensor = args[0]
        asked = {torch.Tensor.cpu: _CPU, torch.Tensor.cuda: _GPU}
        here = asked.get(func, _GPU if self.holds(tensor) else tensor.device)
        device, kind = here, _CASTS.get(func, self._type(tensor))
        for one in (*args[1:], kwargs.pop("device", None), kwargs.pop("dtype", None)):
            if isinstance(one, torch.Tensor):
                device, kind = _GPU if self.holds(one) else one.device, self._type(one)
            elif isinstance(one, torch.dtype):
                kind = one
            elif isinstance(one, str | torch.device):
                device = torch.device(one)
        kwargs.pop("non_blocking", None)
        return device, kind


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


def _tensors(*found: object) -> list[torch.Tensor]:
    """Return the tensors in arguments or results of torch."""
    tensors: list[torch.Tensor] = []
    rest = list(found)
    while rest:
        one = rest.pop()
        if isinstance(one, torch.Tensor):
            tensors.append(one)
        elif isinstance(one, list | tuple):
            rest += one
        elif isinstance(one, dict):
            rest += one.values()
    return tensors
