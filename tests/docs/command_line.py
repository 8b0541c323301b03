"""Checking the words of a command without running it: by its own parser, and by our files."""

import re
import shlex
import sys
import tomllib
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

from runtime.cli import console
from tests.conftest import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SCRIPTS: dict[str, str] = PROJECT["project"]["scripts"]
STUDIES = tuple(
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for file in sorted(ROOT.glob("benchmarks/studies/**/*.py"))
    if "def main()" in file.read_text(encoding="utf-8")
)
MODULES = (
    *STUDIES,
    "export.triton.local_server",
    "tests.export.interruptions",
    "tests.fuzz",
)
"""What `python -m` runs with arguments of its own."""

_WITHOUT_ARGUMENTS = ("runtime.bundle.schema",)


class WrongWordsError(Exception):
    """A command of a page that its program would refuse; the text says why."""


def simple_commands(line: str) -> list[list[str]]:
    """The words of each command of a line of shell, without assignments and redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    redirected = False
    for word in lexer:
        if set(word) <= set("|&;()"):
            found.append([])
        elif redirected or set(word) <= set("<>"):
            redirected = not redirected
        elif found[-1] or not re.match(r"\w+=", word):
            found[-1].append(word)
    return [words for words in found if words]


def check(words: Sequence[str]) -> Namespace | None:
    """Check the words of a simple command: the arguments of one of ours, None for other programs.

    Raises `WrongWordsError` for what one of our commands, `pip install`, `make` or `pytest` would
    refuse. Other programs are not known.
    """
    program, *rest = Path(words[0]).name, *words[1:]
    if program == "python" and rest[:1] == ["-m"]:
        return _check_module(rest[1], rest[2:])
    if program.startswith("dmd-"):
        return _arguments([program, *rest])
    if program in ("pip", "make", "pytest"):
        {"pip": _check_pip, "make": _check_make, "pytest": _check_pytest}[program](rest)
    return None


def _check_module(name: str, rest: Sequence[str]) -> Namespace | None:
    top = name.partition(".")[0]
    if find_spec(top) is None:
        raise WrongWordsError(f"there is no module {name}")
    if name in MODULES:
        return _arguments([name, *rest])
    if (ROOT / top).is_dir() and (rest or name not in _WITHOUT_ARGUMENTS):
        raise WrongWordsError(f"python -m {name} does not take these arguments, or is not there")
    return check([name, *rest])  # pytest, pip


def parser_of(words: Sequence[str]) -> ArgumentParser:
    """The parser of one of our commands or modules, which may depend on the first argument."""
    return _parser_and_arguments(words)[0]


class _Found(BaseException):
    """Stops a command where it would parse its arguments."""


def _parser_and_arguments(words: Sequence[str]) -> tuple[ArgumentParser, Sequence[str]]:
    seen: list[tuple[ArgumentParser, Sequence[str]]] = []

    def stop(parser: ArgumentParser, arguments: Sequence[str] | None = None) -> NoReturn:
        seen.append((parser, sys.argv[1:] if arguments is None else arguments))
        raise _Found

    main = _main(words[0])
    with (
        mock.patch.object(sys, "argv", list(words)),
        mock.patch.object(ArgumentParser, "parse_args", stop),
        mock.patch.object(console, "run", lambda _, work: work()),
    ):
        try:
            main()
        except _Found:
            return seen[0]
    raise AssertionError(f"{words[0]} worked without parsing its arguments")


def _main(name: str) -> Callable[[], object]:
    if name in SCRIPTS:
        module, _, function = SCRIPTS[name].partition(":")
    elif name in MODULES:
        package = (ROOT / name.replace(".", "/")).is_dir()
        module, function = f"{name}.__main__" if package else name, "main"
    else:
        raise WrongWordsError(f"there is no command {name}")
    main: Callable[[], object] = getattr(import_module(module), function)
    return main


def _arguments(words: Sequence[str]) -> Namespace:
    """The arguments as the command would take them; an abbreviated option is refused, too."""
    parser, arguments = _parser_and_arguments(words)
    for option in long_options(arguments):
        if option not in known_options(parser):
            raise WrongWordsError(f"{words[0]} has no option {option}")
    said = StringIO()
    try:
        with (
            redirect_stdout(said),
            redirect_stderr(said),
            mock.patch.object(console, "_debug", False),
        ):
            return parser.parse_args(arguments)
    except SystemExit as end:
        if end.code:
            raise WrongWordsError(said.getvalue().strip()) from None
        return Namespace()  # of --help and --version


def long_options(words: Sequence[str]) -> list[str]:
    """The long options among words, without their values."""
    return [word.partition("=")[0] for word in words if re.match(r"--\w", word)]


def known_options(parser: ArgumentParser) -> set[str]:
    """All options that a parser knows, `--help` among them."""
    return {option for action in parser._actions for option in action.option_strings}


def _check_pip(words: Sequence[str]) -> None:
    """The extras of `'.[...]'` are ours."""
    extras = PROJECT["project"]["optional-dependencies"]
    for word in words:
        match = re.fullmatch(r"(?:\.|dmdnet-runtime)\[(.*)\]", word)
        for extra in match[1].split(",") if match else ():
            if extra not in extras:
                raise WrongWordsError(f"there is no extra {extra}")
        if Path(word).suffix == ".txt" and not (ROOT / word).is_file():
            raise WrongWordsError(f"there is no file {word}")


def _check_make(words: Sequence[str]) -> None:
    rules = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for word in words:
        if "=" not in word and word not in rules:
            raise WrongWordsError(f"the Makefile has no rule {word}")


def _check_pytest(words: Sequence[str]) -> None:
    """Files and markers are there."""
    markers = [
        each.partition(":")[0] for each in PROJECT["tool"]["pytest"]["ini_options"]["markers"]
    ]
    for before, word in zip(("", *words), words, strict=False):
        if before == "-m":
            named = set(re.findall(r"\w+", word)) - {"not", "and", "or"}
            if unknown := named - set(markers):
                raise WrongWordsError(f"there is no marker {', '.join(sorted(unknown))}")
        elif word.startswith("tests/") and not (ROOT / word.partition("::")[0]).exists():
            raise WrongWordsError(f"there is no file {word}")
