"""How ``launcher.py test`` runs the tests, and that a hang fails one test of many."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from commands.test import arguments

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "options", [[], ["-x"], ["--durations", "10"], ["-q", "--tb=short"], ["--junitxml=results.xml"]]
)
def test_all_run_two_at_a_time(options: list[str]) -> None:
    assert arguments(options) == ["-n", "2", "--dist", "worksteal", *options]


@pytest.mark.parametrize(
    "options",
    [
        ["tests/test_house.py"],
        ["-q", "tests/test_house.py::test_imports_go_one_way"],
        ["-k", "bead and not gp"],
        ["-kbead"],
        ["--lf"],
        ["-n", "4"],
        ["-x", "--pdb"],
        ["--help"],
    ],
)
def test_a_choice_of_tests_runs_as_it_is(options: list[str]) -> None:
    assert arguments(options) == options


TESTS = """
import signal, time
def wait_for_the_end(): time.sleep(600)
def test_hangs_in_python(): wait_for_the_end()
def test_hangs_outside_of_it():
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGALRM,))
    wait_for_the_end()
def test_others_run(): pass
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_hangs_print_their_stack_and_fail_one_test_each(tmp_path: Path) -> None:
    for name in ("one", "two"):  # of the workers of both files
        (tmp_path / f"test_{name}.py").write_text(TESTS)
    limits = ("-o", "timeout=1", "-o", "faulthandler_timeout=4")
    options = (*arguments(limits), "-p", "no:cacheprovider")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", *options, tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "4 failed, 2 passed" in done.stdout
    assert done.stdout.count("Failed: Timeout") >= 2
    assert done.stdout.count("crashed while running") >= 2
    assert "in wait_for_the_end" in done.stdout + done.stderr
