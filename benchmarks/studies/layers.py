"""Compare INT8 on two sets of weights, layer by layer, to see where it behaves differently.

    python -m benchmarks.studies.layers --bundle INT8 --other INT8 --json FILE

The manifests of both bundles say what each block costs when it alone is quantised, and how close
the whole comes to float32 on held-out faces. Nothing is run. The blocks are those of the network,
so that bundles of different widths and weights can be compared.
"""

from argparse import Namespace
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from benchmarks.studies import record
from runtime.bundle.layout import PARTS
from runtime.bundle.manifest import Manifest, Quantization, QuantizedBlock
from runtime.bundle.opening import open_bundle
from runtime.errors import UsageError


@dataclass(frozen=True)
class Block:
    """A block in the first bundle and in the other: share of the arithmetic, and PSNR in dB."""

    name: str
    share: tuple[float, float]
    whole_db: tuple[float, float]
    worst_component_db: tuple[float, float]

    @classmethod
    def of(cls, one: QuantizedBlock, other: QuantizedBlock) -> "Block":
        worst = [min(each.psnr_db[part] for part in PARTS) for each in (one, other)]
        return cls(
            one.name,
            (one.share, other.share),
            (one.psnr_db["whole"], other.psnr_db["whole"]),
            (worst[0], worst[1]),
        )


def main() -> NoReturn:
    parser = record.parser("benchmarks.studies.layers", __doc__)
    parser.add_argument("--bundle", required=True, type=Path, help="INT8 bundle")
    parser.add_argument("--other", required=True, type=Path, help="INT8 bundle of other weights")
    args = parser.parse_args()
    record.record(parser.prog, args.json, partial(compare, args))


def compare(args: Namespace) -> dict[str, object]:
    """Both bundles' blocks, in order of how much more the first bundle loses than the other.

    Raises `UsageError` for bundles that are not INT8, or of different targets or blocks.
    """
    manifests = [open_bundle(path).manifest for path in (args.bundle, args.other)]
    made = [_quantization(m, p) for m, p in zip(manifests, (args.bundle, args.other), strict=True)]
    one, other = ({block.name: block for block in each.blocks} for each in made)
    if one.keys() != other.keys() or made[0].target != made[1].target:
        raise UsageError(f"{args.other}: not of the same target and blocks as {args.bundle}")
    blocks = [Block.of(one[name], other[name]) for name in one]
    return {
        "what": "PSNR in dB of one held-out face with one block quantised and all else float",
        "bundles": [
            {
                "weights": manifest.weights.source,
                "kind": manifest.weights.kind,
                "held_out_faces": each.held_out_faces,
                "quality": [vars(region) for region in each.quality],
                "back_to_float": [block.name for block in each.blocks if not block.integer],
            }
            for manifest, each in zip(manifests, made, strict=True)
        ],
        "blocks": sorted(blocks, key=_difference),
    }


def _quantization(manifest: Manifest, path: Path) -> Quantization:
    if manifest.quantization is None:
        raise UsageError(f"{path}: not an INT8 bundle")
    return manifest.quantization


def _difference(block: Block) -> float:
    """A sort key: lowest where the first bundle loses most beside the other."""
    first, other = block.whole_db
    return first - other


if __name__ == "__main__":
    main()
