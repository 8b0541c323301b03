import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

import numpy as np
import pytest

from calibration.graph import Graph
from calibration.mixed_precision import DICTIONARY, each_alone, table, to_put_back
from runtime.bundle.manifest import Quality, QuantizedBlock

REGIONS = ("whole", "le", "re", "mo")


def alone(
    name: str, psnr: float, share: float, mouth: float | None = None, integer: bool = True
) -> QuantizedBlock:
    row = dict.fromkeys(REGIONS, psnr)
    return QuantizedBlock(name, row | ({} if mouth is None else {"mo": mouth}), share, integer)


def quality(psnr: float, mouth: float | None = None) -> list[Quality]:
    values = dict.fromkeys(REGIONS, psnr) | ({} if mouth is None else {"mo": mouth})
    return [Quality(r, v, v, 1, 1, "") for r, v in values.items()]


@dataclass(frozen=True)
class Layer:
    block: str
    multiplications: int


@dataclass(frozen=True)
class Layers:
    """As much of a `Graph` as choosing blocks needs."""

    layers: tuple[Layer, ...] = (Layer("a", 30), Layer("a", 30), Layer("b", 30), Layer("c", 10))
    blocks: tuple[str, ...] = ("a", "b", "c")


def test_each_block_alone_in_the_order_of_the_network() -> None:
    """Though trials run side by side, and a later one may be done before."""

    def psnr(blocks: Collection[str]) -> dict[str, float]:
        time.sleep(0.1 if "a" in blocks else 0)
        return dict.fromkeys(REGIONS, 40.0 + sum(map(ord, blocks)))

    rows = each_alone(cast(Graph, Layers()), psnr)
    assert [row.name for row in rows] == [DICTIONARY, "a", "b", "c"]
    assert [row.psnr_db["whole"] for row in rows] == [40.0, *(40.0 + ord(c) for c in "abc")]
    assert [row.share for row in rows] == pytest.approx([0, 0.6, 0.3, 0.1])


def test_a_trial_that_fails_ends_all() -> None:
    tried: list[Collection[str]] = []

    def psnr(blocks: Collection[str]) -> dict[str, float]:
        tried.append(blocks)
        if len(tried) > 1:  # the error has the time of all others to stop them
            time.sleep(0.05)
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        each_alone(cast(Graph, Layers(blocks=tuple(map(str, range(1000))))), psnr)
    assert len(tried) < 1000


def test_most_error_for_least_time() -> None:
    blocks = [alone("cheap", 38, 0.01), alone("dear", 38, 0.5), alone("small", 60, 0.01)]
    names = [block.name for block in blocks]
    total = -10 * np.log10(2 * 10**-3.8 + 10**-6)  # 35 dB
    assert to_put_back(blocks, names, quality(total), 36) == ["cheap"]
    assert to_put_back(blocks, names, quality(total), 50) == ["cheap", "dear"]
    assert to_put_back(blocks, names[1:], quality(total), 99) == ["dear", "small"]
    assert to_put_back(blocks, [], quality(total), 36) == []


def test_at_least_one_block_even_if_the_estimate_is_met() -> None:
    blocks = [alone("a", 50, 0.1), alone("b", 40, 0.1)]
    assert to_put_back(blocks, ["a", "b"], quality(40), 35) == ["b"]


def test_the_missed_region_decides() -> None:
    blocks = [alone("mouth", 60, 0.1, mouth=30), alone("rest", 36, 0.1, mouth=60)]
    assert to_put_back(blocks, ["mouth", "rest"], quality(36, mouth=30), 35) == ["mouth"]


def test_table() -> None:
    blocks = [alone(DICTIONARY, 70, 0), alone("a", 50, 0.25), alone("b", 40, 0.75, 37, False)]
    lines = table(blocks).splitlines()
    assert [line.split()[-1] for line in lines[1:]] == ["int8", "int8", "float"]
    assert "37.0 dB" in lines[3]
    assert "75.0%" in lines[3]
