"""`dmd-compare`: how near one bundle's faces come to another's."""

from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from runtime.cli import console
from runtime.errors import CalibrationError


def main() -> NoReturn:
    parser = console.Parser(
        "dmd-compare",
        "Restore faces with two bundles, without references and with their own, and score B "
        "against A: PSNR and SSIM, on the whole and on each component.",
    )
    parser.add_argument("a", type=Path, metavar="A", help="the bundle to judge by")
    parser.add_argument("b", type=Path, metavar="B", help="the bundle that is judged")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", required=True, help="photographs, or aligned crops"
    )
    parser.add_argument("--worst", type=Path, metavar="PNG", help="draw the worst face of both")
    parser.add_argument("--min-psnr", type=float, metavar="DB", help="fail below this")
    args = parser.parse_args()
    console.run(parser.prog, lambda: compare(args))


def compare(args: Namespace) -> int:
    if find_spec("skimage") is None:
        raise CalibrationError("scikit-image is not installed: install dmdnet-runtime[export]")
    if not args.images.is_dir():
        raise CalibrationError(f"{args.images}: no such folder")

    import numpy as np
    from tqdm import tqdm

    from calibration import quality
    from calibration.faces import faces_of_folder
    from runtime.backends.selection import Choice, open_backend
    from runtime.bundle.opening import open_bundle
    from runtime.images.arrays import side_by_side
    from runtime.images.files import write_image

    bundles = [open_bundle(path) for path in (args.a, args.b)]
    backends = [open_backend(bundle, Choice()) for bundle in bundles]
    faces, left_out = faces_of_folder(args.images)
    for reason in left_out:
        console.say(f"dmd-compare: warning: {reason}")
    if not faces:
        raise CalibrationError(f"{args.images}: no face to compare with")

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
                worst = {"degraded": image[0], args.a.name: wanted, args.b.name: got}
    rows_of_table = quality.summary(scores)
    for line in quality.table(rows_of_table).splitlines():
        console.tell(line)
    for path, backend in zip((args.a, args.b), backends, strict=True):
        console.tell(f"{path}: {backend.description}")
    if args.worst is not None and worst is not None:
        picture = side_by_side(worst)
        write_image(args.worst, np.ascontiguousarray(picture[:, :, ::-1]))
    if args.min_psnr is not None:
        missed = quality.shortfalls(rows_of_table, args.min_psnr)
        if missed:
            raise CalibrationError(f"{args.b}: {'; '.join(missed)}")
    return 0
