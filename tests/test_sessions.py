"""How the tests are run: in which sessions, and that a hang fails one test of many."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.sessions import run, sessions

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("options", [[], ["-x"], ["--durations", "10"], ["-q", "--tb=short"]])
def test_all_run_two_at_a_time_and_then_those_that_must_be_alone(options: list[str]) -> None:
    shared, alone = sessions(options)
    assert shared == ["-n", "2", "--dist", "worksteal", "-m", "not alone", *options]
    assert alone == ["-n", "1", "-m", "alone", "tests/test_contract.py", *options]


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
        ["--junitxml=results.xml"],
        ["--help"],
    ],
)
def test_a_choice_of_tests_is_one_session_as_it_is(options: list[str]) -> None:
    assert sessions(options) == [options]


@pytest.mark.parametrize(
    ("options", "statuses", "status"),
    [
        ([], [0, 0], 0),
        ([], [1, 0], 1),
        ([], [0, 1], 1),
        (["-x"], [1], 1),
        (["--maxfail=2"], [1], 1),
        ([], [2], 2),  # interrupted
        (["--no-such-option"], [4], 4),
        (["-k", "nothing"], [5], 5),
    ],
)
def test_one_session_that_fails_is_a_failure(
    options: list[str], statuses: list[int], status: int
) -> None:
    asked: list[Sequence[str]] = []

    def pytest_ends(arguments: Sequence[str]) -> int:
        asked.append(arguments)
        return statuses[len(asked) - 1]

    assert run(options, pytest_ends) == status
    assert len(asked) == len(statuses)


TESTS = """
import signal, time
def wait_for_the_end(): time.sleep(600)
def test_hangs():
    signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
    wait_for_the_end()
def test_others_run(): pass
"""
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


@posix
@pytest.mark.parametrize(
    ("blocked", "limit", "said"),
    [
        ("()", "timeout", "Failed: Timeout"),  # a wait in Python
        ("(signal.SIGALRM,)", "faulthandler_timeout", "crashed while running"),  # one outside of it
    ],
)
def test_hangs_print_their_stack_and_fail_one_test_each(
    blocked: str, limit: str, said: str, tmp_path: Path
) -> None:
    for name in ("one", "two"):  # of the workers of both files
        (tmp_path / f"test_{name}.py").write_text(TESTS.replace("BLOCKED", blocked))
    shared, _ = sessions(["-o", f"{limit}=1", "-p", "no:cacheprovider"])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", *shared, tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "2 failed, 2 passed" in done.stdout
    assert said in done.stdout
    assert "wait_for_the_end" in done.stdout + done.stderr
