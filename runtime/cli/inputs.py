"""From command-line arguments to picture files and their landmark files."""

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.backends.triton.address import AUTHORIZATION, Remote, is_server_address
from runtime.errors import UsageError
from runtime.machine.tensorrt_editions import DEVICES

if TYPE_CHECKING:
    from runtime.restorer import Restorer


def add_common_arguments(parser: ArgumentParser) -> None:
    """The options that every command with pictures and a bundle has."""
    parser.add_argument(
        "--bundle",
        required=True,
        type=_bundle,
        metavar="DIR|URL",
        help="folder made by dmd-export, or a server: grpc://HOST:PORT/MODEL (docs/triton.md)",
    )
    parser.add_argument(
        "--landmarks",
        type=Path,
        metavar="DIR|FILE",
        help="for aligned faces: 68 lines `x y`; in a folder named IMAGE.txt (default: IMAGE.txt "
        "beside a picture if it is there; else faces are found)",
    )
    parser.add_argument(
        "--max-pixels",
        type=positive,
        metavar="N",
        help="refuse pictures that declare more; one of 16 bits counts twice (default: 150000000)",
    )
    parser.add_argument(
        "--max-bytes",
        type=positive,
        metavar="N",
        help="refuse picture files that are larger (default: 1073741824, which is 1 GiB)",
    )
    parser.add_argument("--device", choices=("auto", *DEVICES), default="auto")
    parser.add_argument(
        "--no-fallback",
        action="store_true",
        help=f"with --device auto: {DEVICES[0]} or an error, in place of the best that is there",
    )
    parser.add_argument("--threads", type=positive, help="CPU threads")
    server = parser.add_argument_group(
        "with a server", f"{AUTHORIZATION} in the environment is its authorization header"
    )
    server.add_argument(
        "--remote-timeout",
        type=partial(number, below=86400, what="seconds"),
        metavar="S",
        help="for one engine call (default: 30)",
    )
    server.add_argument(
        "--remote-ca", type=Path, metavar="FILE", help="PEM: who signed its certificate (grpcs)"
    )


def open_restorer(args: Namespace) -> "Restorer":
    """The Restorer that the common arguments name."""
    from runtime.restorer import Restorer

    return Restorer(
        args.bundle,
        remote=server_of(args),
        device=args.device,
        allow_fallback=not args.no_fallback,
        threads=args.threads,
    )


def server_of(args: Namespace) -> Remote | None:
    """How to talk to the server, if `--bundle` is one."""
    given = {"timeout": args.remote_timeout, "ca": args.remote_ca}
    named = {name: value for name, value in given.items() if value is not None}
    if not is_server_address(args.bundle):
        if named:
            raise UsageError("--remote-timeout and --remote-ca go with a server's address")
        return None
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what fails is said by us, in one line
    return Remote(authorization=os.environ.get(AUTHORIZATION), **named)


def picture_files(arguments: Sequence[str]) -> list[str]:
    """Files and URLs as given, the pictures of folders, what globs match; each once.

    Raises `InvalidImageError` for an argument that gives nothing.
    """
    return list(dict.fromkeys(file for each in arguments for file in _files(each)))


def _files(argument: str) -> list[str]:
    from runtime.images.files import SUFFIXES
    from runtime.storage.locations import is_url, matches

    try:
        return matches(argument, SUFFIXES)
    except OSError:
        if is_url(argument) or _is_folder(argument):
            raise
        return [argument]  # what is wrong with this one is said where it is read


def _is_folder(argument: str) -> bool:
    try:
        return Path(argument).is_dir()
    except OSError:  # a name that is too long, or in a folder that may not be looked into
        return False


def _bundle(text: str) -> str | Path:
    return text if is_server_address(text) else Path(text)


def positive(text: str) -> int:
    """An argument that is a whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def number(text: str, below: float, what: str) -> float:
    """An argument over 0 and under `below`; `what` is its unit, for the message."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < below:
        raise ArgumentTypeError(f"{text!r} is not a number of {what} between 0 and {below:g}")
    return value


def refuse_in_bundle(option: str, file: Path, bundle: str | Path) -> None:
    """Raise `UsageError` for a file to be written in the bundle's folder."""
    folders = (folder for folder in file.resolve().parents if folder.exists())
    if isinstance(bundle, Path) and bundle.exists() and any(map(bundle.samefile, folders)):
        raise UsageError(f"{option} {file} lies in the bundle: choose another place")


def check_landmark_file(landmarks: Path | None, pictures: int) -> None:
    """Raise `UsageError` for one landmark file for many pictures."""
    if landmarks is not None and landmarks.is_file() and pictures > 1:
        raise UsageError(f"{landmarks} is one landmark file, but there are {pictures} pictures")
