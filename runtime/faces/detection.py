"""Finding faces in photographs of any size.

The network finds faces of 30 px and more in the picture that it sees. It sees the photo at the size
that the smallest face wanted needs, and a small picture of it, for faces that fill the frame.

It knows faces that are turned by up to 30 degrees, and large ones by up to 45. Of others it is less
sure, and takes them for upright ones; so what is doubtful is looked at again, from near and turned.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.faces.alignment import Points, inverse, transform
from runtime.faces.views import resized, square
from runtime.faces.yunet import Candidates, YuNet, merged, together
from runtime.images.arrays import Image

_SEEN = 30.0  # pixels between the ears that a face needs in the picture that the network sees
_LONG = 1920  # longest side that is searched unless a smallest face is named
_SMALL = 640  # longest side of the small picture
_ALONE = 1280  # longest side of a picture that needs no small one beside it
_ENLARGED = 2.0  # times at most: smaller faces have too little to be seen
_PART = 2048  # longest side of what is searched at once: 150 MiB in the network
_OVERLAP = 1.5  # times the smallest face that is found in the small picture

_SCORE = 0.5  # of a face; what is none is found out by the landmark network
_SURE = 0.88  # upright faces have 0.90 to 0.95; turned by 45 degrees, 0.89; what is none, 0.84
_DOUBT, _LARGE = 0.2, 40.0  # of a face on its side, if it has so many pixels where it is seen

_TURNS = range(0, 360, 45)  # degrees of the second look
_CLOSE, _FACE = 128, 60.0  # pixels: its picture's side, and the longer side of a face in it

_Region = tuple[int, int, int, int]  # of the photo: left, top, right, bottom


@dataclass(frozen=True)
class Detection:
    """A face: box `x1 y1 x2 y2`, score in 0..1, and eyes, nose and mouth corners (5, 2).

    All in pixels of the photo; the points are in the order of `alignment.TEMPLATE`.
    """

    box: NDArray[np.float64]
    score: float
    keypoints: NDArray[np.float64]

    @property
    def sure(self) -> bool:
        """Whether it is a face, and most probably an upright one."""
        return self.score >= _SURE


class FaceDetector:
    """Finds faces; safe to call from many threads.

    Args:
        threads: CPU threads of a search; None: one for each core.
        min_face: width between the ears, in pixels of the photo, of the smallest face wanted;
            None: that of 30 px where the photo's longer side is at most 1920 px.
    """

    def __init__(self, threads: int | None = None, min_face: int | None = None) -> None:
        self._network = YuNet(threads)
        self._min_face = min_face

    def detect(self, image: Image) -> list[Detection]:
        """What may be faces in an RGB photo (H, W, 3), best first.

        What is not `sure` is a face only if `look_again` finds it, too.
        """
        found = merged(together([self._search(image, *view) for view in self._views(image)]))
        return [_detection(found, index) for index in range(len(found.scores))]

    def look_again(self, image: Image, doubtful: Detection) -> Detection | None:
        """A detection as it is when seen from near and turned; None if it is no face."""
        box = doubtful.box
        middle, scale = (box[:2] + box[2:]) / 2, _FACE / (box[2:] - box[:2]).max()
        best, least = doubtful if doubtful.score >= _SCORE else None, _SCORE
        for degrees in _TURNS:
            turn = cv2.getRotationMatrix2D(middle.tolist(), degrees, scale)
            matrix = np.asarray(turn, np.float64)
            matrix[:, 2] += _CLOSE / 2 - middle
            found = self._network.run(square(image, matrix, _CLOSE), least)
            off = np.abs((found.boxes[:, :2] + found.boxes[:, 2:] - _CLOSE) / 2).max(axis=1)
            found = merged(found.taken(off < _FACE / 2)).taken(slice(1))
            if found.scores.size:
                best, least = _turned_back(found, matrix, degrees), found.scores[0]
        return best

    def _views(self, image: Image) -> Iterator[tuple[_Region, float]]:
        """What the network sees: regions of the photo, and at which scale."""
        height, width = image.shape[:2]
        longest = max(height, width)
        small = min(1.0, _SMALL / longest)
        scale = min(1.0, _LONG / longest)
        if self._min_face is not None:
            scale = min(max(_SEEN / self._min_face, small), _ENLARGED)
        if scale * longest > _ALONE:
            yield (0, 0, width, height), small
        # a face that no part has whole is large enough for the small picture
        side, overlap = int(_PART / scale), int(_OVERLAP * _SEEN / small)
        for top, bottom in _spans(height, side, overlap):
            for left, right in _spans(width, side, overlap):
                yield (left, top, right, bottom), scale

    def _search(self, image: Image, region: _Region, scale: float) -> Candidates:
        """What may be faces in a region of the photo, in the photo's pixels."""
        left, top, right, bottom = region
        picture = resized(image[top:bottom, left:right], scale)
        found = self._network.run(picture, _DOUBT)
        size = (found.boxes[:, 2:] - found.boxes[:, :2]).max(axis=1)
        middle = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
        edge = np.array(picture.shape[1::-1])
        inside = ((middle >= 0) & (middle <= edge)).all(axis=1) & (size <= 2 * edge.max())
        found = found.taken(inside & ((size >= _LARGE) | (found.scores >= _SCORE)))
        back = np.array([right - left, bottom - top]) / picture.shape[1::-1]
        return found.moved(back, (left, top))


def _turned_back(found: Candidates, matrix: Points, degrees: int) -> Detection:
    """The face of a turned picture in the photo; `matrix` (2, 3): photo -> picture.

    A box that is turned by 45 degrees becomes a square of its area.
    """
    back = inverse(matrix)
    middle = transform(back, (found.boxes[:, :2] + found.boxes[:, 2:]) / 2)
    half = (found.boxes[:, 2:] - found.boxes[:, :2]) / 2 * np.sqrt(np.linalg.det(back[:, :2]))
    share = np.sin(np.radians(degrees)) ** 2
    half = half ** (1 - share) * half[:, ::-1] ** share
    points = transform(back, found.points.reshape(-1, 2)).reshape(-1, 5, 2)
    return _detection(
        Candidates(np.hstack([middle - half, middle + half]), found.scores, points), 0
    )


def _detection(found: Candidates, index: int) -> Detection:
    return Detection(found.boxes[index], float(found.scores[index]), found.points[index])


def _spans(length: int, side: int, overlap: int) -> list[tuple[int, int]]:
    """Starts and ends of overlapping parts of at most `side` that cover `length`."""
    side = min(side, length)
    count = 1 - -(length - side) // max(1, side - overlap)
    starts = np.linspace(0, length - side, count).round().astype(int).tolist()
    return [(start, start + side) for start in starts]
