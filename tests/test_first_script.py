"""The tutorial's first script runs as it stands, on smaller frames."""

import re
from pathlib import Path

import pytest

import livetomo
from benchmarks.pages import DOCS
from files.recording import RecordingWriter
from tests.test_livetomo import MICROSCOPE

_SMALL = {'simulate_scan("cell", seed=1)': 'simulate_scan("bead", seed=1, frame=96)'}


def blocks() -> list[str]:
    page = (DOCS / "tutorial" / "first-script.md").read_text("utf-8")
    found = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return [block for block in found if "matplotlib" not in block]


def test_the_first_script_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.toml").write_text(MICROSCOPE, "utf-8")
    with livetomo.open_microscope("my.toml") as scope:
        background = scope.background()
        with RecordingWriter(Path("cells.h5"), background) as writer:
            writer.append(scope.scan().stack)
    script = "".join(blocks())
    for large, small in _SMALL.items():
        assert large in script
        script = script.replace(large, small)
    names: dict[str, object] = {}
    exec(script, names)
    assert Path("out.h5").exists()
    assert Path("tomograms.h5").exists()
    assert isinstance(names["scan"], livetomo.Scan)
