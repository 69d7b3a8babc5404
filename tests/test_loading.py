"""Imports without the garbage collector."""

import gc

import pytest

from acquisition.loading import loading


def test_the_collector_rests_while_a_library_is_loaded_and_passes_it_over_later() -> None:
    frozen = gc.get_freeze_count()
    try:
        with loading():
            assert not gc.isenabled()
            loaded: list[list[int]] = [[] for _ in range(100)]
            with loading():  # a library that loads another one
                pass
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() >= frozen + len(loaded)
    finally:
        gc.unfreeze()


def test_the_collector_goes_on_after_an_import_that_fails() -> None:
    with pytest.raises(ImportError), loading():
        raise ImportError("no such library")
    assert gc.isenabled()
    gc.unfreeze()
