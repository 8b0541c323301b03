"""How a command ends when it is interrupted."""

import subprocess
import sys

import pytest

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
    assert done.stderr == "dmd-test: interrupted; nothing half written is left\n"
    assert done.returncode == 130
