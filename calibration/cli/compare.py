"""`dmd-compare`: score the faces that a bundle restores against another's or the clean ones."""

from argparse import Namespace
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from runtime.cli import console
from runtime.errors import CalibrationError, UsageError

if TYPE_CHECKING:
    from runtime.backends.base import Engine
    from runtime.bundle.opening import Bundle

TRUTH_HELP = (
    "clean photographs: their faces are degraded, restored and compared with the originals; a "
    "sub-folder holds one person, whose photographs are also restored with the others as references"
)
"""Help text of `--truth`, which `dmd-bench` has too."""


def main() -> NoReturn:
    parser = console.Parser(
        "dmd-compare",
        "Restore faces with two bundles, each face without references and with itself as one, and "
        "score B against A: PSNR and SSIM, on the whole and on each component. Or, with --truth, "
        "score both against clean photographs.",
    )
    parser.add_argument("a", type=Path, metavar="A", help="bundle to judge by")
    parser.add_argument("b", type=Path, metavar="B", help="bundle to judge")
    faces = parser.add_mutually_exclusive_group(required=True)
    faces.add_argument("--images", type=Path, metavar="DIR", help="photographs, or aligned crops")
    faces.add_argument("--truth", type=Path, metavar="DIR", help=TRUTH_HELP)
    worst = "draw the face on which B is worst, as A and B restore it"
    parser.add_argument("--worst", type=Path, metavar="PNG", help=worst)
    least = "fail if B's mean PSNR is lower, or 3 dB lower on a component"
    parser.add_argument("--min-psnr", type=float, metavar="DB", help=least)
    args = parser.parse_args()
    console.run(parser.prog, lambda: compare_with_truth(args) if args.truth else compare(args))


def compare_with_truth(args: Namespace) -> int:
    """Print how close the faces that either bundle restores come to the clean ones of a folder."""
    if args.worst is not None or args.min_psnr is not None:
        raise UsageError("--worst and --min-psnr need --images")
    _need_skimage()

    from calibration import truth
    from calibration.likeness import caveat
    from runtime.engine_calls import EngineCalls

    faces = truth.truth_set(args.truth)
    for reason in faces.warnings:
        console.say(f"dmd-compare: warning: {reason}")
    judged = _open(args)
    candidates = [
        truth.Candidate(
            each.name,
            EngineCalls(each.backend, each.bundle.manifest, each.backend.max_batch),
            each.bundle.manifest,
        )
        for each in judged
    ]
    table = truth.table(truth.judge(faces, candidates))
    remark = caveat(each.manifest for each in candidates)
    for line in (*table.splitlines(), *(each.described for each in judged), remark):
        if line is not None:
            console.tell(line)
    return 0


def compare(args: Namespace) -> int:
    """Print how close the faces that B restores come to those that A restores."""
    _need_skimage()
    if not args.images.is_dir():
        raise CalibrationError(f"{args.images}: no such folder")

    import numpy as np
    from tqdm import tqdm

    from calibration import quality
    from calibration.faces import faces_of_folder
    from runtime.images.arrays import side_by_side
    from runtime.images.files import write_image

    judged = _open(args)
    backends = [each.backend for each in judged]
    faces, left_out = faces_of_folder(args.images)
    for reason in left_out:
        console.say(f"dmd-compare: warning: {reason}")
    if not faces:
        raise CalibrationError(f"{args.images}: no face was found in its pictures")

    scores, worst, least = [], None, float("inf")
    for load in tqdm(faces, unit="face", leave=False, disable=None):
        face = load()
        image, boxes = face.image[None], face.boxes[None]
        rows = [backend.memorize(image, boxes) for backend in backends]
        for kind, member in (("generic", 0), ("specific", 1)):
            membership = np.full((1, 1), member, np.float32)
            wanted, got = (
                backend.restore(image, boxes, [dictionary], membership)[0]
                for backend, dictionary in zip(backends, rows, strict=True)
            )
            scores.append(quality.score(f"{face.name}, {kind}", got, wanted, face.boxes))
            if scores[-1].psnr_db["whole"] < least:
                least = scores[-1].psnr_db["whole"]
                pictures = zip((each.caption for each in judged), (wanted, got), strict=True)
                worst = {"degraded": image[0], **dict(pictures)}
    rows_of_table = quality.summary(scores)
    for line in quality.table(rows_of_table).splitlines():
        console.tell(line)
    for each in judged:
        console.tell(each.described)
    if args.worst is not None and worst is not None:
        picture = side_by_side(worst)
        write_image(args.worst, np.ascontiguousarray(picture[:, :, ::-1]))
    if args.min_psnr is not None:
        missed = quality.shortfalls(rows_of_table, args.min_psnr)
        if missed:
            raise CalibrationError(f"{args.b}: {'; '.join(missed)}")
    return 0


@dataclass(frozen=True)
class _Judged:
    """A bundle that takes part, "A" or "B", and its engine."""

    name: str
    bundle: "Bundle"
    backend: "Engine"

    @property
    def caption(self) -> str:
        """What stands over its faces."""
        return f"{self.name}: {self.bundle.path.name}{self._remark}"

    @property
    def described(self) -> str:
        """What stands under the table."""
        return f"{self.name}: {self.bundle.path}: {self.backend.description}{self._remark}"

    @property
    def _remark(self) -> str:
        remark = self.bundle.manifest.weights.remark
        return f" ({remark})" if remark else ""


def _open(args: Namespace) -> list[_Judged]:
    from runtime.backends.selection import Choice, open_backend
    from runtime.bundle.opening import open_bundle

    bundles = [(name, open_bundle(path)) for name, path in (("A", args.a), ("B", args.b))]
    return [_Judged(name, bundle, open_backend(bundle, Choice())) for name, bundle in bundles]


def _need_skimage() -> None:
    if find_spec("skimage") is None:
        raise CalibrationError("scikit-image is not installed: install dmdnet-runtime[export]")
