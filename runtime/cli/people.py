"""`dmd-people`: the faces of an archive, grouped into people without names."""

from argparse import Namespace
from pathlib import Path
from typing import NoReturn

from runtime.cli import console
from runtime.cli.inputs import add_picture_arguments, picture_files
from runtime.errors import UsageError


def main() -> NoReturn:
    parser = console.Parser(
        "dmd-people",
        "Group the faces of photographs into people without names, for dmd-enroll: a contact "
        "sheet and the best references of each person. Check the sheets: it may be wrong.",
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="picture, folder, glob or URL of photographs"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="folder to write, new or empty"
    )
    add_picture_arguments(parser)
    args = parser.parse_args()
    console.run(parser.prog, lambda: people(args))


def people(args: Namespace) -> int:
    """Group all faces and write the folder, whole or not at all. Returns the exit code.

    A photo that cannot be read is reported at the end, and the others are grouped.
    """
    from tqdm import tqdm

    from runtime.groups.grouping import grouped
    from runtime.groups.output import write_groups
    from runtime.groups.reading import FoundFace, Reading, read_archive
    from runtime.images.files import MAX_PIXELS
    from runtime.redaction import public_name
    from runtime.storage.local import folder_beside
    from runtime.storage.locations import MAX_BYTES

    _refuse_out(args.out)
    files = picture_files(args.inputs)
    how = Reading(
        args.max_pixels or MAX_PIXELS, args.max_bytes or MAX_BYTES, args.threads, args.min_face
    )
    faces: list[FoundFace] = []
    failures: dict[str, str] = {}
    traces: list[str | None] = []
    with folder_beside(args.out) as folder:  # now: where nothing can be written, nothing is read
        photos = read_archive(files, how)
        for photo in tqdm(photos, total=len(files), unit="photo", disable=None, leave=False):
            console.check_interrupted()
            faces += photo.faces
            for note in photo.notes:
                console.say_above_bar(f"dmd-people: {public_name(photo.name)}: {note}")
            if photo.error is not None:
                failures[photo.name] = photo.error
                traces.append(photo.trace)
        grouping = grouped(faces)
        unwritten = write_groups(folder, faces, grouping, failures, how.photo)
        folder.rename(args.out)
    of_people = sum(len(person.faces) for person in grouping.people)
    console.tell(
        f"people found: {len(grouping.people)}, with {of_people} of {len(faces)} faces (like no "
        f"other: {len(grouping.alone)}, too blurred: {len(grouping.blurred)}); photos read: "
        f"{len(files) - len(failures)} of {len(files)}; written to {args.out}"
    )
    for trace in traces:
        console.say_trace(trace)
    for line in (*failures.values(), *unwritten):
        console.say(f"dmd-people: {line}")
    return console.FAILED if failures or unwritten else 0


def _refuse_out(out: Path) -> None:
    """Raise `UsageError` unless `out` can become a new folder: nothing is overwritten."""
    if "\0" in str(out) or out.name in ("", ".."):
        raise UsageError(f"--out {out}: give the name of a new folder")
    if out.is_symlink() or out.is_mount():
        raise UsageError(f"--out {out}: this is a link or a mounted disk; name a folder in it")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out}: this exists and is not an empty folder; choose another")
