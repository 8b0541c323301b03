"""How like a face is to the clean one: who it is, and where its features lie.

PSNR and SSIM compare pixels. These compare what a person sees first: whether it is the same person,
and whether eyes, nose, mouth and chin are in their places.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.bundle.manifest import Manifest
from runtime.bundle.weights import COMPACT, TRAINED_FOR
from runtime.faces.alignment import IDENTITY
from runtime.faces.landmark_network import LandmarkNetwork
from runtime.faces.views import Views
from runtime.images.arrays import Image
from runtime.people.recognition import Recognizer


@dataclass(frozen=True, eq=False)
class Features:
    """Of an aligned face: `vector` (128,) says who it is, `landmarks` (68, 2) are in its pixels."""

    vector: NDArray[np.float32]
    landmarks: NDArray[np.float64]


@dataclass(frozen=True)
class Distances:
    """How far a face is from the clean one.

    `identity`: Euclidean distance of the vectors; two photographs of one person are about 0.4
    apart, two people 0.85. `landmarks_px`: mean distance of the 68 landmarks, in pixels of the
    512 x 512 face.
    """

    identity: float
    landmarks_px: float


class LikenessNetworks:
    """The two networks, opened once."""

    def __init__(self) -> None:
        self._recognizer, self._landmarks = Recognizer(), LandmarkNetwork()

    def features(self, face: Image) -> Features:
        """Of an aligned RGB face, uint8 (512, 512, 3).

        A face that the landmark network hardly takes for one has landmarks, too: they count.
        """
        (vector,) = self._recognizer.describe([face])
        points, _ = self._landmarks.run(Views(face), IDENTITY)
        return Features(vector, points)

    def likeness(self, face: Image, clean: Features) -> Distances:
        """How far an aligned RGB face is from the clean one of the same place and size."""
        found = self.features(face)
        return Distances(
            float(np.linalg.norm(found.vector - clean.vector)),
            float(np.linalg.norm(found.landmarks - clean.landmarks, axis=1).mean()),
        )


def caveat(manifests: Iterable[Manifest]) -> str | None:
    """What must be said of identity distances of these bundles; None: nothing."""
    return TRAINED_FOR if any(each.weights.kind == COMPACT for each in manifests) else None
