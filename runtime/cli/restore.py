"""`dmd-restore`: restore the faces of photographs with a bundle."""

import json
import sys
from argparse import Namespace
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from runtime.cli import console
from runtime.cli.inputs import (
    add_common_arguments,
    landmark_file,
    open_restorer,
    picture_files,
)
from runtime.errors import DmdnetError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from runtime.dictionary import SpecificDictionary
    from runtime.images import Photo
    from runtime.photographs import Restored
    from runtime.restorer import Restorer

_AHEAD = 2  # photos that are decoded, or wait to be encoded, beside the one in work


def main() -> NoReturn:
    parser = console.Parser(
        "dmd-restore", "Restore the faces of photographs with a bundle made by dmd-export."
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="picture, folder or glob")
    parser.add_argument("--out", required=True, type=Path, help="folder for the restored pictures")
    parser.add_argument("--identity", type=Path, metavar="FILE", help="made by dmd-enroll")
    parser.add_argument("--only", metavar="largest|center|N", help="one face: N counts from 0")
    parser.add_argument("--upscale", type=int, choices=(1, 2, 4), default=1)
    parser.add_argument(
        "--aligned", action="store_true", help="every picture is an aligned face crop"
    )
    parser.add_argument(
        "--require-face", action="store_true", help="a picture without a face is an error"
    )
    parser.add_argument(
        "--compare", action="store_true", help="also write NAME.compare.png, before and after"
    )
    parser.add_argument(
        "--draw", action="store_true", help="also write NAME.draw.png, boxes and 68 points"
    )
    parser.add_argument("--resume", action="store_true", help="skip outputs that exist")
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="a line of JSON for each picture"
    )
    add_common_arguments(parser)
    args = parser.parse_args()
    console.run(parser.prog, lambda: restore(args))


def restore(args: Namespace) -> int:
    """Restore every picture; report those that failed at the end. Returns the exit code."""
    from tqdm import tqdm

    from runtime.dictionary import SpecificDictionary

    files = picture_files(args.inputs)
    outputs = _output_files(files, args.out)
    only = _only(args.only)
    asked = len(files)
    files = [file for file in files if not (args.resume and outputs[file].exists())]
    identity = SpecificDictionary.load(args.identity) if args.identity else None
    failures: list[str] = []
    with ExitStack() as stack:
        restorer = stack.enter_context(open_restorer(args))
        if restorer.manifest.weights.synthetic:
            console.say(
                "dmd-restore: warning: this bundle has synthetic weights: nothing is restored"
            )
        if identity is not None:
            restorer.check(identity)
        args.out.mkdir(parents=True, exist_ok=True)
        report = stack.enter_context(args.report.open("w")) if args.report else None
        bar = stack.enter_context(tqdm(total=len(files), unit="photo", disable=None, leave=False))
        work = _Work(restorer, identity, only, args, len(files))
        for done in _pipeline(work, files, outputs):
            bar.update()
            if done.error:
                failures.append(done.error)
            for note in done.notes:
                tqdm.write(f"dmd-restore: {done.file}: {note}", file=sys.stderr)
            if report:
                report.write(json.dumps(done.record()) + "\n")
                report.flush()
        there = asked - len(files)
        resumed = f", {there} were there already" if there else ""
        print(
            f"restored {len(files) - len(failures)} of {len(files)} in {args.out}{resumed} "
            f"({restorer.backend})"
        )
    for failure in failures:
        console.say(f"dmd-restore: {failure}")
    return console.FAILED if failures else 0


@dataclass(frozen=True)
class _Done:
    """What became of one picture; `error` is None where its output is written."""

    file: Path
    output: Path
    error: str | None
    notes: tuple[str, ...] = ()
    result: "Restored | None" = None

    def record(self) -> dict[str, Any]:
        """A line of the report."""
        line: dict[str, Any] = {
            "input": str(self.file),
            "output": None if self.error else str(self.output),
            "error": self.error,
            "notes": list(self.notes),
        }
        if self.result is not None:
            line["faces"] = [
                {
                    "box": face.box.round(1).tolist(),
                    "score": round(face.score, 3),
                    "restored": index in self.result.restored,
                }
                for index, face in enumerate(self.result.faces)
            ]
            line["seconds"] = {k: round(v, 4) for k, v in self.result.timings.items()}
        return line


@dataclass(frozen=True)
class _Work:
    """What is done to every picture: read, restore, write; read and write run in other threads."""

    restorer: "Restorer"
    identity: "SpecificDictionary | None"
    only: Any
    args: Namespace
    pictures: int

    def read(self, file: Path) -> "tuple[Photo, NDArray[Any] | None]":
        from runtime.images import MAX_PIXELS, read_photo
        from runtime.landmarks import read_landmarks

        points = landmark_file(file, self.args.landmarks, self.pictures)
        landmarks = read_landmarks(points) if points else None
        return read_photo(file, self.args.max_pixels or MAX_PIXELS), landmarks

    def restore(self, photo: "Photo", landmarks: "NDArray[Any] | None") -> "Restored":
        from runtime.photographs import Restored

        if landmarks is None and not self.args.aligned:
            return self.restorer.restore(
                photo.image,
                self.identity,
                only=self.only,
                upscale=self.args.upscale,
                require_face=self.args.require_face,
            )
        if self.args.upscale != 1 or self.only is not None:
            raise UsageError("an aligned face stays 512 x 512 and alone: no --upscale, no --only")
        out = self.restorer.restore_aligned(photo.image, landmarks, self.identity)
        return Restored(out, (), (), {}, ())

    def write(self, photo: "Photo", result: "Restored", output: Path) -> tuple[str, ...]:
        from runtime.images import KEEPS_METADATA, side_by_side, write_image

        write_image(output, result.image, photo.exif, photo.icc_profile)
        if self.args.compare:
            synthetic = self.restorer.manifest.weights.synthetic
            after = "after (synthetic weights: nothing is restored)" if synthetic else "after"
            before, restored = _alike(photo.image, result.image)
            comparison = side_by_side({"before": before, after: restored})
            write_image(output.with_name(f"{output.name}.compare.png"), comparison)
        if self.args.draw:
            drawn = _draw(photo.image, result)
            write_image(output.with_name(f"{output.name}.draw.png"), drawn)
        lost = (photo.exif or photo.icc_profile) and output.suffix.lower() not in KEEPS_METADATA
        return (f"EXIF and ICC profile are not kept in {output.suffix} files",) if lost else ()


def _pipeline(work: _Work, files: Sequence[Path], outputs: dict[Path, Path]) -> Iterator[_Done]:
    """Decode ahead, restore, encode behind, at most `_AHEAD` photos each way; in order."""
    queue = deque(files)
    reading: deque[tuple[Path, Future[Any]]] = deque()
    writing: deque[tuple[_Done, Future[tuple[str, ...]]]] = deque()
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        while queue or reading:
            while queue and len(reading) < _AHEAD:
                file = queue.popleft()
                reading.append((file, reader.submit(work.read, file)))
            file, future = reading.popleft()
            try:
                photo, landmarks = future.result()
                result = work.restore(photo, landmarks)
            except (DmdnetError, OSError) as error:
                yield _Done(file, outputs[file], _say(file, error))
                continue
            done = _Done(file, outputs[file], None, photo.notes + result.warnings, result)
            writing.append((done, writer.submit(work.write, photo, result, outputs[file])))
            if len(writing) > _AHEAD:
                yield _finish(*writing.popleft())
        while writing:
            yield _finish(*writing.popleft())


def _finish(done: _Done, future: "Future[tuple[str, ...]]") -> _Done:
    try:
        notes = future.result()
    except (DmdnetError, OSError) as error:
        return _Done(done.file, done.output, _say(done.output, error), done.notes, done.result)
    return _Done(done.file, done.output, None, done.notes + notes, done.result)


def _say(file: Path, error: DmdnetError | OSError) -> str:
    """The error's line, with the file's name in front unless it is there."""
    text = str(error) if isinstance(error, DmdnetError) else (error.strerror or str(error))
    return text if str(file) in text else f"{file}: {text}"


def _alike(before: "NDArray[Any]", after: "NDArray[Any]") -> "list[NDArray[Any]]":
    """Both as 8-bit BGR of the size of `after`."""
    import cv2
    import numpy as np

    from runtime.images import to_rgb

    pair = [to_rgb(image, "bgr", say_scaled=False)[:, :, ::-1] for image in (before, after)]
    height, width = after.shape[:2]
    if pair[0].shape != pair[1].shape:
        pair[0] = np.asarray(cv2.resize(pair[0], (width, height), interpolation=cv2.INTER_CUBIC))
    return list(pair)


def _draw(photo: "NDArray[Any]", result: "Restored") -> "NDArray[Any]":
    """The photo as given with each face's box, index and landmarks."""
    import cv2
    import numpy as np

    from runtime.images import to_rgb

    canvas = np.ascontiguousarray(to_rgb(photo, "bgr", say_scaled=False)[:, :, ::-1])
    for index, face in enumerate(result.faces):
        size = max(1, round(float(face.box[2] - face.box[0]) / 150))
        x1, y1, x2, y2 = (int(value) for value in face.box.round())
        cv2.rectangle(canvas, (x1, y1), (x2, y2), (0, 200, 0), size)
        label = f"{index}: {face.score:.2f}"
        cv2.putText(canvas, label, (x1, y1 - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 200, 0), 1)
        for x, y in face.landmarks.round():
            cv2.circle(canvas, (int(x), int(y)), size, (0, 255, 255), -1)
    return canvas


def _only(text: str | None) -> str | int | None:
    if text is None or text in ("largest", "center"):
        return text
    if text.isdecimal():
        return int(text)
    raise UsageError(f"--only must be largest, center or a face's index, not {text!r}")


def _output_files(files: list[Path], folder: Path) -> dict[Path, Path]:
    """Where each picture goes, so that no input and no other output is overwritten."""
    from runtime.images import SUFFIXES

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: --out must be a folder")
    # a format that cannot be written, as GIF, becomes PNG
    outputs = {
        file: folder / (file.name if file.suffix.lower() in SUFFIXES else f"{file.name}.png")
        for file in files
    }
    taken: dict[Path, Path] = {}
    for file, output in outputs.items():
        other = taken.setdefault(output, file)
        if other != file:
            raise UsageError(f"{other} and {file} would both be written to {output}")
        if output.resolve() == file.resolve():
            raise UsageError(f"{file} would be overwritten: choose another --out")
    return outputs
