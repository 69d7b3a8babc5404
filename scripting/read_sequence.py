"""A sequence whose items are read when they are asked for."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar, overload

__all__ = ["ReadSequence"]

Item = TypeVar("Item", covariant=True)


class ReadSequence(Sequence[Item]):
    """Indexed like a list, with negative numbers and slices; a subclass reads one item."""

    @abstractmethod
    def _read(self, number: int) -> Item:
        """Return an item, by its number from 0 to the length less 1."""

    @overload
    def __getitem__(self, at: int) -> Item: ...

    @overload
    def __getitem__(self, at: slice) -> list[Item]: ...

    def __getitem__(self, at: int | slice) -> Item | list[Item]:
        if isinstance(at, slice):
            return [self._read(number) for number in range(len(self))[at]]
        return self._read(range(len(self))[at])
