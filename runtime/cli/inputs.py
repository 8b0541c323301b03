"""The arguments that several commands share, and what they mean: pictures, bundle, landmarks."""

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
    """Add the options of every command that takes pictures and a bundle."""
    parser.add_argument(
        "--bundle",
        required=True,
        type=_bundle,
        metavar="DIR|URL",
        help="folder made by dmd-export, or model server: grpc://HOST:PORT/MODEL (docs/triton.md)",
    )
    parser.add_argument(
        "--landmarks",
        type=Path,
        metavar="DIR|FILE",
        help="landmarks of aligned faces, 68 lines of `x y`: a file for one picture, or a folder "
        "with IMAGE.txt for each (default: IMAGE.txt beside the picture; where there is none, "
        "faces are found)",
    )
    add_picture_arguments(parser)
    parser.add_argument(
        "--device",
        choices=("auto", *DEVICES),
        default="auto",
        help="what runs the network; auto, the default: the first of the others that can be used",
    )
    parser.add_argument(
        "--no-fallback",
        action="store_true",
        help="with --device auto: take the first device that the bundle is made for, or fail",
    )
    server = parser.add_argument_group(
        "with a model server",
        f"the environment variable {AUTHORIZATION} holds the authorization header, if it needs one",
    )
    server.add_argument(
        "--remote-timeout",
        type=partial(number, below=86400, what="seconds"),
        metavar="S",
        help="seconds to wait for an engine call, with all retries (default: 30)",
    )
    server.add_argument(
        "--remote-ca",
        type=Path,
        metavar="FILE",
        help="PEM file of the authority that signed the server's certificate, for grpcs://",
    )


def add_picture_arguments(parser: ArgumentParser) -> None:
    """Add the options of every command that finds the faces of pictures."""
    parser.add_argument(
        "--min-face",
        type=positive,
        metavar="N",
        help="pixels between the ears of the smallest face to look for (default: 36, or a 56th of "
        "a photo's longer side if that is more; docs/landmarks.md)",
    )
    parser.add_argument(
        "--max-pixels",
        type=positive,
        metavar="N",
        help="refuse larger pictures; a pixel of 16 bits counts twice (default: 150000000)",
    )
    parser.add_argument(
        "--max-bytes",
        type=positive,
        metavar="N",
        help="refuse larger picture files (default: 1073741824, which is 1 GiB)",
    )
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="CPU threads (default: one for each core)"
    )


def open_restorer(args: Namespace) -> "Restorer":
    """Open the Restorer that the common arguments describe."""
    from runtime.restorer import Restorer

    return Restorer(
        args.bundle,
        remote=server_of(args),
        device=args.device,
        allow_fallback=not args.no_fallback,
        threads=args.threads,
        min_face=args.min_face,
    )


def server_of(args: Namespace) -> Remote | None:
    """How to talk to the model server; None if `--bundle` is a folder.

    Raises `UsageError` if a server's options are given with a folder.
    """
    given = {"timeout": args.remote_timeout, "ca": args.remote_ca}
    named = {name: value for name, value in given.items() if value is not None}
    if not is_server_address(args.bundle):
        if named:
            raise UsageError("--remote-timeout and --remote-ca need a server's address as --bundle")
        return None
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # our own errors say it in one line
    return Remote(authorization=os.environ.get(AUTHORIZATION), **named)


def picture_files(arguments: Sequence[str], clips: bool = False) -> list[str]:
    """The picture files and URLs that arguments name, each once.

    An argument is a file or URL, a folder of pictures, or a glob. `clips`: of a folder, videos are
    taken, too. Raises `InvalidImageError` for a folder without any, and for a glob that matches
    nothing.
    """
    return list(dict.fromkeys(file for each in arguments for file in _files(each, clips)))


def _files(argument: str, clips: bool) -> list[str]:
    from runtime.images.files import SUFFIXES
    from runtime.storage.locations import is_url, matches
    from runtime.video import naming

    try:
        return matches(argument, SUFFIXES + naming.SUFFIXES if clips else SUFFIXES)
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
    """Parse an argument that must be a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def number(text: str, below: float, what: str) -> float:
    """Parse an argument that must lie between 0 and `below`; `what`: its unit."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < below:
        raise ArgumentTypeError(f"{text!r} is not a number of {what} between 0 and {below:g}")
    return value


def refuse_in_bundle(option: str, file: Path, bundle: str | Path) -> None:
    """Raise `UsageError` if `file`, which is about to be written, lies in the bundle's folder."""
    folders = (folder for folder in file.resolve().parents if folder.exists())
    if isinstance(bundle, Path) and bundle.exists() and any(map(bundle.samefile, folders)):
        raise UsageError(f"{option} {file} lies in the bundle: choose another folder")


def check_landmark_file(landmarks: Path | None, pictures: int) -> None:
    """Raise `UsageError` if one landmark file is given for several pictures."""
    if landmarks is not None and landmarks.is_file() and pictures > 1:
        raise UsageError(
            f"--landmarks {landmarks} is one file, but there are {pictures} pictures; give a folder"
        )
