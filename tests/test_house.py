"""Rules of the code base: allowed imports, and modules that stay light."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from benchmarks.gpu_report import Report
from launcher import Checkout, unsatisfied

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "acquisition", "reconstruction", "regularizer", "measuring", "files", "pipeline", "ui",
    "commands", "scripting", "benchmarks",
)  # fmt: skip
MODULES = [
    ROOT / "launcher.py",
    ROOT / "livetomo.py",
    *sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py")),
]


def run_python(code: str) -> str:
    """Run ``code`` in a fresh Python in the checkout; return what it prints."""
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_tensor_code_and_its_benchmark_run_on_a_bare_server(tmp_path: Path) -> None:
    # every module of both packages, with what such a server lacks made impossible to import; then
    # the benchmark, which reports everything as skipped where it has no time
    run_python(
        f"folder = {str(tmp_path)!r}"
        """
import importlib, pkgutil, sys
absent = "pymmcore pymmcore_plus useq PySide6 pyqtgraph zmq pydantic rich numba llvmlite "
absent += "openvino psutil"
for name in absent.split():
    sys.modules[name] = None
import reconstruction.reconstructor
assert "scipy" not in sys.modules  # half a second of every process that reconstructs
for package in ("reconstruction", "regularizer"):
    path = importlib.import_module(package).__path__
    for module in pkgutil.walk_packages(path, package + "."):
        if not module.name.endswith("_kernel"):  # where numba is
            importlib.import_module(module.name)
from regularizer.total_variation.split_bregman import fused_pass
import torch
assert fused_pass(torch.device("cpu")) is None
assert "scipy.stats" not in sys.modules  # comes with scipy.signal: more than a second at each start
from benchmarks.__main__ import main
options = ["--measure", "--device", "cpu", "--minutes", "0", "--output", folder]
assert main(["gpu", *options]) == 0
"""
    )
    report = Report.of(tmp_path / "gpu_cpu.json")
    assert report is not None and report.kept["ended"]
    assert report.count("skipped") == sum(len(s["tasks"]) for s in report.kept["steps"].values())
    text = (tmp_path / "gpu_cpu.md").read_text("utf-8")
    assert "Skipped, the step's time was over: raw tomogram 49 x 64 x 64; " in text


def test_processes_without_tensors_are_light() -> None:
    run_python(
        """
import importlib, sys
for module in ("pipeline.live.supervisor", "pipeline.live.quality_process", "ui.main"):
    importlib.import_module(module)
    loaded = {"torch", "pymmcore", "pymmcore_plus", "scipy"} & set(sys.modules)
    assert not loaded, (module, loaded)
"""
    )


def test_a_window_is_painted_before_much_is_loaded() -> None:
    # processes are started first of all; then Qt is loaded, and what takes time after the painting
    run_python(
        """
import importlib, sys
heavy = {"PySide6", "numpy", "zmq", "pydantic", "pyqtgraph", "matplotlib", "h5py", "PIL"}
for module, needed in (
    ("pipeline.live.supervisor", set()),
    ("ui.connecting_client", {"numpy"}),
    ("ui.main", {"numpy", "PySide6"}),
):
    importlib.import_module(module)
    assert heavy & set(sys.modules) == needed, (module, heavy & set(sys.modules))
"""
    )


def test_scans_are_recorded_without_torch_and_a_core_calls_nobody_while_python_ends() -> None:
    # torch: three seconds of every start, and 200 MB of the process that holds the camera
    # a core calls in a thread of its own, and a thread that wants Python then aborts the process
    run_python(
        """
import atexit, sys, threading
import commands.record_session
import pipeline.live.acquirer
import acquisition.simulation.bench
from pymmcore import CMMCore
from acquisition.microscope import open_microscope
from tests.simulated import small_config
core = open_microscope(small_config()).core
assert "torch" not in sys.modules
called = threading.Event()
core.events.propertyChanged.connect(lambda *_: called.set())
CMMCore.setProperty(core, "Core", "TimeoutMs", "4000")
assert called.wait(60)
called.clear()
atexit._run_exitfuncs()
CMMCore.setProperty(core, "Core", "TimeoutMs", "5000")
assert not called.wait(0.5)
"""
    )


def test_set_up_and_command_line_need_the_standard_library_only() -> None:
    own = {"launcher", "commands", "acquisition", "regularizer", "measuring", "files"}
    code = (
        "import sys, launcher; from commands import NAMES;"
        "from commands.command_line import command, parse; parse([]); [*map(command, NAMES)];"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = set(run_python(code).split()) - set(
        run_python("import sys; print(*sys.modules)").split()
    )
    assert loaded - own <= sys.stdlib_module_names


def test_imports_go_one_way() -> None:
    code = "from importlinter.cli import lint_imports_command as lint; lint(['--no-cache'])"
    run_python(code)


def test_nothing_imports_the_launcher() -> None:
    # import-linter knows packages only, and the launcher is a module
    def imports_it(text: str) -> bool:
        if "launcher" not in text:
            return False
        imports = (node for node in ast.walk(ast.parse(text)) if is_import(node))
        return any("launcher" in ast.unparse(node) for node in imports)

    assert [file for file in MODULES[1:] if imports_it(file.read_text("utf-8"))] == []


def is_import(node: ast.AST) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def test_modules_open_with_what_they_are_for() -> None:
    opening = re.compile(r'(?:#[^\n]*\n)*r?"""(?:(?!""").){31}', re.DOTALL)
    assert [file for file in MODULES if not opening.match(file.read_text("utf-8"))] == []


def test_requirements_are_names_and_versions() -> None:
    # markers and extras are more than the launcher reads
    assert unsatisfied(Checkout(ROOT).requirements(frozenset({"test"}))) == []


def test_every_requirement_is_pinned_within_its_range() -> None:
    pinned = [
        line
        for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        if not line.startswith("#")
    ]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in pinned), pinned
    names = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in pinned}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["test"], *extras["docs"]]
    missing = {re.split(r"[<>=!]", requirement)[0].lower() for requirement in asked} - names
    assert not missing


def test_a_microscope_opens_beside_a_qt_application() -> None:
    run_python(
        """
import os
os.environ["QT_QPA_PLATFORM"] = "offscreen"
from PySide6.QtWidgets import QApplication
application = QApplication([])
from tests.simulated import small_microscope
with small_microscope() as microscope:
    assert microscope.scan().complete
"""
    )
