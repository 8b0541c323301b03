"""Every command of README, CONTRIBUTING and docs runs, or stands here with the reason it does not.

The words of all of them, also of those in the text, are checked against the command's own parser.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from export.triton import local_server
from tests.conftest import ROOT
from tests.docs.blocks import HISTORY, PAGES, Block, blocks, commands, prose
from tests.docs.command_line import (
    MODULES,
    SCRIPTS,
    WrongWordsError,
    check,
    known_options,
    long_options,
    parser_of,
    simple_commands,
)
from tests.docs.conftest import NewFolder

LEFT_OUT = {
    "pip install": "installs packages; its extras are compared with pyproject.toml",
    "make ": "installs, or runs these tests; its rule must be in the Makefile",
    "pytest ": "runs these tests; its files and markers must be there",
    "python -m tests.": "hours of hostile inputs, or many interrupted exports",
    "python -m benchmarks.studies.endurance": "needs a GPU",
    "python -m benchmarks.studies.gpu": "needs a GPU",
    "tritonserver": "the server of NVIDIA's container",
    "dmd-restore archive.parquet": "needs an object store and a Ray cluster of several machines",
    "dmd-bench latency --bundle bundle --bundle bundle8 --threads 2": "measures for two minutes",
    "dmd-bench compare": "fails where this machine was slower in the second run",
    "dmd-bench all": "all suites in full and PyTorch, which takes too long",
}
"""How commands that no test runs begin, and why."""

SERVED = ("export.triton.local_server", "grpc://127.0.0.1:8001")
"""A server that is started here, and its address."""

LONG = {
    "dmd-demo": "exports a network, which takes 20 s",
    "dmd-export": "20 s, and two minutes with INT8",
    "bundle16": "has to be exported first",
    "bundle8": "has to be exported first",
    " compact ": "has to be exported first",
    "dmd-bench": "measures for a minute or more",
    "--ray": "starts a Ray cluster on this machine",
    SERVED[0]: "starts a server",
    SERVED[1]: "needs that server",
}
"""What commands hold that run with the long tests only, and why."""

OTHERS = {
    "--backend-config": "tritonserver",
    "--grpc-server-cert": "tritonserver",
    "--grpc-server-key": "tritonserver",
    "--grpc-use-ssl": "tritonserver",
    "--ipc": "docker",
    "--log-verbose": "tritonserver",
    "--trace-config": "tritonserver",
}
"""Options in the text that are not of our commands, and whose they are."""

COMMANDS = [
    (block, command.removeprefix(".venv/bin/"))
    for page in PAGES
    for block in blocks(page, "sh")
    for command in commands(block)
]


def _is_long(command: str) -> bool:
    return any(part in command for part in LONG)


RUN = [(block, command) for block, command in COMMANDS if not command.startswith(tuple(LEFT_OUT))]
LONG_PAGES, QUICK_PAGES = (
    sorted({block.page for block, command in RUN if _is_long(command) == long})
    for long in (True, False)
)


@pytest.mark.parametrize("page", QUICK_PAGES)
def test_quick_commands_run(page: str, new_folder: NewFolder) -> None:
    folder = new_folder()
    for block, command in RUN:
        if block.page == page and not _is_long(command):
            _run(block, command, folder)


@pytest.mark.long
@pytest.mark.parametrize("page", LONG_PAGES)
def test_whole_pages_run(page: str, new_folder: NewFolder, ran: dict[str, Path]) -> None:
    """In their order on the page; what is long and in the same words is run once for all pages."""
    folder = new_folder(int8=True)
    ready_made = {path.name for path in folder.iterdir()}
    no_server = local_server.missing() or _port_in_use(8001)
    left_out = []
    with ExitStack() as servers:
        for block, command in RUN:
            if block.page != page:
                continue
            served = any(part in command for part in SERVED)
            out = _out(command) if command.startswith("dmd-export ") else None
            if out in ready_made:
                shutil.rmtree(folder / out)  # a reader has none yet
                ready_made.remove(out)
            if served and no_server:
                left_out.append(command)
            elif SERVED[0] in command:
                servers.enter_context(_served(command, folder))
            elif command not in ran:
                _run(block, command, folder)
                if _is_long(command) and not served:
                    ran[command] = folder
            elif out:
                shutil.copytree(ran[command] / out, folder / out)
    if left_out:
        pytest.skip(f"{no_server}: all ran but {'; '.join(left_out)}")


@pytest.fixture(scope="module")
def ran() -> dict[str, Path]:
    """The long commands that have run, and where."""
    return {}


def test_the_words_of_commands() -> None:
    wrong = []
    for block, command in COMMANDS:
        for words in simple_commands(command):
            try:
                check(words)
            except WrongWordsError as error:
                wrong.append(f"{block}: {command}: {error}")
    assert not wrong, "\n".join(wrong)


def test_the_words_of_commands_in_the_text() -> None:
    """They may leave out arguments, and have words in capital letters in the place of values."""
    unfinished = r"arguments are required|expected one argument|'[A-Z]+'"
    wrong = []
    for page, span in _code_in_text():
        command = " ".join(word for word in span.split() if word != "...")
        if not re.match(r"(dmd-\w|python -m |pip |make |pytest )", command) or command[-1] == ".":
            continue
        for words in simple_commands(command):
            try:
                check(words)
            except WrongWordsError as error:
                if not re.search(unfinished, str(error)):
                    wrong.append(f"{page}: `{span}`: {error}")
    assert not wrong, "\n".join(wrong)


def test_options_in_the_text_exist() -> None:
    known = set(OTHERS)
    for command in (*((name,) for name in (*SCRIPTS, *MODULES)), ("dmd-bench", "compare")):
        known |= known_options(parser_of(command))
    wrong = [
        f"{page}: `{span}`: {option}"
        for page, span in _code_in_text()
        if not re.match(r"(python -m )?(pip|pytest) ", span)
        for option in long_options(span.split())
        if option not in known
    ]
    assert not wrong, "\n".join(wrong)


def test_no_reason_is_left_of_a_command_that_is_gone() -> None:
    gone = [begin for begin in LEFT_OUT if not any(text.startswith(begin) for _, text in COMMANDS)]
    gone += [part for part in LONG if not any(part in text for _, text in RUN)]
    mentioned = {name for _, span in _code_in_text() for name in long_options(span.split())}
    assert gone + [option for option in OTHERS if option not in mentioned] == []


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("dmd-restore photo.jpg --bundle bundle --out restored --sharpen", "--sharpen"),
        ("dmd-restore photo.jpg --bundle bundle --out restored --upscale 3", "--upscale"),
        ("dmd-restore photo.jpg --bundle bundle --out restored --res", "--res"),  # for --resume
        ("dmd-export --fp8", "--fp8"),
        ("dmd-bench speed --bundle bundle", "speed"),
        ("dmd-bench compare old.json", "new"),
        ("dmd-sharpen", "dmd-sharpen"),
        ("python -m benchmarks.int8 --json FILE", "benchmarks.int8"),
        ("python -m tests.fuzz --hours 1", "--hours"),
        ("true | pip install '.[cpu,gpus]'", "gpus"),
        ("A=b make tests", "tests"),
        ("python -m pytest -m 'not soaked' tests/docs", "soaked"),
        ("pytest tests/no.py", "tests/no.py"),
    ],
)
def test_wrong_words_are_found(command: str, complaint: str) -> None:
    *_, last = simple_commands(command)
    with pytest.raises(WrongWordsError, match=re.escape(complaint)):
        check(last)


def _out(export: str) -> str:
    """The folder that a `dmd-export` command writes."""
    [words] = simple_commands(export)
    arguments = check(words)
    assert arguments is not None
    return str(arguments.out)


def _run(block: Block, command: str, folder: Path) -> None:
    """Run a command in a reader's shell."""
    ran = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=1200,
    )
    said = f"{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
    assert ran.returncode == 0, f"{block}: {command}\n{said}"


@contextmanager
def _served(command: str, folder: Path) -> Iterator[None]:
    """A server that stands in another shell, and is interrupted at the end."""
    with subprocess.Popen(
        ["bash", "-c", f"exec {command}"],
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            assert any("is ready" in line for line in server.stdout)
            yield
            server.send_signal(signal.SIGINT)
            assert server.wait(60) == 0
        finally:
            server.terminate()


def _environment() -> dict[str, str]:
    """Our commands are found, and work on the weights that come with the package."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "DMDNET_CHECKPOINT": "compact"}


def _port_in_use(port: int) -> str | None:
    with socket.socket() as probe:
        return f"port {port} is in use" if not probe.connect_ex(("127.0.0.1", port)) else None


def _code_in_text() -> list[tuple[str, str]]:
    """Page and text of each piece of code in the running text."""
    return [
        (page, " ".join(span.split()))
        for page in PAGES
        if page != HISTORY
        for span in re.findall(r"`([^`]+)`", prose(page))
    ]
