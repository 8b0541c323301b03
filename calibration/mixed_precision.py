"""Mixed precision: what quantising each block costs, and which blocks to put back to float."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from tqdm import tqdm

from calibration.graph import Graph
from calibration.quality import least_psnr
from runtime.bundle.manifest import Quality, QuantizedBlock

DICTIONARY = "generic dictionary"
AT_ONCE = 2  # trials: one graph is written and opened, on one core, while another runs


def each_alone(
    graph: Graph, psnr: Callable[[Collection[str]], Mapping[str, float]]
) -> tuple[QuantizedBlock, ...]:
    """Measure the generic dictionary, and then each block, quantised while all else is float.

    `psnr` takes the names of the blocks to quantise and returns the PSNR in dB of each region;
    `AT_ONCE` threads call it.
    """
    work: Counter[str] = Counter()
    for layer in graph.layers:
        work[layer.block] += layer.multiplications
    trials = {DICTIONARY: [], **{block: [block] for block in graph.blocks}}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        judged = zip(trials, pool.map(psnr, trials.values()), strict=True)
        bar = tqdm(judged, "sensitivity", len(trials), unit="block", leave=False, disable=None)
        try:
            return tuple(
                QuantizedBlock(name, decibels, work[name] / work.total(), integer=True)
                for name, decibels in bar
            )
        except BaseException:
            pool.shutdown(cancel_futures=True)  # Ctrl-C waits for no trial that has not begun
            raise


def to_put_back(
    alone: Sequence[QuantizedBlock],
    blocks: Sequence[str],
    quality: Sequence[Quality],
    min_psnr_db: float,
) -> list[str]:
    """Choose those of `blocks` that must go back to float for `quality` to pass the gate.

    Those that save most error for least arithmetic come first. It is assumed that the errors of
    blocks add up, so the result must be measured. At least one is chosen, unless none is left.
    """
    error = {row.region: _square(row.mean_psnr_db) for row in quality}
    least = {region: _square(least_psnr(region, min_psnr_db)) for region in error}
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


def table(alone: Sequence[QuantizedBlock]) -> str:
    """A table of every block's error alone, in the network's order."""
    lines = ["block                 alone: whole  worst component   share of work  runs in"]
    for row in alone:
        worst = min(psnr for region, psnr in row.psnr_db.items() if region != "whole")
        lines.append(
            f"{row.name:20} {row.psnr_db['whole']:10.1f} dB {worst:13.1f} dB "
            f"{row.share:14.1%}  {'int8' if row.integer else 'float'}"
        )
    return "\n".join(lines)


def _gain(row: QuantizedBlock, error: Mapping[str, float], missed: Sequence[str]) -> float:
    saved = max(
        (_square(row.psnr_db[region]) / error[region] for region in missed),
        default=_square(row.psnr_db["whole"]),
    )
    return saved / row.share


def _square(psnr_db: float) -> float:
    """The mean square error that a PSNR stands for, of a range of 1."""
    return float(10 ** (-psnr_db / 10))
