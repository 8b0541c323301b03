"""How a process ends while its background threads are at work."""

import subprocess
import sys

PROGRAM = """
import threading, time
import cv2
import numpy as np
from runtime.scheduling import background
from runtime.scheduling.background import Background, resting

def slow():
    begun.set()
    for _ in range(300):
        cv2.GaussianBlur(np.zeros((300, 300, 3), np.uint8), (0, 0), 2)
    print("done")

def waiting():
    with resting():
        begun.set()
        threading.Event().wait()

def hanging():
    begun.set()
    threading.Event().wait()

begun = threading.Event()
{}
thread = Background("test")
thread.submit({})
thread.submit(print, "never begun")
assert begun.wait(60)
"""


def ends(work: str, before: str = "") -> str:
    """What a script prints that ends while a thread is at this work."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before, work)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_what_is_in_a_library_is_waited_for() -> None:
    """Python would unwind the thread when it comes back from C++, which can abort the process."""
    assert ends("slow") == "done\n"


def test_who_waits_for_others_is_not_waited_for() -> None:
    assert ends("waiting", "background._END_S = 1e9") == ""


def test_what_never_ends_holds_no_process() -> None:
    assert ends("hanging", "background._END_S = 0.1") == ""
