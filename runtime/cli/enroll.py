"""`dmd-enroll`: make a person's dictionary from a few good photographs."""

import warnings
from argparse import Namespace
from pathlib import Path
from typing import NoReturn

from runtime.cli import console
from runtime.cli.inputs import (
    add_common_arguments,
    check_landmark_file,
    open_restorer,
    picture_files,
    refuse_in_bundle,
)
from runtime.errors import DictionaryError, DmdnetWarning, UsageError
from runtime.redaction import public_name


def main() -> NoReturn:
    parser = console.Parser(
        "dmd-enroll",
        "Make a person's dictionary from a few good photographs: of the largest face in each.",
    )
    parser.add_argument(
        "references", nargs="+", metavar="REFERENCE", help="picture, folder or glob"
    )
    parser.add_argument("--out", required=True, type=Path, help="file to write, NAME.safetensors")
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out references without a usable face"
    )
    parser.add_argument("--name", help="the person's name (default: NAME of --out)")
    parser.add_argument(
        "--no-recognition",
        action="store_true",
        help="store nothing that recognises the person (docs/people.md)",
    )
    add_common_arguments(parser)
    args = parser.parse_args()
    console.run(parser.prog, lambda: enroll(args))


def enroll(args: Namespace) -> int:
    """Make the dictionary and write it. Returns the exit code.

    Without `--skip-bad` one bad reference is enough for nothing to be written.
    """
    from tqdm import tqdm

    from runtime.archive.failures import ends_the_run, failure_of, trace_of
    from runtime.dictionary import check_name, name_of_file
    from runtime.faces.landmark_files import landmark_file, read_landmarks
    from runtime.images.files import MAX_PIXELS, read_photo
    from runtime.people.enrolment import ReferenceWarning, doubts
    from runtime.storage.locations import MAX_BYTES

    if args.out.is_dir() or not args.out.parent.is_dir():
        raise UsageError(f"{args.out}: --out must be a file in a folder that exists")
    refuse_in_bundle("--out", args.out, args.bundle)
    _refuse_replacing(args.out)
    name = name_of_file(args.out) if args.name is None else args.name
    check_name(name)
    files = picture_files(args.references)
    check_landmark_file(args.landmarks, len(files))
    max_pixels, max_bytes = args.max_pixels or MAX_PIXELS, args.max_bytes or MAX_BYTES
    failures: list[tuple[str, str]] = []  # line and traceback; an exception would keep its picture
    enrolled: list[str] = []
    rows = []
    with warnings.catch_warnings(), open_restorer(args) as restorer:
        # each memorises a single reference: its doubts are said at the end, with the file's name
        warnings.simplefilter("ignore", ReferenceWarning)
        for file in tqdm(files, unit="reference", disable=None, leave=False):
            try:
                image = read_photo(file, max_pixels, max_bytes).image
                points = landmark_file(file, args.landmarks)
                landmarks = read_landmarks(points) if points else None
                one = restorer.memorize(
                    [image], [landmarks], name=name, recognition=not args.no_recognition
                )
                rows.append(one)
                enrolled.append(public_name(file))
            except Exception as error:  # of this reference, whatever it is
                if ends_the_run(error):
                    raise
                console.check_interrupted()
                failures.append((failure_of(file, error), trace_of(error)))
        complete = not failures or (args.skip_bad and bool(rows))
        if complete:
            person = rows[0].merge(*rows[1:])
            person.save(args.out)
            console.tell(f"enrolled {len(rows)} of {len(files)} in {args.out} ({restorer.backend})")
            if not args.no_recognition:
                for line in doubts(person.vectors, person.vector_rows, enrolled):
                    console.say(f"dmd-enroll: warning: {line}")
    for line, trace in failures:
        console.say_trace(trace)
        console.say(f"dmd-enroll: {'left out: ' if complete else ''}{line}")
    return 0 if complete else console.FAILED


def _refuse_replacing(out: Path) -> None:
    """Raise `UsageError` if `out` is a photo or anything else of the user's that is no dictionary.

    An empty file, as `mktemp` makes it, may be replaced, too.
    """
    from runtime.dictionary import SpecificDictionary

    if not out.exists() or (out.is_file() and not out.stat().st_size):
        return
    why = "not a regular file"
    if out.is_file():
        try:
            with warnings.catch_warnings():  # that it is old: it is about to be replaced
                warnings.simplefilter("ignore", DmdnetWarning)
                SpecificDictionary.load(out)
            return
        except DictionaryError as error:
            why = str(error).removeprefix(f"{out}: ")
    raise UsageError(
        f"--out {out}: this exists and is not a dictionary ({why}), so it is not overwritten; "
        "choose another name"
    )
