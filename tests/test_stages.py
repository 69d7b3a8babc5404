"""The table of stages, small, what is said of two of them, and how memory grows."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.growth import largest_field, needed_bytes
from benchmarks.growth import main as growth
from benchmarks.pages import DOCS
from benchmarks.performance_pictures import growth_rows
from benchmarks.stages import compare, main


@pytest.mark.usefixtures("quick_trial")
def test_stages_are_measured_and_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "stages.json"
    assert main(["--small", "--stages-only", "--seconds", "0", "--json", str(file)]) == 0
    found = json.loads(file.read_text("utf-8"))
    assert len(found["rows"]) == 11
    for row in found["rows"]:
        assert 0 < row["low_ms"] <= row["ms"] <= row["high_ms"]
        assert row["pairs"] > 0 and row["turns"] == 2
    assert found["versions"]["torch"] and found["copied_gb_s"] > 0
    assert main(["--compare", str(file), str(file)]) == 0
    assert capsys.readouterr().out.endswith("more than 20% slower: nothing\n")


def test_what_has_become_slower_is_named() -> None:
    def result(machine: str, **pairs: float) -> dict[str, Any]:
        rows = [{"stage": name, "size": "1 x 2", "pairs": value} for name, value in pairs.items()]
        return {"machine": machine, "commit": "c", "measured": "2026-01-02T03:04", "rows": rows}

    text = compare(result("one", a=1.0, b=2.0), result("one", a=1.1, b=2.5, c=1.0))
    assert "a, 1 x 2: 1.00 -> 1.10 transform pairs, 1.10 times" in text
    assert "c, 1 x 2: 1.00 transform pairs, not measured before" in text
    assert text.endswith("more than 20% slower: b, 1 x 2") and "another machine" not in text
    assert "another machine" in compare(result("one", a=1.0), result("two", a=1.0))


def test_a_point_of_growth_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    point = {"frame": 64, "angles": 13, "slices": 16}  # computed on 64
    assert growth(["--point", json.dumps(point)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["voxels"] == 64 * 48 * 48 and found["raw_s"] > 0 and found["regularized_s"] > 0


def test_the_estimate_holds_what_was_measured() -> None:
    page = (DOCS / "explanation" / "performance.md").read_text("utf-8")
    for frame, angles, slices, *_, measured, estimated in growth_rows(page):
        needed = needed_bytes(int(frame.split(" ")[0]), int(angles), int(slices)) / 1e6
        assert round(needed) == int(estimated)  # else the page is outdated: benchmarks growth
        assert float(measured) <= needed < 2 * float(measured) + 100  # MB


def test_more_memory_holds_a_larger_field() -> None:
    fields = [largest_field(size * 1e9) for size in (1, 2, 4)]
    assert fields == sorted(fields) and fields[0] < fields[-1]
    assert largest_field(2e9, slices=128) < fields[1]
