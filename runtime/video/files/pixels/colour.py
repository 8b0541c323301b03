"""A clip's colours: what the network sees of them, and how its changes come back into the clip.

The numbers of range, primaries, transfer and matrix are those of ITU-T H.273, as FFmpeg has them.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.errors import VideoError
from runtime.images.arrays import Image

Floats = NDArray[np.float32]

_UNKNOWN, _RGB = 2, 0
_FULL = 2  # of a range
_PQ, _HLG = 16, 18  # transfers of HDR
_BT2020 = 9  # primaries
# red's and blue's share of the luma, by matrix
_SHARES = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
_SD_LINES = 576  # up to here an untagged clip is taken for BT.601, as players do
_WHITE = 203.0  # cd/m2 of a white page in HDR, by ITU-R BT.2408: the white of the crop
_BRIGHTEST = 10_000.0 / _WHITE
_KNEE = 0.7  # of white: what is darker is shown as it is, highlights above are compressed
_BEND = (_BRIGHTEST - _KNEE) / (1 - _KNEE)  # the brightest, above the knee
_RAISED = 250  # of 255, 482 cd/m2: up to here tones are raised, as those above are ever more light
_STEPS = 4096  # of the tables from light and to light
_FINE = 65536  # of the table from light to signal
_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)
_FROM_BT709 = np.linalg.inv(_TO_BT709).astype(np.float32)
# of SMPTE ST 2084 (PQ), and of ITU-R BT.2100's HLG
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073


@dataclass(frozen=True)
class Colours:
    """How a clip codes colours, as its file says; 2, and a range of 0, where it says nothing.

    Attributes:
        range: 1 for limited, 2 for full.
        primaries: which red, green and blue.
        transfer: from light to signal.
        matrix: from red, green and blue to luma and chroma; 0 for none.
    """

    range: int
    primaries: int
    transfer: int
    matrix: int

    @property
    def hdr(self) -> str | None:
        """The kind of HDR, "PQ" or "HLG", if it is any."""
        return {_PQ: "PQ", _HLG: "HLG"}.get(self.transfer)


@dataclass(frozen=True)
class Coding:
    """How the planes of a clip's pictures code its colours.

    Attributes:
        colours: what the file says.
        depth: bits of a value.
        full: whether the values fill the range.
        matrix: the matrix that is used: the file's, or what players take where it says nothing; 0
            for planes of green, blue and red.
    """

    colours: Colours
    depth: int
    full: bool
    matrix: int

    @cached_property
    def from_signal(self) -> Floats:
        """(3, 3): from R', G', B' between 0 and 1 to what they are in each plane's values."""
        most = float((1 << self.depth) - 1)
        if self.matrix == _RGB:
            return np.array([[0, most, 0], [0, 0, most], [most, 0, 0]], np.float32)
        red, blue = _SHARES[self.matrix]
        luma = np.array([red, 1 - red - blue, blue])
        bluish = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
        reddish = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
        step = float(1 << (self.depth - 8))
        y, c = (most, most) if self.full else (219 * step, 224 * step)
        return np.stack([luma * y, bluish * c, reddish * c]).astype(np.float32)

    def change(self, before: Image, after: Image) -> Floats:
        """What a change of shown pixels, uint8 RGB (H, W, 3), is in the planes' values, (H, W, 3).

        Where both are equal it is exactly 0. No shown colour of HDR becomes brighter than the tone
        `_RAISED` stands for, or than it was.
        """
        if self.colours.hdr is not None:
            after = np.minimum(after, np.maximum(before, _RAISED))
        signal = self._signal(after) - self._signal(before)
        return np.asarray(cv2.transform(signal, self.from_signal), np.float32)

    def shown(self, rgb: NDArray[np.uint16]) -> Image:
        """HDR's R', G', B', of 16 bits, as the network sees them: tones mapped, sRGB of 8 bits."""
        light = _light_of(self.colours.transfer)[rgb >> 4]
        if self.colours.primaries == _BT2020:
            light = np.asarray(cv2.transform(light, _TO_BT709), np.float32)
        return np.asarray(_tones()[_place(light, _STEPS)], np.uint8)

    def _signal(self, shown: Image) -> Floats:
        """The signal between 0 and 1 that is shown so: of HDR, the inverse of `shown`."""
        if self.colours.hdr is None:
            return shown * np.float32(1 / 255)
        light = _light_of_tones()[shown]
        if self.colours.primaries == _BT2020:
            light = np.asarray(cv2.transform(light, _FROM_BT709), np.float32)
        return _signal_of(self.colours.transfer)[_place(light, _FINE)]


def coding_of(colours: Colours, is_rgb: bool, full: bool, depth: int, lines: int) -> Coding:
    """The coding of planes. `full`: whether their format says so; `lines`: the picture's height.

    Raises `VideoError` for a matrix that is not known here, such as that of Dolby Vision.
    """
    if is_rgb:
        return Coding(colours, depth, True, _RGB)
    matrix = colours.matrix
    if matrix in (_UNKNOWN, _RGB):
        matrix = 6 if lines <= _SD_LINES else 1
        if colours.primaries == _BT2020:
            matrix = 9
    if matrix not in _SHARES:
        raise VideoError(f"the colour matrix {matrix} of ITU-T H.273 is not supported")
    return Coding(colours, depth, full or colours.range == _FULL, matrix)


def _place(light: Floats, steps: int) -> NDArray[np.uint16]:
    """Where a table of so many steps has this light: by the fourth root, so finely in the dark."""
    root = cv2.sqrt(cv2.sqrt(np.clip(light, 0, np.float32(_BRIGHTEST))))
    most = np.float32((steps - 1) / _BRIGHTEST**0.25)
    return np.asarray(root * most + np.float32(0.5)).astype(np.uint16)


def _places(steps: int) -> NDArray[np.float64]:
    """The light at each step of such a table."""
    return np.asarray((np.arange(steps) / (steps - 1)) ** 4 * _BRIGHTEST)


@cache
def _light_of(transfer: int) -> Floats:
    """Light, in parts of white, by the upper 12 bits of a signal."""
    return _decoded(np.arange(_STEPS) / (_STEPS - 1), transfer).astype(np.float32)


@cache
def _signal_of(transfer: int) -> Floats:
    """Signal between 0 and 1 by light."""
    light = _places(_FINE) * _WHITE
    if transfer == _PQ:
        power = (light / 10_000) ** _M1
        signal = ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
    else:  # on a screen of 1000 cd/m2, each channel by itself
        scene = (light / 1000).clip(0, 1) ** (1 / 1.2)
        root = np.sqrt(3 * scene)
        high = _A * np.log((12 * scene - _B).clip(1e-9)) + _C
        signal = np.where(scene <= 1 / 12, root, high)
    return np.asarray(signal, np.float32)


def _decoded(signal: NDArray[Any], transfer: int) -> NDArray[np.float64]:
    """Light in parts of white; the inverse of `_signal_of`."""
    if transfer == _PQ:
        root = signal ** (1 / _M2)
        light = 10_000 * ((root - _C1).clip(0) / (_C2 - _C3 * root)) ** (1 / _M1)
    else:
        low, high = signal**2 / 3, (np.exp((signal - _C) / _A) + _B) / 12
        light = 1000 * np.where(signal <= 0.5, low, high) ** 1.2
    return np.asarray(light / _WHITE, np.float64)


@cache
def _tones() -> NDArray[np.uint8]:
    """The tone that is shown, as sRGB of 8 bits, by light."""
    light = _places(_STEPS)
    over = (light - _KNEE).clip(0) / (1 - _KNEE)
    bent = over / (1 + over) * (1 + 1 / _BEND)  # 1 for the brightest
    linear = np.where(light < _KNEE, light, _KNEE + (1 - _KNEE) * bent).clip(0, 1)
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * curve), np.uint8)


@cache
def _light_of_tones() -> Floats:
    """The inverse of `_tones`: light by a tone of 8 bits."""
    tone = np.arange(256) / 255
    linear = np.where(tone <= 0.04045, tone / 12.92, ((tone + 0.055) / 1.055) ** 2.4)
    bent = (linear - _KNEE).clip(0) / (1 - _KNEE) / (1 + 1 / _BEND)
    light = np.where(linear < _KNEE, linear, _KNEE + (1 - _KNEE) * bent / (1 - bent))
    return np.asarray(light, np.float32)
