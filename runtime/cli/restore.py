"""`dmd-restore`: restore aligned face pictures with a bundle."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from runtime.cli import console
from runtime.cli.inputs import add_common_arguments, landmark_file, picture_files
from runtime.errors import DmdnetError, UsageError

if TYPE_CHECKING:
    from runtime.dictionary import SpecificDictionary
    from runtime.restorer import Restorer


def main() -> NoReturn:
    parser = console.Parser(
        "dmd-restore", "Restore aligned face pictures with a bundle made by dmd-export."
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="picture, folder or glob")
    parser.add_argument("--out", required=True, type=Path, help="folder for the restored pictures")
    parser.add_argument("--identity", type=Path, metavar="FILE", help="made by dmd-enroll")
    parser.add_argument(
        "--compare", action="store_true", help="also write NAME.compare.png, before and after"
    )
    add_common_arguments(parser)
    args = parser.parse_args()
    console.run(parser.prog, lambda: restore(args))


def restore(args: Namespace) -> int:
    """Restore every picture; report those that failed at the end. Returns the exit code."""
    from tqdm import tqdm

    from runtime.dictionary import SpecificDictionary
    from runtime.restorer import Restorer

    files = picture_files(args.inputs)
    outputs = _output_files(files, args.out)
    identity = SpecificDictionary.load(args.identity) if args.identity else None
    failures: list[str] = []
    with Restorer(args.bundle, device=args.device, threads=args.threads) as restorer:
        if restorer.manifest.weights.synthetic:
            console.say(
                "dmd-restore: warning: this bundle has synthetic weights: nothing is restored"
            )
        if identity is not None:
            restorer.check(identity)
        args.out.mkdir(parents=True, exist_ok=True)
        for file in tqdm(files, unit="face", disable=None, leave=False):
            try:
                _restore_file(restorer, identity, file, outputs[file], len(files), args)
            except (DmdnetError, OSError) as error:
                reason = error.strerror if isinstance(error, OSError) else None
                failures.append(f"{outputs[file]}: {reason}" if reason else str(error))
        done = len(files) - len(failures)
        print(f"restored {done} of {len(files)} in {args.out} ({restorer.backend})")
    for failure in failures:
        console.say(f"dmd-restore: {failure}")
    return console.FAILED if failures else 0


def _restore_file(
    restorer: "Restorer",
    identity: "SpecificDictionary | None",
    file: Path,
    output: Path,
    pictures: int,
    args: Namespace,
) -> None:
    from runtime.images import fit, read_image, side_by_side, to_rgb, write_image
    from runtime.landmarks import read_landmarks

    face = read_image(file)
    points = read_landmarks(landmark_file(file, args.landmarks, pictures))
    try:
        restored = restorer.restore_aligned(face, points, identity)
    except DmdnetError as error:
        raise type(error)(f"{file}: {error}") from None
    write_image(output, restored)
    if args.compare:
        synthetic = restorer.manifest.weights.synthetic
        after = "after (synthetic weights: nothing is restored)" if synthetic else "after"
        before = fit(to_rgb(face, "bgr"))[:, :, ::-1]
        comparison = side_by_side({"before": before, after: restored})
        write_image(output.with_name(output.name + ".compare.png"), comparison)


def _output_files(files: list[Path], folder: Path) -> dict[Path, Path]:
    """Where each picture goes, so that no input and no other output is overwritten."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: --out must be a folder")
    outputs = {file: folder / file.name for file in files}
    taken: dict[Path, Path] = {}
    for file, output in outputs.items():
        other = taken.setdefault(output, file)
        if other != file:
            raise UsageError(f"{other} and {file} would both be written to {output}")
        if output.resolve() == file.resolve():
            raise UsageError(f"{file} would be overwritten: choose another --out")
    return outputs
