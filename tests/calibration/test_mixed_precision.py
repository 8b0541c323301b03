import numpy as np

from calibration.mixed_precision import DICTIONARY, table, to_put_back
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
