"""`dmd-triton`: write a model repository for Triton Inference Server from a bundle."""

from argparse import ArgumentTypeError, Namespace
from pathlib import Path
from typing import NoReturn

from runtime.cli import console
from runtime.cli.inputs import positive


def main() -> NoReturn:
    parser = console.Parser(
        "dmd-triton",
        "Write a model repository for Triton Inference Server from a bundle (docs/triton.md).",
    )
    add = parser.add_argument
    add("bundle", type=Path, metavar="BUNDLE", help="folder made by dmd-export")
    add("out", type=Path, metavar="DIR", help="repository to write")
    device = "what the server runs on (default: gpu; for an INT8 bundle made for CPUs: cpu)"
    add("--device", choices=("cpu", "gpu"), help=device)
    engine = "serve a TensorRT engine of the bundle, not ONNX Runtime; name FILE if it has several"
    add("--engine", metavar="FILE|tensorrt", help=engine)
    batch = (
        "most faces in one engine call (default: the TensorRT engine's limit; without one 8 on a "
        "GPU, 1 on a CPU, 4 for INT8 on a CPU)"
    )
    add("--max-batch", type=positive, metavar="N", help=batch)
    references = (
        "most dictionary rows in one engine call, of all people together (default: the TensorRT "
        "engine's limit; without one 32)"
    )
    add("--max-references", type=positive, metavar="N", help=references)
    delay = (
        "microseconds that a request may wait for others to share its engine call (default: 2000; "
        "on a CPU 20000)"
    )
    add("--queue-delay", type=_microseconds, metavar="US", help=delay)
    instances = "copies of each engine that run at once (default: 1)"
    add("--instances", type=positive, default=1, metavar="N", help=instances)
    version = "version of the models; raise it for another bundle under the same name (default: 1)"
    add("--model-version", type=positive, default=1, metavar="N", help=version)
    args = parser.parse_args()
    console.run(parser.prog, lambda: write(args))


def write(args: Namespace) -> int:
    from export.triton.repository import Serving, write_repository
    from runtime.bundle.opening import open_bundle

    bundle = open_bundle(args.bundle)
    quantization = bundle.manifest.quantization
    for_cpu = quantization is not None and quantization.target == "cpu"
    serving = Serving(
        device=args.device or ("cpu" if for_cpu else "gpu"),
        engine=args.engine,
        max_batch=args.max_batch,
        max_references=args.max_references,
        queue_delay_us=args.queue_delay,
        instances=args.instances,
        version=args.model_version,
    )
    written = write_repository(bundle, args.out, serving)
    if notice := bundle.manifest.weights.notice:
        console.say(f"dmd-triton: {notice}")
    serve = f"serve it with: tritonserver --model-repository={args.out}"
    console.tell(f"{', '.join(written)} in {args.out}; {serve}")
    return 0


def _microseconds(text: str) -> int:
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a whole number of microseconds")
    return int(text)
