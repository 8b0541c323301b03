"""Running one of our commands in this process."""

import atexit
import gc
import io
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from unittest import mock

from tests.fuzz.rule import unclean

COMMANDS = {
    "dmd-restore": "runtime.cli.restore",
    "dmd-enroll": "runtime.cli.enroll",
    "dmd-people": "runtime.cli.people",
    "dmd-triton": "export.cli.triton",
}


def call(words: Sequence[str], folder: Path) -> int:
    """The exit code of a command that works in `folder`; what it printed must be clean lines."""
    main = import_module(COMMANDS[words[0]]).main
    out = io.StringIO()
    here, show = Path.cwd(), warnings.showwarning
    os.chdir(folder)
    try:
        with (
            mock.patch.object(sys, "argv", list(words)),
            # this process goes on
            mock.patch.object(gc, "freeze"),
            mock.patch.object(atexit, "_run_exitfuncs"),
            mock.patch.object(os, "_exit", sys.exit),
            redirect_stdout(out),
            redirect_stderr(out),
        ):
            main()
    except SystemExit as end:
        code = end.code
    else:
        raise AssertionError("a command that does not end by itself")
    finally:
        os.chdir(here)
        warnings.showwarning = show
    assert isinstance(code, int), f"exit code {code!r}"
    lines = [line for line in out.getvalue().split("\n") if line.strip()]
    for line in lines:
        wrong = unclean(line)
        assert wrong is None, f"a line with {wrong}"
        assert "this is a bug" not in line, line[:200]
    assert code == 0 or lines, "a failure without a word"
    return code
