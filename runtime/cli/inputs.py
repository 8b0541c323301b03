"""From command-line arguments to picture files and their landmark files."""

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.editions import DEVICES
from runtime.errors import InvalidImageError, InvalidLandmarksError, UsageError
from runtime.remote import AUTHORIZATION, Remote, is_url

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
        help="refuse pictures that declare more (default: 150000000)",
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
        "--remote-timeout", type=_seconds, metavar="S", help="for one engine call (default: 30)"
    )
    server.add_argument(
        "--remote-ca", type=Path, metavar="FILE", help="PEM: who signed its certificate (grpcs)"
    )


def open_restorer(args: Namespace) -> "Restorer":
    """The Restorer that the common arguments name."""
    from runtime.restorer import Restorer

    given = {"timeout": args.remote_timeout, "ca": args.remote_ca}
    named = {name: value for name, value in given.items() if value is not None}
    if named and not is_url(args.bundle):
        raise UsageError("--remote-timeout and --remote-ca go with a server's address")
    authorization = os.environ.get(AUTHORIZATION)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what fails is said by us, in one line
    return Restorer(
        args.bundle,
        remote=Remote(authorization=authorization, **named) if is_url(args.bundle) else None,
        device=args.device,
        allow_fallback=not args.no_fallback,
        threads=args.threads,
    )


def picture_files(arguments: Sequence[str]) -> list[Path]:
    """Files as given, the pictures of folders, what globs match; each sorted, without repeats.

    Raises `InvalidImageError` for an argument that gives nothing.
    """
    from runtime.images import SUFFIXES

    files: dict[Path, None] = {}
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            nothing = "no pictures in this folder"
        elif path.exists() or not any(sign in argument for sign in "*?["):
            found, nothing = [path], ""  # a file that is missing is reported when it is read
        else:
            found = sorted(Path(p) for p in glob(argument, recursive=True) if Path(p).is_file())
            nothing = "nothing matches"
        if not found:
            raise InvalidImageError(f"{argument}: {nothing}")
        files.update(dict.fromkeys(found))
    return list(files)


def _bundle(text: str) -> str | Path:
    return text if is_url(text) else Path(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < 86400:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def positive(text: str) -> int:
    """An argument that is a whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def landmark_file(picture: Path, landmarks: Path | None, pictures: int) -> Path | None:
    """Where the landmarks of a picture are: in the folder, the file, or beside it, if anywhere."""
    if landmarks is None:
        beside = picture.with_name(picture.name + ".txt")
        return beside if beside.exists() else None
    if landmarks.is_dir():
        return landmarks / (picture.name + ".txt")
    if not landmarks.exists():
        raise InvalidLandmarksError(f"{landmarks}: no such landmark file or folder")
    if pictures > 1:
        raise UsageError(f"{landmarks} is one landmark file, but there are {pictures} pictures")
    return landmarks
