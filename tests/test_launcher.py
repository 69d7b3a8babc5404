"""The set-up, on a small project whose only requirement is a local wheel; the command line."""

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import launcher
from acquisition.configuration.sections import ReconstructionSection
from commands import NAMES
from commands.command_line import parse
from commands.options import TENSOR_PACKAGES
from commands.reconstruct import RECONSTRUCTION
from launcher import Checkout, PipProgress, SetUpError, locked, main, satisfies, unsatisfied
from reconstruction.settings import ReconstructionSettings
from ui.display import display_problem, virtual_display

ROOT = Path(__file__).resolve().parents[1]
NONE: frozenset[str] = frozenset()
STARTED = 7  # the exit status of the small project's launcher

PYPROJECT = """
[project]
name = "small"
version = "0"
dependencies = ["livetomo-brick>=1.0,<2"]
[project.optional-dependencies]
test = ["livetomo-brick>=1.1"]
"""
STARTER = f"""
import sys, livetomo_brick
print("started", livetomo_brick.VERSION, *sys.argv[1:])
sys.exit({STARTED})
"""


def write_wheel(folder: Path, version: str) -> None:
    """Write the wheel of a package with one module that holds its version."""
    info = f"livetomo_brick-{version}.dist-info"
    files = {
        "livetomo_brick.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: livetomo-brick\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"livetomo_brick-{version}-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)


@dataclass(frozen=True)
class Project:
    """A small checkout, which can be started in another process."""

    root: Path

    @property
    def checkout(self) -> Checkout:
        return Checkout(self.root)

    def constrain(self, version: str) -> None:
        (self.root / "constraints.txt").write_text(f"livetomo-brick=={version}\n", "utf-8")

    @property
    def environment(self) -> Mapping[str, str]:
        wheels = str(self.root / "wheels")
        pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": wheels, "PIP_CONFIG_FILE": os.devnull}
        return os.environ | pip | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    def start(self, *argv: str) -> "subprocess.Popen[str]":
        """Start the launcher on this project as a user would."""
        code = "import launcher, pathlib, sys; launcher.ROOT = pathlib.Path.cwd()"
        command = [sys.executable, "-Pc", f"{code}; sys.exit(launcher.main())", *argv]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.root, env=self.environment, stdout=pipe, stderr=pipe, text=True
        )

    def run(self, *argv: str) -> tuple[int, str, str]:
        """Return the exit status, standard output and standard error."""
        with self.start(*argv) as process:
            output, errors = process.communicate()
        return process.returncode, output, errors


@dataclass(frozen=True)
class FirstStarts:
    """The first start of a project, which Ctrl-C ended, and the next one."""

    project: Project
    began: tuple[str, str] = ("", "")  # the first lines of the one that was interrupted
    said_last: tuple[str, ...] = ()
    interrupted: int = 0  # its status
    was_ready: bool = False
    finished: tuple[int, str, str] = (0, "", "")


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> FirstStarts:
    """Start a small project twice; Python is missing from the .venv that the second one finds."""
    project = Project(tmp_path_factory.mktemp("small").resolve())
    (project.root / "wheels").mkdir()
    for version in ("1.0", "1.1"):
        write_wheel(project.root / "wheels", version)
    (project.root / "pyproject.toml").write_text(PYPROJECT, "utf-8")
    (project.root / "launcher.py").write_text(STARTER, "utf-8")
    project.constrain("1.0")
    if os.name == "nt":  # there are no POSIX signals
        return FirstStarts(project, finished=project.run("doctor"))
    with project.start("doctor") as process:
        assert process.stderr is not None
        began = process.stderr.readline(), process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said_last = tuple(process.stderr.read().splitlines()[-2:])
    was_ready = project.checkout.is_ready(NONE)
    project.checkout.python.unlink(missing_ok=True)
    project.checkout.python.parent.mkdir(parents=True, exist_ok=True)
    project.checkout.python.with_name("left").touch()
    finished = project.run("doctor")
    return FirstStarts(project, began, said_last, process.returncode, was_ready, finished)


@pytest.fixture(scope="module")
def made(starts: FirstStarts) -> Project:
    """Return a small project that is set up."""
    status, _, errors = starts.finished
    assert status == STARTED, errors
    return starts.project


@pytest.fixture
def project(made: Project, tmp_path: Path) -> Iterator[Project]:
    """Return a copy of that project, for tests that damage it."""
    copy_project(made.root, tmp_path / "copy")
    copy = Project((tmp_path / "copy").resolve())
    # the digest tells environments apart by their Python; on Windows that is in .venv
    assert os.name == "nt" or copy.checkout.is_ready(NONE)
    yield copy
    shutil.rmtree(copy.root)


def copy_project(root: Path, copy: Path) -> None:
    """Copy a project; pip, two thousand files that no test touches, is shared where it can be."""
    found = () if os.name == "nt" else root.glob(".venv/lib/*/site-packages/pip")
    shared = {str(path.parent): path for path in found}

    def left_out(folder: str, names: list[str]) -> list[str]:
        return ["pip"] if folder in shared and "pip" in names else []

    shutil.copytree(root, copy, symlinks=True, ignore=left_out)
    for path in shared.values():
        (copy / path.relative_to(root)).symlink_to(path)


# ---- Set-up --------------------------------------------------------------------------------------


def test_a_set_up_prints_nothing_among_the_results(starts: FirstStarts) -> None:
    status, output, errors = starts.finished
    assert status == STARTED, errors
    assert errors.startswith("Setting up")
    assert "Installing packages: 1 of 1, livetomo-brick" in errors or "Looking for" in errors
    assert output == "started 1.0 doctor\n"  # and nothing else: it may be JSON


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_is_survived_and_a_venv_without_its_python_is_made_again(
    starts: FirstStarts,
) -> None:
    assert "Setting up" in starts.began[0] and "Creating" in starts.began[1]
    assert starts.said_last == ("", "launcher.py: interrupted")
    assert starts.interrupted == 130
    assert not starts.was_ready
    assert "Creating" in starts.finished[2]
    assert not starts.project.checkout.python.with_name("left").exists()
    assert starts.project.checkout.is_ready(NONE)


def test_a_later_start_does_no_set_up(project: Project) -> None:
    before = project.checkout.log.stat().st_mtime_ns
    assert project.run("record", "--stacks", "1", "-o", "x.h5") == (
        STARTED,
        "started 1.0 record --stacks 1 -o x.h5\n",
        "",
    )
    assert project.checkout.log.stat().st_mtime_ns == before


def test_an_interrupted_set_up_is_repaired(project: Project) -> None:
    # as Ctrl-C leaves it while pip copies files: no finished stamp, half a package
    checkout = project.checkout
    checkout.write_stamp("", NONE)
    (module,) = checkout.venv.rglob("livetomo_brick.py")
    module.unlink()
    (installer,) = checkout.venv.rglob("livetomo_brick-*.dist-info/INSTALLER")
    installer.unlink()
    status, output, errors = project.run("doctor")
    assert status == STARTED, errors
    assert errors.startswith("Setting up")
    assert output == "started 1.0 doctor\n"
    assert checkout.is_ready(NONE)


def test_changed_constraints_are_followed_and_extras_are_kept(project: Project) -> None:
    project.checkout.write_stamp(project.checkout.digest(), frozenset({"test"}))
    assert project.run("doctor")[:2] == (STARTED, "started 1.0 doctor\n")
    project.constrain("1.1")
    status, output, errors = project.run("doctor")
    assert (status, output.splitlines()[-1]) == (STARTED, "started 1.1 doctor"), errors
    assert project.checkout.is_ready(frozenset({"test"}))


def test_what_tools_are_told_changes_no_environment(project: Project) -> None:
    file = project.root / "pyproject.toml"
    file.write_text(PYPROJECT + "\n[tool.ruff]\nline-length = 100\n", "utf-8")
    assert project.checkout.is_ready(NONE)
    file.write_text(PYPROJECT.replace("brick>=1.0", "brick>=1.1"), "utf-8")
    assert not project.checkout.is_ready(NONE)


def test_a_failure_says_what_to_do_and_is_not_taken_for_done(project: Project) -> None:
    (project.root / "pyproject.toml").write_text(PYPROJECT.replace("brick>=1.0", "mortar>=1"))
    status, _, errors = project.run("doctor")
    assert status == 1
    assert "No matching distribution found for livetomo-mortar" in errors
    assert "check the network" in errors
    assert str(project.checkout.log) in errors
    assert "Traceback" not in errors
    assert not project.checkout.is_ready(NONE)


def test_a_second_set_up_waits_for_the_first(project: Project) -> None:
    project.checkout.write_stamp("", NONE)
    with locked(project.checkout.work / "lock"):
        process = project.start("doctor")
        assert process.stderr is not None
        assert "waiting" in process.stderr.readline()
        project.checkout.write_stamp(project.checkout.digest(), NONE)  # the first is done
    output, errors = process.communicate()
    assert (process.returncode, output) == (STARTED, "started 1.0 doctor\n"), errors


def test_an_environment_of_the_user_is_used_as_it_is(project: Project) -> None:
    checkout = project.checkout
    checkout.stamp.unlink()  # made by another tool: no stamp, but it has what is needed
    code = (
        "import launcher, pathlib; print(launcher.Checkout(pathlib.Path.cwd()).interpreter(set()))"
    )
    command = [str(checkout.python), "-Pc", code]
    result = subprocess.run(
        command, cwd=project.root, env=project.environment, capture_output=True, text=True
    )
    assert (result.stdout, result.stderr) == ("None\n", "")


def test_an_environment_of_the_user_that_lacks_something_is_left_alone(project: Project) -> None:
    # the tests' own environment is active here and has no livetomo-brick
    assert project.checkout.interpreter(NONE) == project.checkout.python


def test_a_gpu_server_s_own_packages_are_enough_for_what_needs_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is set up if they are there, in any version."""
    (tmp_path / "pyproject.toml").write_text(PYPROJECT, "utf-8")
    (tmp_path / "constraints.txt").write_text("livetomo-brick==1.0\n", "utf-8")
    asked: list[frozenset[str]] = []
    monkeypatch.setattr(Checkout, "set_up", lambda _, extras: asked.append(extras))
    checkout = Checkout(tmp_path)
    assert checkout.interpreter(NONE, TENSOR_PACKAGES) is None
    assert "in the versions that it has" in capsys.readouterr().err
    assert asked == []
    assert checkout.interpreter(NONE, ("torch", "livetomo-brick")) == checkout.python
    assert asked == [NONE]
    sufficient = {name: parse([name]).sufficient for name in ("train", "evaluate", "doctor")}
    assert sufficient == {"train": TENSOR_PACKAGES, "evaluate": sufficient["train"], "doctor": ()}


def test_a_stamp_that_is_none_or_old_is_not_believed(project: Project) -> None:
    for stamp in ("", "{", "[]", '{"digest": "x"}', '{"digest": "old", "extras": []}'):
        project.checkout.stamp.write_text(stamp, "utf-8")
        assert not project.checkout.is_ready(NONE), stamp


def test_pip_output_becomes_one_line(tmp_path: Path) -> None:
    progress = PipProgress(tmp_path)
    assert progress("") == "Looking for packages"
    assert progress("Collecting torch==2.13.0\n") == "Looking for packages: 1, torch"
    downloading = "  Downloading torch-2.13.0-cp311-cp311-linux_x86_64.whl (191.1 MB)\n"
    expected = "Looking for packages: 1, downloading torch (191.1 MB)"
    assert progress(f"{downloading}     ---- 191.1/191.1 MB\n") == expected
    assert progress("Installing collected packages: mpmath, sympy, torch\n").endswith("3, mpmath")
    for name, line in (("mpmath", "2 of 3, sympy"), ("sympy", "3 of 3, torch"), ("torch", "torch")):
        (tmp_path / f"{name}-1.dist-info").mkdir()
        (tmp_path / f"{name}-1.dist-info" / "INSTALLER").touch()
        assert progress("").endswith(line)


# ---- Requirements --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "rules", "expected"),
    [
        ("2.13.0+cpu", "==2.13.0", True),
        ("2.13", "==2.13.0", True),
        ("2.13.1", "==2.13.0", False),
        ("6.11.3", ">=6.10.3,<6.12", True),
        ("6.12.0", ">=6.10.3,<6.12", False),
        ("6.9", ">=6.10.3, <6.12", False),
        ("10.0", ">9,!=10.1,<=10", True),
        ("10.1", ">9,!=10.1", False),
        ("75.20261014.post1", "", True),
    ],
)
def test_version_rules(version: str, rules: str, expected: bool) -> None:
    assert satisfies(version, rules) is expected


def test_what_is_missing_is_named() -> None:
    assert unsatisfied(["pytest>=9", "pytest>=900", "no-such-brick"]) == [
        "pytest>=900",
        "no-such-brick",
    ]


def test_a_requirement_with_a_marker_is_refused() -> None:
    with pytest.raises(SetUpError, match=r"without a marker; got .pytest; os_name"):
        unsatisfied(["pytest; os_name == 'nt'"])


def test_an_old_python_is_told_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launcher, "PYTHON_NEEDED", (9, 0))
    assert main(["doctor"]) == 1
    assert "needs Python 9.0 or newer" in capsys.readouterr().err


# ---- Command line --------------------------------------------------------------------------------


def run_launcher(*argv: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, ROOT / "launcher.py", *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "command", [[], *([name] for name in NAMES)], ids=lambda words: "".join(words)
)
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main([*command, "--help"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out.startswith("usage: launcher.py")


@pytest.mark.parametrize(
    "argv",
    [
        ["no-such-command"],
        ["record", "-o", "x.h5"],
        ["record", "--stacks", "many", "-o", "x.h5"],
        ["reconstruct", "x.h5"],
        ["reconstruct", "x.h5", "-o", "y.h5", "--regularizer", "magic"],
        ["live", "--device", "abacus"],
    ],
)
def test_usage_errors_end_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(argv)
    assert leaving.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["reconstruct", "no-such.h5", "-o", "no-such-out.h5"], "no-such.h5"),
        (["record", "--microscope", "no.toml", "--stacks", "1", "-o", "no-such-out.h5"], "no.toml"),
    ],
)
def test_what_is_refused_is_one_line(
    argv: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("launcher.py: ") and errors.count("\n") == 1
    assert expected in errors


def test_a_refusal_is_the_only_line_of_the_process() -> None:
    result = run_launcher("benchmark", "no-such")
    assert result.returncode == 1
    assert result.stderr.startswith("launcher.py: ")
    assert "no-such" in result.stderr
    assert "Traceback" not in result.stderr


def test_options_of_the_tests_go_to_pytest(tmp_path: Path) -> None:
    file = tmp_path / "test_two.py"
    file.write_text("def test_holds(): pass\ndef test_fails(): assert not 'a reason'\n", "utf-8")
    result = run_launcher("test", "-p", "no:cacheprovider", "--tb=no", file)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "1 failed, 1 passed" in result.stdout
    assert "def test_fails" not in result.stdout


def test_doctor_tells_what_works_here() -> None:
    result = run_launcher("doctor", "--json")  # beside Qt applications of other tests a core fails
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert set(found) == {"python", "packages", "compute", "display", "disk", "devices"}
    assert not [topic for topic, values in found.items() if "error" in values]
    assert found["packages"]["torch==2.13.0"].startswith("2.13.0")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_is_left_to_the_command() -> None:
    # the terminal sends it to both; the command tidies up and its status is passed on
    child = """
import sys, time
try:
    print("up", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    sys.exit(5)
"""
    starting = f"run_program([sys.executable, '-c', {child!r}])"
    code = f"import sys; from commands.run_program import run_program; sys.exit({starting})"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        os.killpg(process.pid, signal.SIGINT)
    assert process.returncode == 5


# ---- Display -------------------------------------------------------------------------------------


@pytest.fixture
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)


linux = pytest.mark.skipif(sys.platform != "linux", reason="Windows and macOS have a display")


@linux
@pytest.mark.usefixtures("no_display")
def test_a_display_that_does_not_answer_is_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "neither" in str(display_problem())
    monkeypatch.setenv("DISPLAY", ":4321")
    assert "DISPLAY=:4321" in str(display_problem())


@linux
@pytest.mark.skipif(not shutil.which("Xvfb"), reason="Xvfb is not installed")
@pytest.mark.usefixtures("no_display")
def test_a_virtual_display_lasts_as_long_as_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    with virtual_display() as environment:
        monkeypatch.setenv("DISPLAY", environment["DISPLAY"])
        assert display_problem() is None
        with virtual_display() as inner:
            assert inner["DISPLAY"] == environment["DISPLAY"]
    assert "no X server" in str(display_problem())


@linux
@pytest.mark.usefixtures("no_display")
def test_live_without_a_display_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["live"]) == 1
    assert "live needs a window" in capsys.readouterr().err


def test_what_is_named_again_for_the_command_line_is_all_there_is() -> None:
    """The parser does not import tensor code; microscope.toml is read without it."""
    fields = list(ReconstructionSettings.__dataclass_fields__)
    assert sorted(RECONSTRUCTION) == sorted(fields)
    assert sorted(ReconstructionSection.model_fields) == sorted(fields)
