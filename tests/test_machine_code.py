"""Machine code that is kept between runs, and loaded without numba."""

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from reconstruction.kernels import machine_code

pytest.importorskip("numba")

_SOURCE = """
import numba
import numpy as np
from numba import carray, types

ARGUMENTS = types.void(types.CPointer(types.float32), types.int64, types.float32)

@numba.cfunc(ARGUMENTS, error_model="numpy")
def over(at, n, divisor):
    values = carray(at, (n,))
    for i in range(n):
        values[i] = values[i] / divisor

@numba.cfunc(ARGUMENTS, error_model="numpy")
def allocating(at, n, divisor):
    values = np.empty(n, np.float32)
    for i in range(n):
        values[i] = carray(at, (n,))[i]
    for i in range(n):
        carray(at, (n,))[i] = values[n - 1 - i]
"""
_TYPES = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_float]


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the name of a module with two C functions."""
    folder = tmp_path_factory.mktemp("module")
    (folder / "functions_to_keep.py").write_text(_SOURCE, "utf-8")
    sys.path.insert(0, str(folder))
    yield "functions_to_keep"
    sys.path.remove(str(folder))


def _divided(module: str) -> list[float]:
    values = np.arange(4, dtype=np.float32)
    over = machine_code.load(module, {"over": _TYPES})["over"]
    over(values.ctypes.data, len(values), 2.0)
    return values.tolist()


def test_kept_code_needs_no_numba(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kept"))
    assert _divided(module) == [0, 0.5, 1, 1.5]
    assert len(os.listdir(tmp_path / "kept")) == 1
    monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "numba", None)  # importing the module would fail
    assert _divided(module) == [0, 0.5, 1, 1.5]
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "other"))  # nothing kept there
    with pytest.raises(ImportError):
        _divided(module)


def test_a_folder_that_cannot_be_written_costs_only_time(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "folder"))
    assert _divided(module) == [0, 0.5, 1, 1.5]


def test_code_that_needs_more_than_its_arguments_is_refused(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    with pytest.raises(RuntimeError, match="allocating needs"):
        machine_code.load(module, {"allocating": _TYPES})
