"""What the headers of all messages have in common, and the description of their arrays."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from acquisition.errors import DataError

__all__ = ["ArraySpec", "Header", "expect_arrays"]


class ArraySpec(BaseModel):
    """Type and shape of one array part."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    dtype: Literal["|u1", "<u2", "<f4", "<f8", "<c8"]
    shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, max_length=4)]

    @classmethod
    def of(cls, array: NDArray[Any]) -> Self:
        """Return the description of an array; an unsupported dtype is refused."""
        try:
            return cls.model_validate({"dtype": array.dtype.str, "shape": array.shape})
        except ValidationError as error:
            raise DataError(f"{array.dtype} {array.shape} cannot be sent: {error}") from error

    @property
    def nbytes(self) -> int:
        """Size of the array in bytes, as a Python integer: a forged shape cannot overflow."""
        size = np.dtype(self.dtype).itemsize
        for length in self.shape:
            size *= length
        return size


class Header(BaseModel):
    """The header fields of every message."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    schema_version: Literal[1] = 1
    sender: str
    session: NonNegativeInt
    sequence: NonNegativeInt
    arrays: tuple[ArraySpec, ...] = ()


def expect_arrays(fits: bool, header: Header, arrays: Sequence[NDArray[Any]]) -> None:
    """Refuse a message whose arrays do not fit its kind."""
    if not fits:
        raise DataError(
            f"a message of kind {getattr(header, 'kind', '')!r} cannot have arrays of shapes "
            f"{[array.shape for array in arrays]}"
        )
