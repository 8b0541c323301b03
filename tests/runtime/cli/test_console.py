"""How a command ends: by an interruption, by a fault, and what it prints."""

import os
import signal
import subprocess
import sys

import pytest

from tests.test_imports import SCRIPTS

PROGRAM = """
import os, signal
from runtime.cli import console

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

def work():
    {}
    return 0

console.run("dmd-test", work)
"""
LOADING = """
    with console.loading("dmd-test"):
        try:
            interrupt()
        except BaseException:
            print("heard")
"""
LOST = """
    try:
        interrupt()
    except KeyboardInterrupt:
        print("lost")
    console.report("next stage")
"""
CLEANING = """
    try:
        interrupt()
    finally:
        interrupt()
        print("cleaned up")
"""
TRANSLATED = """
    try:
        interrupt()
    except KeyboardInterrupt:
        raise RuntimeError("somebody else's")
"""


@pytest.mark.parametrize(
    ("work", "printed"),
    [(LOADING, ""), (LOST, "lost\n"), (CLEANING, "cleaned up\n"), (TRANSLATED, "")],
)
def test_interrupted(work: str, printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(work.strip())], capture_output=True, text=True
    )
    assert done.stdout == printed
    assert done.stderr == "dmd-test: interrupted; no half-written file is left\n"
    assert done.returncode == 130


FAULTS = {
    "raise TypeError('one\\n two')": "TypeError: one two",
    "raise RecursionError": "RecursionError",
    "import json; json.loads('[' * 100000)": "RecursionError: maximum recursion depth exceeded",
}


def run(work: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.replace(
        "console.run", "console.Parser('dmd-test', '').parse_args()\nconsole.run"
    )
    return subprocess.run(
        [sys.executable, "-c", program.format(work), *words],
        capture_output=True,
        text=True,
        env=os.environ | more,
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_program_is_a_line(fault: str) -> None:
    done = run(fault)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"dmd-test: {FAULTS[fault]}")
    assert line.endswith(" (this is a bug: run again with --debug and report it)")


def test_debug_shows_the_traceback() -> None:
    done = run("raise TypeError('\\x1b[31m')", "--debug")
    assert done.returncode == 1
    first, *_, last = done.stderr.splitlines()
    assert first == "Traceback (most recent call last):"
    assert last.startswith(r"dmd-test: TypeError: \x1b[31m (this is a bug")
    assert "in work" in done.stderr
    assert "\x1b" not in done.stderr
    ours = run("from runtime import UsageError; raise UsageError('no')")
    assert ours.stderr == "dmd-test: no\n"


CRASHING = """
    import atexit, ctypes
    atexit.register(print, "atexit")
    library = ctypes.CDLL(None)
    library.__cxa_atexit(library.abort, None, None)  # what C++ does at the end crashes
    print("done", end=" ")
    {}
    return {}
"""


@pytest.mark.parametrize("code", [0, 1])
def test_libraries_need_not_clean_up(code: int) -> None:
    """As after Ray, whose threads still run then: a command that did its work ended by SIGSEGV."""
    done = run(CRASHING.strip().format("console.end_without_clean_up()", code))
    assert (done.returncode, done.stdout, done.stderr) == (code, "done atexit\n", "")
    assert run(CRASHING.strip().format("", code)).returncode == -signal.SIGABRT


EVIL = "a\\nforged: line\\x1b[2J\\u202e\\udcff"
SAFE = r"a\nforged: line\x1b[2J\u202e\udcff"


@pytest.mark.parametrize(
    "work",
    [
        f"console.say('{EVIL}')",
        f"console.say_above_bar('{EVIL}')",
        f"console.tell('{EVIL}')",
        f"console.report('{EVIL}')",
        f"import warnings; warnings.warn(DmdnetWarning('{EVIL}'))",
        f"raise UsageError('{EVIL}')",
        f"raise FileNotFoundError(2, 'gone', '{EVIL}')",
    ],
)
def test_nothing_from_outside_forges_a_line(work: str) -> None:
    done = run(f"from runtime import DmdnetWarning, UsageError; {work}")
    (line,) = (done.stdout + done.stderr).splitlines()
    assert SAFE in line


def test_what_libraries_log() -> None:
    work = "import logging; logging.getLogger('PIL').error('bad\\n tag \\x1b[2J')"
    assert run(work).stderr == ""
    assert run(work, "--debug").stderr == r"PIL: bad tag \x1b[2J" + "\n"


def test_words_of_the_command_line_are_escaped() -> None:
    done = run("pass", "--what\n\x1b[2J")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert r"--what\n\x1b[2J" in line


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_cannot_show_a_name(encoding: str) -> None:
    done = run("console.tell('東京 \\udcff'); console.say('東京')", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    shown = "東京" if encoding == "utf-8" else r"\u6771\u4eac"
    assert done.stdout == shown + r" \udcff" + "\n"
    assert done.stderr == shown + "\n"


@pytest.mark.parametrize("command", SCRIPTS)
def test_every_command_has_debug(command: str) -> None:
    module, function = SCRIPTS[command].split(":")
    code = (
        f"import sys; from {module} import {function} as f; sys.argv = [{command!r}, '--help']; f()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "--debug" in done.stdout
