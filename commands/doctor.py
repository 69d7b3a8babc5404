"""Report what works on this machine: Python, packages, GPU, display, disk, device adapters.

Each topic is examined on its own, so that a failure does not hide the others.
"""

import json
import logging
import os
import platform
import re
import shutil
import sys
import tempfile
import tomllib
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from commands.options import add_json

__all__ = ["HELP", "add_options", "examine", "requirements", "run"]

HELP = "report what works on this machine"

GIGABYTE = 1e9
_ROOT = Path(__file__).resolve().parents[1]


def add_options(parser: ArgumentParser) -> None:
    """Add --json."""
    add_json(parser)


def run(options: Namespace) -> int:
    """Print the findings as text or JSON; return 0."""
    findings = examine(requirements())
    print(json.dumps(findings, indent=2) if options.json else as_text(findings))
    return 0


def requirements() -> list[str]:
    """Return the requirements of the package, from pyproject.toml or the installation."""
    project = _ROOT / "pyproject.toml"
    if project.exists():
        return list(tomllib.loads(project.read_text("utf-8"))["project"]["dependencies"])
    return [line for line in metadata.requires("livetomo") or () if "extra ==" not in line]


def examine(requirements: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the findings by topic; a topic that could not be examined has an ``error``."""
    topics: dict[str, Callable[[], dict[str, Any]]] = {
        "python": _python,
        "packages": lambda: _packages(requirements),
        "compute": _compute,
        "display": _display,
        "disk": _disk,
        "devices": _devices,
    }
    return {topic: _found(look) for topic, look in topics.items()}


def as_text(findings: dict[str, dict[str, Any]]) -> str:
    """Return the findings as indented lines."""
    lines = []
    for topic, values in findings.items():
        lines.append(topic)
        lines += [f"    {name:34} {_plain(value)}" for name, value in values.items()]
    return "\n".join(lines)


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: "-"}[value]
    return str(value)


def _found(look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return look()
    except Exception as error:  # any error of a driver or package is a finding
        return {"error": f"{type(error).__name__}: {error}"}


def _python() -> dict[str, Any]:
    return {
        "version": platform.python_version(),
        "executable": sys.executable,
        "system": platform.platform(),
        "processor cores": os.cpu_count(),
    }


def _packages(requirements: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for requirement in requirements:
        try:
            found[requirement] = metadata.version(re.split("[<>=!]", requirement)[0])
        except metadata.PackageNotFoundError:
            found[requirement] = None
    return found


def _compute() -> dict[str, Any]:
    import torch

    from regularizer.networks.openvino_graph import is_installed

    found: dict[str, Any] = {
        "torch": torch.__version__,
        "openvino": metadata.version("openvino") if is_installed() else None,
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.is_available(),
        "cuda built for": torch.version.cuda,
    }
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        memory = f"{gpu.total_memory / GIGABYTE:.0f} GB"
        found[f"gpu {index}"] = f"{gpu.name}, {memory}, compute capability {gpu.major}.{gpu.minor}"
    return found


def _display() -> dict[str, Any]:
    from PySide6.QtCore import qVersion

    from ui.display import display_problem

    problem = display_problem()
    names = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    named = {name: os.environ[name] for name in names if name in os.environ}
    return {"qt": qVersion(), "window": problem is None, "problem": problem, **named}


def _disk() -> dict[str, Any]:
    folders = {"program": _ROOT, "current": Path.cwd()}
    folders["temporary"] = Path(tempfile.gettempdir())
    return {
        f"free in {name} folder": f"{shutil.disk_usage(folder).free / GIGABYTE:.0f} GB"
        for name, folder in folders.items()
    }


def _devices() -> dict[str, Any]:
    from pymmcore_plus import CMMCorePlus

    # it logs a missing Micro-Manager as an error; here that is a finding
    logging.getLogger("pymmcore-plus").setLevel(logging.CRITICAL)
    core = CMMCorePlus()
    adapters = sorted(core.getDeviceAdapterNames())
    found = {
        "pymmcore-plus": metadata.version("pymmcore-plus"),
        "interface": core.getAPIVersionInfo(),
        "adapter folders": list(core.getDeviceAdapterSearchPaths()),
        "adapters": adapters,
    }
    if not adapters:
        found["to do"] = (
            "for hardware run `mmcore install`; the simulated microscope needs no adapters"
        )
    return found
