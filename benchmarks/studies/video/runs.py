"""Runs of a clip in processes of their own, with an engine that needs no network."""

import signal
import subprocess
import sys
from pathlib import Path

from benchmarks.studies.video.engines import NegativeEngine
from benchmarks.suites.ceiling import NullEngine
from runtime import restore_video
from runtime.errors import BenchmarkError
from runtime.restorer import Restorer

_RUN = "import sys; from benchmarks.studies.video.runs import restore; restore(*sys.argv[1:])"
_ENGINES = {engine.description: engine for engine in (NullEngine, NegativeEngine)}


def restore(engine: str, bundle: str, source: str, target: str, resume: str) -> None:
    """Restore a clip; prints the frames that are done, and at the end those that were resumed."""
    with Restorer(bundle, engine=_ENGINES[engine]()) as restorer:
        report = restore_video(
            restorer,
            source,
            target,
            resume=resume == "resume",
            progress=lambda done, total, fps: print(done, flush=True),
        )
    print("resumed", report.resumed, flush=True)


def command(
    engine: type[NullEngine], bundle: Path, source: Path, target: Path, resume: bool = False
) -> list[str]:
    """The command line of `restore`."""
    words = [engine.description, str(bundle), str(source), str(target)]
    return [sys.executable, "-c", _RUN, *words, "resume" if resume else "anew"]


def run(words: list[str], kill_after: int | None = None) -> tuple[int, int]:
    """Run a command of `command` to its end, or kill it when so many frames are done.

    Returns the frames that were done, and those of them that were resumed. Raises `BenchmarkError`
    where it fails, or ends before it can be killed.
    """
    done = resumed = 0
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("resumed"):
                resumed = int(line.split()[1])
            else:
                done = int(line)
            if kill_after is not None and done >= kill_after:
                process.kill()  # what it had printed before is still read
    expected = 0 if kill_after is None else -signal.SIGKILL
    if process.returncode != expected:
        raise BenchmarkError(f"the run ended with {process.returncode}; see the lines above")
    return done, resumed
