"""Imports without the garbage collector."""

import gc
import importlib
import sys
from pathlib import Path

import pytest

from acquisition.loading import loading


def test_the_collector_rests_while_a_library_is_loaded_and_passes_it_over_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "library_of_lists.py").write_text("MADE = [[] for _ in range(100)]\n")
    monkeypatch.syspath_prepend(tmp_path)
    frozen = gc.get_freeze_count()
    try:
        with loading():
            assert not gc.isenabled()
            library = importlib.import_module("library_of_lists")
            with loading():  # a library that loads another one
                pass
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() >= frozen + len(library.MADE)
    finally:
        gc.unfreeze()
        sys.modules.pop("library_of_lists", None)


def test_what_is_made_is_collected_where_nothing_was_loaded() -> None:
    frozen = gc.get_freeze_count()
    with loading():
        loop: list[object] = []
        loop.append(loop)
    assert gc.get_freeze_count() == frozen


def test_the_collector_goes_on_after_an_import_that_fails() -> None:
    with pytest.raises(ImportError), loading():
        raise ImportError("no such library")
    assert gc.isenabled()
    gc.unfreeze()
