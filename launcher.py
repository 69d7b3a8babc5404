"""LiveTomo: sets up the environment, then hands over to ``commands``.

``python launcher.py COMMAND``

The set-up uses the standard library only. It installs what pyproject.toml asks for, in the
versions of constraints.txt, into ``.venv`` beside this file. It writes ``.venv/livetomo.json`` (the
stamp) last, so that the next start detects and repairs an interrupted set-up. An environment that
is active and already satisfies pyproject.toml is used unchanged.
"""

from __future__ import annotations  # a Python too old for LiveTomo must still print that it is

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
from typing import TYPE_CHECKING

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

REMEDIES = {  # pattern in the output of pip or venv: remedy
    "No space left": "free some disk space; the environment takes 2 GB, several with CUDA",
    "NewConnection|NameResolution|[Tt]imed? ?out|unreachable": "check the network and pip's proxy",
    "No matching distribution": "check the network, and try a Python from 3.11 to 3.14",
    "ensurepip|No module named venv": "on Debian or Ubuntu: sudo apt-get install python3-venv",
}


class SetUpError(LiveTomoError):
    """The environment could not be made ready."""


# ---- Which environment ---------------------------------------------------------------------------


class Checkout:
    """A checkout with pyproject.toml and constraints.txt, and its environment ``.venv``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        self.python = self.venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self.stamp = self.venv / "livetomo.json"
        self.work = root / ".setup"
        self.log = self.work / "log.txt"

    def interpreter(self, extras: AbstractSet[str], sufficient: Sequence[str] = ()) -> Path | None:
        """Return the Python to start, after any set-up it needs; None: use the running one.

        If all packages of ``sufficient`` are there, in any version, nothing is set up: a GPU server
        has its own, and often no network.
        """
        if not (self.root / "pyproject.toml").exists():  # installed by pip with its requirements
            return None
        inside = self.venv.exists() and self.venv.samefile(sys.prefix)
        active = sys.prefix != sys.base_prefix or "CONDA_PREFIX" in os.environ
        ready = self.is_ready(extras)
        if ready and (inside or not active):
            return None if inside else self.python
        outdated = inside and self.stamp.exists()
        if not outdated and not unsatisfied(self.requirements(extras)):
            return None
        if not ready and sufficient and not unsatisfied(sufficient):
            print_status(
                f"Using the installed packages of {sys.executable}, in the versions that it has."
            )
            return None
        if not ready:
            self.set_up(extras)
        return self.python

    def requirements(self, extras: AbstractSet[str]) -> list[str]:
        """Return the requirements in pyproject.toml, including those of ``extras``."""
        always, optional = self.dependencies()
        return [*always, *(r for e in sorted(extras) for r in optional[e])]

    def dependencies(self) -> tuple[list[str], dict[str, list[str]]]:
        """Return what pyproject.toml always requires, and what by extra."""
        import tomllib

        project = tomllib.loads((self.root / "pyproject.toml").read_text("utf-8"))["project"]
        return project.get("dependencies", []), project.get("optional-dependencies", {})

    def digest(self) -> str:
        """Return a hash of all that the environment is made from, including the system Python.

        Other parts of pyproject.toml, such as the settings of tools, change no environment.
        """
        asked = json.dumps(self.dependencies(), sort_keys=True).encode()
        constraints = (self.root / "constraints.txt").read_bytes()
        parts = [asked, constraints, bytes(self.python.resolve())]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()

    def stamped(self) -> tuple[str, frozenset[str]]:
        """Return digest and extras from the stamp; the digest is "" if the set-up is unfinished."""
        try:
            stamp = json.loads(self.stamp.read_text("utf-8"))
            return str(stamp["digest"]), frozenset(stamp["extras"])
        except (OSError, ValueError, KeyError, TypeError):
            return "", frozenset()

    def is_ready(self, extras: AbstractSet[str]) -> bool:
        """Return whether ``.venv`` is finished, up to date and holds ``extras``."""
        digest, installed = self.stamped()
        return extras <= installed and self.python.exists() and digest == self.digest()

    def set_up(self, extras: AbstractSet[str]) -> None:
        """Create or repair ``.venv`` so that it holds the requirements and ``extras``.

        Raises
        ------
        SetUpError
            If a step fails. Finished steps are kept for the next set-up.
        """
        self.work.mkdir(exist_ok=True)
        with locked(self.work / "lock"):
            if self.is_ready(extras):  # another process has just finished it
                return
            extras = extras | self.stamped()[1]
            print_status(f"Setting up {self.venv}: this takes some minutes and 2 GB or more.")
            self.log.write_bytes(b"")
            self.make_venv()
            self.write_stamp("", extras)
            self.install(self.requirements(extras))
            self.write_stamp(self.digest(), extras)

    def make_venv(self) -> None:
        """Create ``.venv`` with pip, unless there is a working one."""
        for module in (["pip", "--version"], ["ensurepip"]):  # uv makes environments without pip
            with contextlib.suppress(OSError):  # no Python there, or one that does not start
                probe = [str(self.python), "-Im", *module]
                if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
                    return
        command = [sys.executable, "-Im", "venv", "--clear", str(self.venv)]
        self.run("Creating .venv", command)

    def install(self, requirements: Sequence[str]) -> None:
        """Install ``requirements`` with pip, in the versions of constraints.txt."""
        patterns = ("lib/python*/site-packages", "Lib/site-packages")  # POSIX, Windows
        packages = next(path for pattern in patterns for path in self.venv.glob(pattern))
        for info in packages.glob("*.dist-info"):
            if not (
                info / "INSTALLER"
            ).exists():  # pip writes it last: the installation was interrupted
                shutil.rmtree(info)
        pip = [str(self.python), "-Iu", "-m", "pip", "--disable-pip-version-check", "--no-input"]
        options = ["--progress-bar", "off", "-c", str(self.root / "constraints.txt")]
        progress = PipProgress(packages)
        self.run("Installing", [*pip, "install", *options, *requirements], progress)

    def write_stamp(self, digest: str, extras: AbstractSet[str]) -> None:
        """Replace the stamp; the digest "" marks an unfinished set-up."""
        unfinished = self.stamp.with_suffix(".new")
        unfinished.write_text(json.dumps({"digest": digest, "extras": sorted(extras)}), "utf-8")
        unfinished.replace(self.stamp)

    def run(
        self, title: str, command: Sequence[str], describe: Callable[[str], str] | None = None
    ) -> None:
        """Run ``command``; write its output to the log and show its progress on one line."""
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
                process.terminate()  # after Ctrl-C; no effect once it has ended
                process.wait()
                line.end()
        if process.returncode:
            raise SetUpError(self.failure(title, process.returncode))

    def failure(self, title: str, status: int) -> str:
        """Return the message of a failed step: the end of its output, a remedy, the log."""
        text = self.log.read_text("utf-8", errors="replace")
        last = "".join(f"    {line}\n" for line in text.strip().splitlines()[-6:])
        known = (remedy for words, remedy in REMEDIES.items() if re.search(words, text))
        return (
            f"set-up stopped: {title!r} ended with status {status}; its last lines:\n{last}"
            f"To do: {next(known, 'fix that error')}; then start again, it continues from here. "
            f"Full output: {self.log}"
        )


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on ``path``; wait while another process holds it."""
    with path.open("a+b") as file:
        waits = False
        while not lock(file.fileno()):
            if not waits:
                print_status("Another set-up of this checkout is running; waiting for it.")
            waits = True
            time.sleep(TICK_S)
        yield


# ---- Requirements --------------------------------------------------------------------------------

COMPARISONS = {">=": op.ge, "<=": op.le, "==": op.eq, "!=": op.ne, ">": op.gt, "<": op.lt}


def unsatisfied(requirements: Sequence[str]) -> list[str]:
    """Return the requirements that the packages of the running Python do not satisfy."""
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
    """Return whether ``version`` satisfies ``rules`` such as ``>=6.10.3,<6.12``."""
    found = re.findall(r"(>=|<=|==|!=|>|<)\s*([\w.]+)", rules)
    return all(COMPARISONS[rule](_release(version), _release(bound)) for rule, bound in found)


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers of 2.13.0+cpu as (2, 13): without local part and trailing zeros."""
    match = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(number) for number in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


# ---- Messages and progress -----------------------------------------------------------------------


def print_status(text: str, end: str = "\n") -> None:
    """Print on standard error: with --json only the results are on standard output."""
    print(text, end=end, file=sys.stderr, flush=True)


class ProgressLine:
    """The current step and its time: redrawn on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._begin = self._printed = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._stage = ""

    def show(self, text: str) -> None:
        """Show ``text``; the part before its first colon is the stage."""
        now = time.monotonic()
        minutes, seconds = divmod(int(now - self._begin), 60)
        stage = text.partition(":")[0]
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            print_status(f"\r{f'[{minutes}:{seconds:02}] {text}':{width}.{width}}", end="")
        elif stage != self._stage or now - self._printed > PLAIN_INTERVAL_S:
            print_status(f"[{minutes}:{seconds:02}] {text}")
            self._stage, self._printed = stage, now

    def end(self) -> None:
        """End the line."""
        if self._terminal:
            print_status("")


class PipProgress:
    """The progress of pip, from its output; while it copies files, from their number."""

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


# ---- Starting ------------------------------------------------------------------------------------


def restart_with(python: Path, argv: Sequence[str]) -> int:
    """Start again with another Python; on POSIX it replaces this process."""
    command = [str(python), str(ROOT / "launcher.py"), *argv]
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(command[0], command)
    from commands.run_program import run_program

    return run_program(command)


def exit_on_signal(number: int, frame: object) -> None:
    """Exit on SIGTERM through every ``with`` block, so that no child process is left."""
    sys.exit(128 + number)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status, 0 only if everything was done."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if sys.version_info[:2] < PYTHON_NEEDED:
            needed = ".".join(map(str, PYTHON_NEEDED))
            running = f"{sys.executable} is {sys.version.split()[0]}"
            raise SetUpError(f"LiveTomo needs Python {needed} or newer; {running}")
        from commands.command_line import parse

        options = parse(argv)
        python = Checkout(ROOT).interpreter(options.extras, options.sufficient)
        if python is not None:
            return restart_with(python, argv)
        signal.signal(signal.SIGTERM, exit_on_signal)
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
