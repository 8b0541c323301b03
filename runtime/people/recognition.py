"""Who a face is: 128 numbers of an aligned crop, by dlib's face recognition network.

King, "dlib_face_recognition_resnet_model_v1", 2017: 99.38 % on Labeled Faces in the Wild by its
author. Numbers of one face lie near each other, by Euclidean distance; models/NOTICE says where the
network comes from.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.images.arrays import Image
from runtime.machine.onnx_session import open_session

SHARP = 30.0
"""`blur` of a reference up to which it says who somebody is: blurred faces all look alike."""

_MODEL = Path(__file__).with_name("models") / "face_recognition_dlib.onnx"
_NUMBERS = 128
_ROWS, _COLUMNS = slice(130, 482), slice(82, 434)  # of an aligned crop: dlib's own frame of a face
_SIDE = 150  # of the network's input
_SMOOTHING = 1.25  # pixels of it: does to sharp faces what degradation did to others
_COARSE = 16  # times smaller: what `blur` compares a crop with


class Recognizer:
    """The network, opened when it is first needed; safe to call from many threads.

    `threads`: CPU threads of a run; None takes one for each core.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._opened: Any = None

    def describe(self, crops: Sequence[Image]) -> NDArray[np.float32]:
        """Who is in aligned RGB crops, uint8 (512, 512, 3): (N, 128), not normalised.

        A face gets the same numbers whoever is beside it: each has a run of its own, as several
        in one save no time.
        """
        vectors = np.empty((len(crops), _NUMBERS), np.float32)
        for vector, crop in zip(vectors, crops, strict=True):
            (vector[:],) = self._session().run(["descriptor"], {"image": _chip(crop)[None]})[0]
        return vectors

    def _session(self) -> Any:
        with self._lock:
            if self._opened is None:
                self._opened = open_session(_MODEL, threads=self._threads)
            return self._opened


def blur(crop: Image) -> float:
    """How little detail a crop, uint8 (512, 512, 3), has: its PSNR, in dB, once that is removed.

    The crop is compared with itself made 16 times smaller and enlarged again. Clean photographs
    have about 25, the same downscaled 4, 8, 12 and 16 times about 30, 32, 35 and 37.5.
    """
    height, width = crop.shape[:2]
    size = (width // _COARSE, height // _COARSE)
    small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    back = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return float(cv2.PSNR(crop, back))


def _chip(crop: Image) -> Image:
    """What the network is shown of a crop: RGB (150, 150, 3)."""
    window = np.ascontiguousarray(crop[_ROWS, _COLUMNS])
    chip = cv2.resize(window, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(chip, (0, 0), _SMOOTHING), np.uint8)
