"""LiveTomo: set-up and command line. ``python launcher.py COMMAND``; the work is done elsewhere.

The set-up is standard library only. It installs what pyproject.toml asks for, in the versions of
constraints.txt, into ``.venv`` beside this file, and writes ``.venv/livetomo.json`` (the stamp)
last: a set-up that was interrupted is seen and repaired by the next start. An environment that is
active and already satisfies pyproject.toml is used as it is.
"""

from __future__ import annotations  # a Python too old for LiveTomo must get as far as being told so

import argparse
import contextlib
import hashlib
import json
import operator as op
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acquisition.errors import LiveTomoError
from acquisition.locking import lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

__all__ = ["Checkout", "SetUpError", "main"]

ROOT = Path(__file__).resolve().parent
PYTHON_NEEDED = (3, 11)
TICK_S = 0.2  # how often the progress line is drawn
PLAIN_INTERVAL_S = 10.0  # how often an unchanged stage is repeated where lines cannot be redrawn

REMEDIES = {  # words of pip, venv and their kind: what to do
    "No space left": "free some disk space; the environment takes 2 GB, several with CUDA",
    "NewConnection|NameResolution|[Tt]imed? ?out|unreachable": "check the network, and pip's proxy",
    "No matching distribution": "check the network, and try a Python from 3.11 to 3.14",
    "ensurepip|No module named venv": "on Debian or Ubuntu: sudo apt-get install python3-venv",
}


class SetUpError(LiveTomoError):
    """The environment could not be made ready."""


# ---- Which environment ---------------------------------------------------------------------------


class Checkout:
    """A folder with pyproject.toml and constraints.txt, and the environment made for it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        self.python = self.venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self.stamp = self.venv / "livetomo.json"
        self.work = root / ".setup"
        self.log = self.work / "log.txt"

    def interpreter(self, extras: AbstractSet[str], enough: Sequence[str] = ()) -> Path | None:
        """Return the Python to start, set up first where need be; None: the running one will do.

        With all packages of ``enough``, in whichever versions, nothing is set up: a GPU server has
        those of its own, and often no network.
        """
        if not (self.root / "pyproject.toml").exists():  # installed by pip, which saw to it
            return None
        inside = self.venv.exists() and self.venv.samefile(sys.prefix)
        active = sys.prefix != sys.base_prefix or "CONDA_PREFIX" in os.environ
        ready = self.is_ready(extras)
        if ready and (inside or not active):
            return None if inside else self.python
        outdated = inside and self.stamp.exists()
        if not outdated and not unsatisfied(self.requirements(extras)):
            return None
        if not ready and enough and not unsatisfied(enough):
            say(f"Using the packages of {sys.executable}, in the versions that it has.")
            return None
        if not ready:
            self.set_up(extras)
        return self.python

    def requirements(self, extras: AbstractSet[str]) -> list[str]:
        """Return pyproject.toml's requirements, those of ``extras`` included."""
        import tomllib

        project = tomllib.loads((self.root / "pyproject.toml").read_text("utf-8"))["project"]
        optional = project.get("optional-dependencies", {})
        return [*project.get("dependencies", []), *(r for e in sorted(extras) for r in optional[e])]

    def digest(self) -> str:
        """Return what the environment is made from, the system's Python included, as a number."""
        files = (self.root / "pyproject.toml", self.root / "constraints.txt")
        contents = [file.read_bytes() for file in files]
        return hashlib.sha256(b"\0".join([*contents, bytes(self.python.resolve())])).hexdigest()

    def stamped(self) -> tuple[str, frozenset[str]]:
        """Return the digest and the extras that the stamp tells; the digest "" is unfinished."""
        try:
            stamp = json.loads(self.stamp.read_text("utf-8"))
            return str(stamp["digest"]), frozenset(stamp["extras"])
        except (OSError, ValueError, KeyError, TypeError):
            return "", frozenset()

    def is_ready(self, extras: AbstractSet[str]) -> bool:
        """Return whether ``.venv`` is finished, current and holds ``extras``."""
        digest, installed = self.stamped()
        return extras <= installed and self.python.exists() and digest == self.digest()

    def set_up(self, extras: AbstractSet[str]) -> None:
        """Create or repair ``.venv`` so that it holds the requirements and ``extras``.

        Raises
        ------
        SetUpError
            If a step fails; what was done so far is kept and used by the next set-up.
        """
        self.work.mkdir(exist_ok=True)
        with locked(self.work / "lock"):
            if self.is_ready(extras):  # another start has just done it
                return
            extras = extras | self.stamped()[1]
            say(f"Setting up {self.venv}: some minutes, 2 GB or more.")
            self.log.write_bytes(b"")
            self.make_venv()
            self.write_stamp("", extras)
            self.install(self.requirements(extras))
            self.write_stamp(self.digest(), extras)

    def make_venv(self) -> None:
        """Make ``.venv`` with pip in it, unless there is a working one."""
        for module in (["pip", "--version"], ["ensurepip"]):  # uv makes environments without pip
            with contextlib.suppress(OSError):  # no Python there, or one that does not start
                probe = [str(self.python), "-Im", *module]
                if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
                    return
        command = [sys.executable, "-Im", "venv", "--clear", str(self.venv)]
        self.run("Creating .venv", command)

    def install(self, requirements: Sequence[str]) -> None:
        """Let pip install ``requirements`` in the versions of constraints.txt."""
        patterns = ("lib/python*/site-packages", "Lib/site-packages")  # POSIX, Windows
        packages = next(path for pattern in patterns for path in self.venv.glob(pattern))
        for info in packages.glob("*.dist-info"):
            if not (info / "INSTALLER").exists():  # pip writes it last: this one was interrupted
                shutil.rmtree(info)
        pip = [str(self.python), "-Iu", "-m", "pip", "--disable-pip-version-check", "--no-input"]
        options = ["--progress-bar", "off", "-c", str(self.root / "constraints.txt")]
        progress = PipProgress(packages)
        self.run("Installing", [*pip, "install", *options, *requirements], progress)

    def write_stamp(self, digest: str, extras: AbstractSet[str]) -> None:
        """Replace the stamp; the digest "" says that the set-up is under way."""
        unfinished = self.stamp.with_suffix(".new")
        unfinished.write_text(json.dumps({"digest": digest, "extras": sorted(extras)}), "utf-8")
        unfinished.replace(self.stamp)

    def run(
        self, title: str, command: Sequence[str], describe: Callable[[str], str] | None = None
    ) -> None:
        """Run ``command`` with its output in the log and what it is doing on one line."""
        line = ProgressLine()
        with self.log.open("ab") as sink, self.log.open(encoding="utf-8", errors="replace") as log:
            log.seek(0, os.SEEK_END)
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT
            )
            try:
                while process.poll() is None:
                    output = log.read()
                    line.show(describe(output) if describe else title)
                    time.sleep(TICK_S)
            finally:
                process.terminate()  # Ctrl-C; nothing where it has ended
                process.wait()
                line.end()
        if process.returncode:
            raise SetUpError(self.failure(title, process.returncode))

    def failure(self, title: str, status: int) -> str:
        """Return what a failed step says: the end of its output, a remedy, where the rest is."""
        text = self.log.read_text("utf-8", errors="replace")
        last = "".join(f"    {line}\n" for line in text.strip().splitlines()[-6:])
        known = (remedy for words, remedy in REMEDIES.items() if re.search(words, text))
        return (
            f"set-up stopped: {title!r} ended with status {status}; its last lines:\n{last}"
            f"To do: {next(known, 'mend what they name')}; then start again, it goes on from here. "
            f"The whole output: {self.log}"
        )


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that the system releases when its holder dies; wait for another's."""
    with path.open("a+b") as file:
        waits = False
        while not lock(file.fileno()):
            if not waits:
                say("Another set-up of this checkout is running; waiting for it.")
            waits = True
            time.sleep(TICK_S)
        yield


# ---- Requirements --------------------------------------------------------------------------------

TENSOR_PACKAGES = ("torch", "numpy", "scipy", "h5py", "safetensors", "numba")  # of regularizer/
COMPARISONS = {">=": op.ge, "<=": op.le, "==": op.eq, "!=": op.ne, ">": op.gt, "<": op.lt}


def unsatisfied(requirements: Sequence[str]) -> list[str]:
    """Return those of ``requirements`` that the running Python's packages do not satisfy."""
    from importlib.metadata import PackageNotFoundError, version

    def fits(requirement: str) -> bool:
        match = re.fullmatch(r"([\w.-]+)\s*(?:\[[^]]*\])?\s*([^;]*)", requirement)
        if match is None:
            rule = "pyproject.toml: a requirement must be a name and versions, without a marker"
            raise SetUpError(f"{rule}; got {requirement!r}")
        try:
            return satisfies(version(match[1]), match[2])
        except PackageNotFoundError:
            return False

    return [requirement for requirement in requirements if not fits(requirement)]


def satisfies(version: str, rules: str) -> bool:
    """Return whether ``version`` keeps to ``rules`` such as ``>=6.10.3,<6.12``."""
    found = re.findall(r"(>=|<=|==|!=|>|<)\s*([\w.]+)", rules)
    return all(COMPARISONS[rule](_release(version), _release(bound)) for rule, bound in found)


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers of 2.13.0+cpu as (2, 13): without local part and trailing zeros."""
    match = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(number) for number in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


# ---- Saying what it does -------------------------------------------------------------------------


def say(text: str, end: str = "\n") -> None:
    """Print beside what the command prints: with --json that alone is on standard output."""
    print(text, end=end, file=sys.stderr, flush=True)


class ProgressLine:
    """The step under way and its time: one line redrawn on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._begin = self._printed = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._stage = ""

    def show(self, text: str) -> None:
        """Show ``text``; what stands before its first colon is the stage."""
        now = time.monotonic()
        minutes, seconds = divmod(int(now - self._begin), 60)
        stage = text.partition(":")[0]
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            say(f"\r{f'[{minutes}:{seconds:02}] {text}':{width}.{width}}", end="")
        elif stage != self._stage or now - self._printed > PLAIN_INTERVAL_S:
            say(f"[{minutes}:{seconds:02}] {text}")
            self._stage, self._printed = stage, now

    def end(self) -> None:
        """Leave the line."""
        if self._terminal:
            say("")


class PipProgress:
    """What pip is doing, from its output; while it copies files it says nothing: count them."""

    def __init__(self, packages: Path) -> None:
        self._packages = packages
        self._text = "Looking for packages"
        self._found = 0
        self._names: list[str] = []  # of what pip installs, in its order
        self._before: set[Path] = set()

    def __call__(self, output: str) -> str:
        """Return the line to show after ``output``, which may be empty."""
        for line in output.splitlines():
            if match := re.match(r"(?:Collecting|Requirement already satisfied:) ([\w.-]+)", line):
                self._found += 1
                self._text = f"Looking for packages: {self._found}, {match[1]}"
            elif match := re.match(r"\s+Downloading ([\w.]+).*?(\([\d.]+ .B\))?$", line):
                name = f"{match[1]} {match[2] or ''}".rstrip()
                self._text = f"Looking for packages: {self._found}, downloading {name}"
            elif line.startswith("Installing collected packages:"):
                self._names, self._before = line.partition(":")[2].split(","), self._installed()
        if not self._names:
            return self._text
        done = min(len(self._installed() - self._before), len(self._names) - 1)
        name = self._names[done].strip()
        return f"Installing packages: {done + 1} of {len(self._names)}, {name}"

    def _installed(self) -> set[Path]:
        return set(self._packages.glob("*.dist-info/INSTALLER"))


# ---- Command line --------------------------------------------------------------------------------


Parser = argparse.ArgumentParser


def command_line() -> Parser:
    """Return the parser; each command names the function that does it."""
    parser = Parser(
        prog="launcher.py",
        description="LiveTomo: live, regularized refractive-index tomography. Without a command: "
        "the live window on the simulated microscope, or a headless run where there is no display.",
    )
    parser.set_defaults(run=_first_light, extras=frozenset(), enough=(), rest=[])
    commands = parser.add_subparsers(metavar="COMMAND")

    def add(name: str, run: Callable[[Any], int], text: str, *shared: Parser) -> Parser:
        about = f"{name}: {text}."
        command = commands.add_parser(name, help=text, description=about, parents=shared)
        command.set_defaults(run=run)
        return command

    microscope, device, output, figures = shared_options()
    test = add("test", _tests, "set up what the tests need and run them; options go to pytest")
    test.set_defaults(extras=frozenset({"test"}))
    add("live", _live, "the live window on a microscope", microscope, device)
    text = "record a time-lapse without a window"
    add_plan(add("record", _record, text, microscope, device, output, figures))
    text = "turn a recording into tomograms"
    reconstruct = add("reconstruct", _reconstruct, text, device, output, figures)
    reconstruct.add_argument("recording", type=Path, metavar="RECORDING")
    reconstruct.add_argument("--regularizer", choices=METHODS, default="deep")
    text = "parameters of tv: measured here (tv, tv-fast), by each scan's noise (auto), the paper's"
    reconstruct.add_argument("--preset", choices=TV_PRESETS, help=text)
    text = "on the sign of the contrast: non-negative where the sample is denser than its medium, "
    text += "non-positive where it is lighter, none where it is both, auto for what the data show"
    reconstruct.add_argument("--constraint", choices=CONSTRAINTS, default="auto", help=text)
    text = "compare every N-th tomogram with total variation, into the file, too"
    reconstruct.add_argument("--check", type=int, metavar="N", default=0, help=text)
    add_positions(reconstruct)
    add_settings(reconstruct)
    text = "draw a grid of total-variation parameters on one scan, or on a simulated sample"
    add_grid(add("tune", _tune, text, device, output, figures))
    text = "turn interferograms of another program into a recording"
    add_sources(add("import", _import, text, output, figures))
    view = add("view", _view, "a recording or a tomogram file in the window", device)
    view.add_argument("file", type=Path, metavar="FILE")
    text = "the volume shown first; for a recording, how it is regularized"
    view.add_argument("--regularizer", choices=METHODS, default="deep", help=text)
    text = "write tomograms in a format of other programs: OME-TIFF, OME-Zarr, TCF"
    add_formats(add("export", _export, text, figures))
    text = "measure a microscope's angles, fringes, exposure and timing on the empty field"
    text_folder = "a new folder for the report; by default one with today's date"
    calibrate = add("calibrate", _calibrate, text, microscope, figures)
    calibrate.add_argument("-o", "--output", type=Path, metavar="FOLDER", help=text_folder)
    text = "write the DMD's gratings as pictures, and check what light passes its stop"
    add("patterns", _patterns, text, microscope, output, figures)
    train = add("train", _train, "train the regularizer; options go to the training")
    text = "print the regularizers' tables; options go to the evaluation"
    for bare in (train, add("evaluate", _evaluate, text)):
        bare.set_defaults(enough=TENSOR_PACKAGES)
    add("benchmark", _benchmark, "print the speed figures: all, or those named; options go to them")
    add("doctor", _doctor, "say what works on this machine", figures)
    return parser


def shared_options() -> tuple[Parser, Parser, Parser, Parser]:
    """Return what several commands have: --microscope, --device, --output, --json."""
    microscope, device, output, figures = (Parser(add_help=False) for _ in range(4))
    text = "its microscope.toml; the simulated microscope by default"
    microscope.add_argument("--microscope", type=Path, metavar="FILE", help=text)
    text = "where to compute; the GPU by default, if there is one"
    device.add_argument("--device", choices=("cpu", "cuda"), help=text)
    output.add_argument("-o", "--output", type=Path, metavar="FILE", required=True)
    figures.add_argument("--json", action="store_true", help="print figures as JSON")
    return microscope, device, output, figures


def add_plan(record: Parser) -> None:
    """Add how many scans a recording has, when and where, and what becomes of them meanwhile."""
    plan = record.add_mutually_exclusive_group(required=True)
    plan.add_argument("--stacks", type=int, metavar="N", help="how many scans")
    text = "a useq MDASequence (YAML or JSON): times, stage positions, autofocus"
    plan.add_argument("--sequence", type=Path, metavar="FILE", help=text)
    text = "go on with the recording -o, by its own plan, after it was ended or crashed"
    plan.add_argument("--resume", action="store_true", help=text)
    text = "seconds from the start of a scan to that of the next; by default as fast as it goes"
    record.add_argument("--interval", type=float, metavar="S", default=0.0, help=text)
    again = record.add_mutually_exclusive_group()
    text = "take the background again after so many scans"
    again.add_argument("--background-every", type=int, metavar="N", help=text)
    text = "take it again after so many minutes"
    again.add_argument("--background-minutes", type=float, metavar="M", help=text)
    text = "make tomograms of the scans meanwhile, into this file"
    record.add_argument("--tomograms", type=Path, metavar="FILE", help=text)
    record.add_argument("--regularizer", choices=METHODS, help="of the tomograms; deep by default")


# of regularizer.total_variation, and regularizer.automatic
METHODS = ("none", "gp", "tv", "deep")
CONSTRAINTS = ("auto", "non-negative", "non-positive", "none")
TV_PRESETS = ("tv", "tv-fast", "auto", "beads", "s-pyogenes", "oci-aml3")
RECONSTRUCTION = {  # fields of reconstruction.settings.ReconstructionSettings: how they are given
    "approximation": (str, "rytov or born"),
    "planes": (int, "depths at which Rytov's logarithm is taken; 1 is fastest"),
    "gridding": (str, "nearest or linear: how a sample between voxels of k-space is shared"),
    "oversampling": (int, "how many times finer k-space is sampled than the volume asks"),
    "apodisation": (float, "part of the measured band over which it falls off, 0 to 1"),
    "slices": (int, "z size of the volume; 64 by default"),
    "dz_um": (float, "z step"),
    "voxel_um": (float, "lateral voxel"),
    "size_um": (float, "lateral size, y and x; the field of view by default"),
    "refocus_um": (float, "z of the volume's centre over the plane in focus"),
    "objects": (str, "denser or lighter than the medium: tells the sideband where k is not known"),
    "anchor": (str, "zero of the phase: field (its empty part), background, lowest or highest"),
    "offset": (float, "added to the index, for a sample that fills the field"),
}


def add_settings(reconstruct: Parser) -> None:
    """Add what can be chosen about a reconstruction; left out, the defaults hold."""
    group = reconstruct.add_argument_group("reconstruction")
    for name, (kind, text) in RECONSTRUCTION.items():
        how: dict[str, Any] = {"dest": name, "type": kind, "help": text}
        how |= {"metavar": "UM"} if name.endswith("_um") else {}
        how |= {"nargs": 2} if name == "size_um" else {}
        group.add_argument("--" + name.removesuffix("_um").replace("_", "-"), **how)


def add_grid(tune: Parser) -> None:
    """Add the sample and the grid of parameters."""
    text = "leave it out for a simulated sample, whose truth is known"
    tune.add_argument("recording", type=Path, nargs="?", metavar="RECORDING", help=text)
    tune.add_argument("--scan", type=int, default=0, metavar="N", help="of the recording")
    tune.add_argument("--simulate", metavar="KIND", default="cell", help="cell, cocci, rods, ...")
    tune.add_argument("--seed", type=int, default=1, help="of the simulated sample")
    tune.add_argument(
        "--mu", type=float, nargs="+", default=[2.0, 10.0, 50.0, 150.0], help="columns"
    )
    tune.add_argument("--outer", type=int, nargs="+", default=[1, 2, 5], help="rows")
    tune.add_argument("--inner", type=int, default=100, help="iterations of each outer one")


def add_sources(convert: Parser) -> None:
    """Add what an import reads."""
    text = "TIFF, folder of TIFF, PNG or BMP, .npy, .npz[:ARRAY]; several, in the order of time"
    convert.add_argument("samples", nargs="+", metavar="SAMPLE", help=text)
    text = "the same of the empty field"
    convert.add_argument("--background", metavar="BACKGROUND", required=True, help=text)
    text = "optics and number of angles, as in docs/examples/import.toml"
    convert.add_argument("--optics", type=Path, metavar="TOML", required=True, help=text)


def add_formats(export: Parser) -> None:
    """Add what an export takes, and what it becomes."""
    export.add_argument("file", type=Path, metavar="FILE", help="of tomograms")
    export.add_argument("--to", choices=("ome-zarr", "ome-tiff", "tcf"), required=True)
    text = "by default beside FILE, with its name"
    export.add_argument("-o", "--output", type=Path, metavar="FILE", help=text)
    text = "which volumes, each a channel; by default the regularized ones where complete, else raw"
    volumes = ("raw", "deep", "tv", "gp")
    export.add_argument("--volume", nargs="+", choices=volumes, default=[], help=text)
    add_positions(export)


def add_positions(command: Parser) -> None:
    """Add which stage positions of a time-lapse are taken."""
    text = "name or number (from 1) of a stage position, may be repeated; by default all"
    command.add_argument("--position", action="append", metavar="NAME", default=[], help=text)


FORWARDED = ("test", "train", "evaluate", "benchmark")  # pytest, training, ... read what follows


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return what was asked for; ``rest`` is what another parser will read."""
    forward = argv[:1] and argv[0] in FORWARDED
    asks_here = argv[1:2] in (["-h"], ["--help"]) and argv[0] not in ("train", "evaluate")
    own = argv[:1] if forward and not asks_here else argv
    options = command_line().parse_args(own)
    options.rest = list(argv[len(own) :])
    return options


# ---- Commands: each imports its work only when it is called --------------------------------------


def _first_light(options: argparse.Namespace) -> int:
    from ui.start import first_light

    return first_light()


def _live(options: argparse.Namespace) -> int:
    from ui.start import live

    return live(options.microscope, options.device)


def _record(options: argparse.Namespace) -> int:
    from pipeline.record import run_record, what_else

    plan = (options.microscope, options.stacks, options.interval, options.output, options.json)
    again = (options.background_every, options.background_minutes)
    made = (options.tomograms, options.regularizer, options.device)
    more = what_else(again, made)
    return run_record(*plan, sequence=options.sequence, resume=options.resume, **more)


def _reconstruct(options: argparse.Namespace) -> int:
    from pipeline.commands import run_reconstruct

    chosen = {
        name: value for name in RECONSTRUCTION if (value := getattr(options, name)) is not None
    }
    how = (options.regularizer, options.device, options.json, chosen, options.preset)
    more = (options.check, options.position, options.constraint)
    return run_reconstruct(options.recording, options.output, *how, *more)


def _tune(options: argparse.Namespace) -> int:
    from pipeline.tuning import run_tune

    names = ("simulate", "seed", "scan", "inner", "device")
    chosen = {name: getattr(options, name) for name in names}
    grid = {"mus": options.mu, "outers": options.outer, "as_json": options.json}
    return run_tune(options.recording, options.output, **chosen, **grid)


def _import(options: argparse.Namespace) -> int:
    from pipeline.importing.convert import run_import

    sources = (options.samples, options.background, options.optics)
    return run_import(*sources, options.output, as_json=options.json)


def _view(options: argparse.Namespace) -> int:
    from ui.start import view

    return view(options.file, options.regularizer, options.device)


def _export(options: argparse.Namespace) -> int:
    from pipeline.exporting.convert import run_export

    how = (options.output, options.volume, options.json, options.position)
    return run_export(options.file, options.to, *how)


def _calibrate(options: argparse.Namespace) -> int:
    from pipeline.calibrate import run_calibrate

    return run_calibrate(options.microscope, options.output, as_json=options.json)


def _patterns(options: argparse.Namespace) -> int:
    from pipeline.patterns import run_patterns

    return run_patterns(options.microscope, options.output, as_json=options.json)


def _tests(options: argparse.Namespace) -> int:
    sys.path.insert(0, str(ROOT))  # tests belong to the checkout, not to the package
    from tests.sessions import run
    from ui.display import install_libraries, virtual_display

    install_libraries()
    with virtual_display() as environment:
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # tests start Python a hundred times
        pytest = (sys.executable, "-m", "pytest")
        return run(
            options.rest, lambda own: passed_through([*pytest, *own], cwd=ROOT, env=environment)
        )


def _train(options: argparse.Namespace) -> int:
    from regularizer.training_command import main as train

    return train(options.rest)


def _evaluate(options: argparse.Namespace) -> int:
    from regularizer.evaluation import main as evaluate

    return evaluate(options.rest)


def _benchmark(options: argparse.Namespace) -> int:
    sys.path.insert(0, str(ROOT))  # benchmarks belong to the checkout, not to the package
    from benchmarks.__main__ import main as measure

    return measure(options.rest)


def _doctor(options: argparse.Namespace) -> int:
    from ui.doctor import main as examine

    return examine(Checkout(ROOT).requirements(frozenset()), as_json=options.json)


# ---- Starting ------------------------------------------------------------------------------------


def passed_through(command: Sequence[str | Path], **options: Any) -> int:
    """Run ``command`` to its end and return its exit status; Ctrl-C is the command's to obey."""
    before = signal.signal(signal.SIGINT, lambda *_: None)  # the terminal sends it to both
    try:
        with subprocess.Popen(command, **options) as process:
            try:
                status = process.wait()
            except SystemExit:
                process.terminate()
                raise
    finally:
        signal.signal(signal.SIGINT, before)
    return status if status >= 0 else 128 - status  # ended by a signal, as shells say it


def start_in(python: Path, argv: Sequence[str]) -> int:
    """Start over with another Python; on POSIX it takes the place of this process."""
    command = [str(python), str(ROOT / "launcher.py"), *argv]
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(command[0], command)
    return passed_through(command)


def terminated(number: int, frame: object) -> None:
    """Let a request to terminate leave through every ``with``, so that no process stays behind."""
    sys.exit(128 + number)


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; return the exit status, 0 only when all of it was done."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if sys.version_info[:2] < PYTHON_NEEDED:
            needed = ".".join(map(str, PYTHON_NEEDED))
            running = f"{sys.executable} is {sys.version.split()[0]}"
            raise SetUpError(f"LiveTomo needs Python {needed} or newer; {running}")
        options = parse(argv)
        python = Checkout(ROOT).interpreter(options.extras, options.enough)
        if python is not None:
            return start_in(python, argv)
        signal.signal(signal.SIGTERM, terminated)
        # OpenMP threads that spin while they wait take the cores from the other processes: split
        # Bregman beside a live microscope was 2 to 10 times slower; read when torch is loaded
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        status: int = options.run(options)
        return status
    except LiveTomoError as error:
        print(f"launcher.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nlauncher.py: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
