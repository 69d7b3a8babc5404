"""The wheel: built from the sources, it holds all of them, and starts where nothing else lies."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "acquisition", "reconstruction", "regularizer", "measuring", "files", "pipeline", "ui",
    "commands", "scripting",
)  # fmt: skip


def run(command: Sequence[str | Path], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": "", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy, as ``python -m build`` does."""
    source, made = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", "launcher.py", "livetomo.py"):
        shutil.copy(ROOT / name, source)
    build = "import sys, setuptools.build_meta as build; build.build_wheel(sys.argv[1])"
    run(["-c", build, made], source)
    (file,) = made.glob("livetomo-*.whl")
    return file


def test_the_wheel_holds_every_source_and_the_weights(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as held:
        names = set(held.namelist())
    sources = {file for name in PACKAGES for file in (ROOT / name).rglob("*.py")}
    weights = set((ROOT / "regularizer" / "weights").glob("*.safetensors"))
    assert weights
    wanted = {str(file.relative_to(ROOT).as_posix()) for file in sources | weights}
    assert not wanted - names
    assert {"launcher.py", "livetomo.py"} <= names
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "docs"))]


def test_it_starts_where_nothing_else_lies(wheel: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    pip = ["-m", "pip", "install", "--no-deps", "--no-index", "--no-compile", "--quiet"]
    run([*pip, "--target", site, wheel], elsewhere)
    here = {"PYTHONPATH": str(site)}
    assert "reconstruct" in run(["-m", "launcher", "--help"], elsewhere, **here)
    where = (
        "import livetomo; from regularizer.networks.trained import shipped_networks; "
        "print(livetomo.__file__, shipped_networks())"
    )
    said = run(["-c", where], elsewhere, **here)
    assert said.startswith(str(site))
    assert "light-unet" in said
