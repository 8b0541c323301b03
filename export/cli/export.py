"""`dmd-export`: turn weights into a checked bundle."""

from argparse import Namespace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from runtime.cli import console
from runtime.errors import ExportError, UsageError

_PROG = "dmd-export"
_NEEDS = (
    "torch",
    "onnx",
    "onnxscript",
    "onnx_ir",
    "onnxruntime",
    "platformdirs",
    "filelock",
    "skimage",
)


def main() -> NoReturn:
    console.run(_PROG, export)


def export() -> int:
    args = _arguments()
    named = {
        "faces": args.calibration,
        "size": args.calibration_size,
        "method": args.method,
        "target": args.target,
        "min_psnr_db": args.min_psnr,
    }
    given = {name: value for name, value in named.items() if value is not None}
    if (given or args.chart) and not args.int8:
        raise UsageError(
            "--calibration, --calibration-size, --method, --target, --min-psnr and --chart need "
            "--int8"
        )
    refuse_missing_packages()
    if args.chart is not None and find_spec("matplotlib") is None:
        raise ExportError("--chart needs matplotlib: install it, or dmdnet-runtime[export]")
    precision = "int8" if args.int8 else "fp16" if args.fp16 else "fp32"
    out = args.out or Path(f"dmdnet-{precision}")

    with console.loading(_PROG):
        import onnxruntime  # noqa: F401 - these would be loaded in the middle of the work
        import onnxscript  # noqa: F401
        import torch.export  # noqa: F401

        from calibration.options import Options
        from export.bundle import export_bundle
        from export.cli.build_engine import engine_options

    bundle = export_bundle(
        out,
        precision,
        args.checkpoint,
        int8=Options(**given),
        engine=engine_options(args),
        force=args.force,
        report=console.report,
    )
    if args.chart is not None and bundle.manifest.quantization is not None:
        from calibration.chart import draw

        draw(bundle.manifest.quantization, args.chart)
    if notice := bundle.manifest.weights.notice:
        console.say(f"dmd-export: {notice}")
    console.tell(f"{precision} bundle in {out}")
    return 0


def refuse_missing_packages() -> None:
    """Raise `ExportError` if a package that an export needs is not installed."""
    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise ExportError(f"{', '.join(missing)} not installed: install dmdnet-runtime[export,cpu]")


def _arguments() -> Namespace:
    from calibration.options import METHODS, TARGETS
    from export.cli.build_engine import add_engine_arguments
    from runtime.cli.inputs import number

    parser = console.Parser(
        _PROG, "Export DMDNet to a bundle: two ONNX graphs, a manifest and parity figures."
    )
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument("--fp32", action="store_true", help="float32 (default)")
    precision.add_argument("--fp16", action="store_true", help="float16, for GPUs")
    eight = "8-bit integers, calibrated on faces and checked against float32"
    precision.add_argument("--int8", action="store_true", help=eight)
    checkpoint = (
        "weights (default: $DMDNET_CHECKPOINT, or the published ones, downloaded once); `compact`: "
        "small ones that come with this package; `synthetic`: a stand-in that restores nothing"
    )
    parser.add_argument("--checkpoint", metavar="PATH|URL|compact|synthetic", help=checkpoint)
    folder = "folder for the bundle (default: dmdnet-PRECISION)"
    parser.add_argument("--out", type=Path, metavar="DIR", help=folder)
    parser.add_argument("--force", action="store_true", help="replace an existing bundle")
    add = parser.add_argument_group("with --int8 (docs/int8.md)").add_argument
    faces = "photographs of faces; clean ones are degraded (default: two built-in photographs)"
    add("--calibration", type=Path, metavar="DIR", help=faces)
    add("--calibration-size", type=int, metavar="N", help="number of faces (default: 32)")
    method = "how the range of each activation is chosen (default: percentile)"
    add("--method", choices=METHODS, help=method)
    add("--target", choices=TARGETS, help="what will run the bundle (default: cpu)")
    gate = (
        "mean PSNR that held-out faces must reach against float32; each component may have 3 dB "
        "less (default: 35)"
    )
    add("--min-psnr", type=partial(number, below=100, what="dB"), metavar="DB", help=gate)
    add("--chart", type=Path, metavar="PNG", help="draw the error of each block of layers")
    add_engine_arguments(parser)
    return parser.parse_args()
