"""`dmd-enroll`: make a person's dictionary from a few good photographs."""

from argparse import Namespace
from pathlib import Path
from typing import NoReturn

from runtime.cli import console
from runtime.cli.inputs import (
    add_common_arguments,
    check_landmark_file,
    open_restorer,
    picture_files,
)
from runtime.errors import UsageError


def main() -> NoReturn:
    parser = console.Parser(
        "dmd-enroll",
        "Make a person's dictionary from a few good photographs; the largest face of each counts.",
    )
    parser.add_argument(
        "references", nargs="+", metavar="REFERENCE", help="picture, folder or glob"
    )
    parser.add_argument("--out", required=True, type=Path, help="file to write, NAME.safetensors")
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out references without a usable face"
    )
    add_common_arguments(parser)
    args = parser.parse_args()
    console.run(parser.prog, lambda: enroll(args))


def enroll(args: Namespace) -> int:
    """Memorise all references or, unless some may be skipped, none. Returns the exit code."""
    from tqdm import tqdm

    from runtime.archive.failures import ends_the_run, failure_of, trace_of
    from runtime.faces.landmark_files import landmark_file, read_landmarks
    from runtime.images.files import MAX_PIXELS, read_photo

    if args.out.is_dir() or not args.out.parent.is_dir():
        raise UsageError(f"{args.out}: --out must be a file in a folder that exists")
    files = picture_files(args.references)
    check_landmark_file(args.landmarks, len(files))
    failures: list[tuple[str, Exception]] = []
    rows = []
    with open_restorer(args) as restorer:
        for file in tqdm(files, unit="reference", disable=None, leave=False):
            try:
                points = landmark_file(file, args.landmarks)
                landmarks = read_landmarks(points) if points else None
                image = read_photo(file, args.max_pixels or MAX_PIXELS).image
                rows.append(restorer.memorize([image], [landmarks]))
            except Exception as error:  # of this reference, whatever it is
                if ends_the_run(error):
                    raise
                console.check_interrupted()
                failures.append((file, error))
        complete = not failures or (args.skip_bad and bool(rows))
        if complete:
            rows[0].merge(*rows[1:]).save(args.out)
            console.tell(f"enrolled {len(rows)} of {len(files)} in {args.out} ({restorer.backend})")
    for file, failure in failures:
        console.say_trace(trace_of(failure))
        left_out = "left out: " if complete else ""
        console.say(f"dmd-enroll: {left_out}{failure_of(file, failure)}")
    return 0 if complete else console.FAILED
