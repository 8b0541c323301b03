"""Making a clean face as bad as the ones that users bring, the same for the same seed."""

import cv2
import numpy as np

from runtime.bundle.layout import IMAGE_SIZE
from runtime.images.arrays import Image

_DETAIL_DB = 41.5  # of 61 real faces: clean ones 26-40 dB, degraded ones 43-51


def degrade(face: Image, rng: np.random.Generator) -> Image:
    """Blur, downscaling 2 to 16 times, noise and JPEG, in the order a bad photo gets them.

    `face` uint8 (512, 512, 3) RGB -> the same shape. The recipe is that of blind face restoration
    (GFPGAN, arXiv 2101.04061, section 4.1), with a downscaling of 2 at least.
    """
    image = cv2.GaussianBlur(face, (0, 0), rng.uniform(0.5, 5))
    side = round(IMAGE_SIZE / rng.uniform(2, 16))
    image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    noise = rng.normal(0, rng.uniform(0, 12), image.shape)
    image = (image + noise).round().clip(0, 255).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))]
    ok, data = cv2.imencode(".jpg", image[:, :, ::-1], quality)
    assert ok
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    size = (IMAGE_SIZE, IMAGE_SIZE)
    large = cv2.resize(decoded[:, :, ::-1], size, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(large, np.uint8)


def is_clean(face: Image) -> bool:
    """Whether an aligned face has detail that halving its resolution twice would lose."""
    size = (IMAGE_SIZE // 4, IMAGE_SIZE // 4)
    small = cv2.resize(face, size, interpolation=cv2.INTER_AREA)
    back = cv2.resize(small, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_CUBIC)
    return cv2.PSNR(face, back) < _DETAIL_DB
