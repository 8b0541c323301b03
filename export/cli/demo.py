"""`dmd-demo`: degrade two sample photographs, and restore them with the weights at hand."""

from argparse import Namespace
from pathlib import Path
from shlex import quote
from typing import NoReturn

from export.cli.export import refuse_missing_packages
from runtime.cli import console
from runtime.errors import OutputError

_PROG = "dmd-demo"


def main() -> NoReturn:
    console.run(_PROG, demo)


def demo() -> int:
    args = _arguments()
    out: Path = args.out
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: this is a file, and --out takes a folder")
    refuse_missing_packages()

    with console.loading(_PROG):
        import onnxruntime  # noqa: F401 - these would be loaded in the middle of the work
        import onnxscript  # noqa: F401
        import torch.export  # noqa: F401

        from export.demo.bundle import bundle_of, place_in
        from export.demo.page import page
        from export.demo.pictures import all_faces, restore_samples, whole_photo
        from export.demo.weights import choose_checkpoint
        from export.model.checkpoint import load_weights
        from runtime.images.files import write_image
        from runtime.restorer import Restorer
        from runtime.storage.local import write_atomically

    checkpoint, why = args.checkpoint, "--checkpoint names them"
    if checkpoint is None:
        checkpoint, why = choose_checkpoint()
    record = load_weights(checkpoint).record  # before anything is said or written
    console.report(f"{_PROG}: using the {record.kind} weights: {why}")
    bundle = bundle_of(checkpoint, record, place_in(out, record), console.report)
    weights = bundle.manifest.weights
    with Restorer(bundle.path, device="cpu") as restorer:
        trials = restore_samples(restorer)
    console.check_interrupted()

    notes = [weights.notice, _REFERENCES.format(bundle=quote(str(bundle.path)))]
    said = [note[:1].upper() + note[1:] for note in notes if note]
    files = []
    for trial in trials:
        pictures = {
            "before": trial.before,
            "after": trial.after,
            "compare": whole_photo(trial, weights.remark),
        }
        for moment, picture in pictures.items():
            files.append(out / f"{trial.name}.{moment}.png")
            write_image(files[-1], picture)
    files += [out / "faces.jpg", out / "demo.html"]
    write_image(out / "faces.jpg", all_faces(trials, weights.remark))
    write_atomically(out / "demo.html", page(trials, weights.remark, said).encode())

    for note in said:
        console.say(f"{_PROG}: {note}")
    for trial in trials:
        before, after = trial.psnr_db
        console.tell(
            f"{trial.name}: {trial.recipe.text}: PSNR of the face against the original "
            f"{before:.1f} dB before, {after:.1f} dB after"
        )
    for file in files:
        console.tell(str(file))
    return 0


_REFERENCES = (
    "restored without references: a dictionary is never made from the picture that is restored, "
    "and the demo has only one photograph of each person. To restore a photograph with the help of "
    "others of the same person, run two commands (dmd-enroll alice/*.jpg --bundle {bundle} --out "
    "alice.safetensors; dmd-restore photo.jpg --bundle {bundle} --identity alice.safetensors --out "
    "restored)"
)


def _arguments() -> Namespace:
    parser = console.Parser(
        _PROG, "Degrade two sample photographs, restore them, and show before, after and original."
    )
    out = "folder for the pictures, a page and the bundle (default: dmdnet-demo)"
    parser.add_argument("--out", type=Path, default=Path("dmdnet-demo"), metavar="DIR", help=out)
    checkpoint = (
        "weights (default: $DMDNET_CHECKPOINT, or the published ones if they were downloaded "
        "before, or `compact`)"
    )
    parser.add_argument("--checkpoint", metavar="PATH|URL|compact|synthetic", help=checkpoint)
    return parser.parse_args()
