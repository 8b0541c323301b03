"""Degrade clean pictures to what users bring; the same seed gives the same result."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.bundle.layout import IMAGE_SIZE
from runtime.images.arrays import Image

_DETAIL_DB = 41.5  # of 61 real faces: clean ones 26-40 dB, degraded ones 43-51


@dataclass(frozen=True)
class Recipe:
    """How a photo is degraded: by blur, downscaling, noise and JPEG, in this order.

    `shrink`: how many times smaller its sides became; `blur`: sigma of a Gaussian in pixels of the
    clean picture, 0 for none; `noise`: sigma in levels of 255; `quality`: of JPEG, 1 to 100.
    """

    shrink: float
    blur: float
    noise: float
    quality: int

    @property
    def text(self) -> str:
        """The recipe in words."""
        blur = f"blur of sigma {self.blur:g}, " if self.blur else ""
        return (
            f"{blur}{self.shrink:g} times smaller, noise of sigma {self.noise:g}, "
            f"JPEG quality {self.quality}"
        )


def shrunk(image: Image, recipe: Recipe, rng: np.random.Generator) -> Image:
    """Degrade a picture: uint8 (H, W, 3) RGB -> uint8 (H / shrink, W / shrink, 3) RGB."""
    noise = rng.standard_normal(_small(image, recipe.shrink))
    return _made_bad(image, recipe, noise)


def worsened(image: Image, recipe: Recipe, rng: np.random.Generator) -> Image:
    """Degrade a picture and enlarge it (bilinearly) to its old size, uint8 (H, W, 3) RGB."""
    return _enlarged(shrunk(image, recipe, rng), image)


def degrade(face: Image, rng: np.random.Generator) -> Image:
    """Degrade a face at random: `face` uint8 (512, 512, 3) RGB -> the same shape.

    The ranges are those of blind face restoration (GFPGAN, arXiv 2101.04061, section 4.1), with a
    downscaling of 2 at least.
    """
    blur, shrink, noise = rng.uniform(0.5, 5), rng.uniform(2, 16), rng.uniform(0, 12)
    field = rng.standard_normal(_small(face, shrink))
    recipe = Recipe(shrink, blur, noise, int(rng.integers(40, 95)))
    return _enlarged(_made_bad(face, recipe, field), face)


def is_clean(face: Image) -> bool:
    """Whether an aligned face has detail that halving its resolution twice would lose."""
    size = (IMAGE_SIZE // 4, IMAGE_SIZE // 4)
    small = cv2.resize(face, size, interpolation=cv2.INTER_AREA)
    back = cv2.resize(small, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_CUBIC)
    return cv2.PSNR(face, back) < _DETAIL_DB


def _small(image: Image, shrink: float) -> tuple[int, int, int]:
    height, width = (max(1, round(side / shrink)) for side in image.shape[:2])
    return height, width, 3


def _made_bad(image: Image, recipe: Recipe, noise: NDArray[np.float64]) -> Image:
    """`noise`: standard normal, of the small picture's shape."""
    bad = image
    if recipe.blur:
        bad = np.asarray(cv2.GaussianBlur(image, (0, 0), recipe.blur), np.uint8)
    height, width, _ = noise.shape
    small = cv2.resize(bad, (width, height), interpolation=cv2.INTER_AREA)
    noisy = (small + recipe.noise * noise).round().clip(0, 255).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, recipe.quality]
    ok, data = cv2.imencode(".jpg", noisy[:, :, ::-1], quality)
    assert ok
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.ascontiguousarray(decoded[:, :, ::-1], np.uint8)


def _enlarged(small: Image, like: Image) -> Image:
    height, width = like.shape[:2]
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(large, np.uint8)
