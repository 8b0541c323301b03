"""What each block costs in quality, and which ones to put back to float first."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from calibration.graph import Graph
from calibration.quality import COMPONENT_ALLOWANCE_DB
from runtime.bundle.manifest import Quality

DICTIONARY = "generic dictionary"


@dataclass(frozen=True)
class Alone:
    """A block quantised while all else is float: PSNR in dB by region; its share of the work."""

    name: str
    psnr_db: Mapping[str, float]
    share: float


def each_alone(
    graph: Graph, psnr: Callable[[Collection[str]], Mapping[str, float]]
) -> tuple[Alone, ...]:
    """Try every block, and the generic dictionary, by `psnr` of the blocks that are quantised."""
    work = dict.fromkeys(graph.blocks, 0)
    for layer in graph.layers:
        work[layer.block] = work.get(layer.block, 0) + layer.multiplications
    total = sum(work.values())
    trials: list[tuple[str, list[str]]] = [(DICTIONARY, [])]
    trials += [(block, [block]) for block in graph.blocks]
    return tuple(
        Alone(name, psnr(blocks), work.get(name, 0) / total)
        for name, blocks in tqdm(
            trials, desc="sensitivity", unit="block", leave=False, disable=None
        )
    )


def to_put_back(
    alone: Sequence[Alone], blocks: Sequence[str], quality: Sequence[Quality], min_psnr_db: float
) -> list[str]:
    """Blocks of `blocks` whose errors, taken away, should bring `quality` past the gate.

    Most error saved for least arithmetic first; errors of blocks are taken to add up, so the
    result must be measured. At least one block, unless none is left.
    """
    error = {row.region: _square(row.mean_psnr_db) for row in quality}
    least = {
        region: _square(min_psnr_db - (COMPONENT_ALLOWANCE_DB if region != "whole" else 0))
        for region in error
    }
    left = {row.name: row for row in alone if row.name in blocks}
    chosen: list[str] = []
    while left:
        missed = [region for region in error if error[region] > least[region]]
        if chosen and not missed:
            break
        best = max(left.values(), key=lambda row: _gain(row, error, missed))
        chosen.append(left.pop(best.name).name)
        error = {region: e - _square(best.psnr_db[region]) for region, e in error.items()}
    return chosen


def table(alone: Sequence[Alone], blocks: Collection[str]) -> str:
    """Every block's error alone, in the order of the network."""
    lines = ["block                 alone: whole  worst component   share of work  runs in"]
    for row in alone:
        worst = min(psnr for region, psnr in row.psnr_db.items() if region != "whole")
        kind = "int8" if row.name in (*blocks, DICTIONARY) else "float"
        lines.append(
            f"{row.name:20} {row.psnr_db['whole']:10.1f} dB {worst:13.1f} dB "
            f"{row.share:14.1%}  {kind}"
        )
    return "\n".join(lines)


def _gain(row: Alone, error: Mapping[str, float], missed: Sequence[str]) -> float:
    saved = max(
        (_square(row.psnr_db[region]) / error[region] for region in missed),
        default=_square(row.psnr_db["whole"]),
    )
    return saved / row.share


def _square(psnr_db: float) -> float:
    """The mean square error that a PSNR stands for, of a range of 1."""
    return float(10 ** (-psnr_db / 10))
