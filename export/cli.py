"""`dmd-export`: weights -> a checked bundle."""

from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from runtime.cli import console
from runtime.errors import ExportError

_NEEDS = ("torch", "onnx", "onnxscript", "onnxruntime")


def main() -> NoReturn:
    parser = console.Parser(
        "dmd-export", "Export DMDNet to a bundle: two ONNX graphs, a manifest and parity figures."
    )
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument("--fp32", action="store_true", help="float32 (default)")
    precision.add_argument("--fp16", action="store_true", help="strongly typed float16, for GPUs")
    parser.add_argument(
        "--checkpoint",
        metavar="PATH|URL|synthetic",
        help="weights (default: $DMDNET_CHECKPOINT, or the published ones, downloaded once); "
        "`synthetic` is a stand-in that restores nothing",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: dmdnet-fp32 or -fp16")
    parser.add_argument("--force", action="store_true", help="replace an existing bundle")
    args = parser.parse_args()
    console.run(parser.prog, lambda: export(args))


def export(args: Namespace) -> int:
    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise ExportError(f"{', '.join(missing)} not installed: install dmdnet-runtime[export,cpu]")
    precision = "fp16" if args.fp16 else "fp32"
    out = args.out or Path(f"dmdnet-{precision}")

    from export.bundle import export_bundle
    from export.checkpoint import PUBLISHED_SHA256

    bundle = export_bundle(out, precision, args.checkpoint, force=args.force, report=console.say)
    weights = bundle.manifest.weights
    if weights.synthetic:
        console.say("dmd-export: warning: synthetic weights: this bundle restores nothing")
    elif weights.sha256 == PUBLISHED_SHA256:
        console.say("the published weights are CC BY-NC-SA 4.0: for non-commercial use only")
    print(f"{precision} bundle in {out}")
    return 0
