import numpy as np
import pytest

from calibration.quality import score, shortfalls, summary, table

BOXES = np.array([[100, 200, 160, 260], [300, 200, 360, 260], [0, 0, 9, 9], [200, 350, 300, 450]])


def test_regions_are_scored_apart() -> None:
    rng = np.random.default_rng(0)
    wanted = rng.integers(20, 230, (512, 512, 3)).astype(np.uint8)
    got = wanted.copy()
    got[200:260, 300:360] += 10  # the right eye
    row = score("a", got, wanted, BOXES)
    assert row.psnr_db["le"] == row.psnr_db["mo"] == 100
    assert row.psnr_db["re"] == pytest.approx(20 * np.log10(255 / 10))
    share = 60 * 60 / 512**2
    assert row.psnr_db["whole"] == pytest.approx(20 * np.log10(255 / 10) - 10 * np.log10(share))
    assert row.ssim["le"] == 1
    assert 0.9 < row.ssim["re"] < 0.9999
    black = score("b", np.zeros_like(wanted), wanted, BOXES)
    assert black.psnr_db["whole"] < 8
    assert black.ssim["whole"] < 0.01

    rows = summary([row, black])
    by_region = {r.region: r for r in rows}
    assert by_region["le"].worst_face == "b"
    assert by_region["le"].mean_psnr_db == pytest.approx((100 + black.psnr_db["le"]) / 2)
    assert "right eye" in table(rows)


def test_boxes_at_the_border_and_tiny_ones() -> None:
    image = np.zeros((512, 512, 3), np.uint8)
    boxes = np.array([[-5, -5, 1, 1], [511, 511, 520, 520], [0, 0, 1, 1], [508, 0, 512, 3]])
    assert score("a", image, image, boxes).ssim["re"] == 1


def test_the_gate() -> None:
    wanted = np.full((512, 512, 3), 100, np.uint8)
    got = wanted + 5  # 34.2 dB
    rows = summary([score("a", got, wanted, BOXES)])
    assert shortfalls(rows, 34.0) == []
    assert shortfalls(rows, 35.0) == ["whole 34.2 dB, under 35"]  # 3 dB less on a component
    assert len(shortfalls(rows, 38.0)) == 4
