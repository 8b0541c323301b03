"""Finding faces in photographs of any size.

The network responds to faces of 20 px and more, and sees the photo at the size at which the
smallest face wanted has a little more; where that is a large one, also smaller pictures of it.

It is sure of large faces that are upright, or turned by up to 30 degrees. Of small ones it is less
sure, and turned ones it takes for upright ones, or finds them in the small picture on its side. So
what is doubtful is looked at again from near: as it is, and turned.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.faces.alignment import Points, inverse, transform
from runtime.faces.views import Region, Views
from runtime.faces.yunet import Candidates, YuNet, apart, joined
from runtime.images.arrays import Image

UPRIGHT, QUARTERS, AROUND = (0,), range(0, 360, 90), range(0, 360, 45)
"""By how many degrees what may be a face is turned to be looked at again."""

GLIMPSE, SCORE, SURE = 0.3, 0.5, 0.88
"""Scores from near: of what is looked at once more; of a face, while what is none is found out by
the landmark network; and of a face that is most probably upright. Upright ones have 0.90 to 0.95,
others up to 0.89, what is no face up to 0.84."""

_SEEN = 23.0  # pixels between the ears that a face needs in the picture that the network sees
_LONG = 1280  # longest side that is searched at once
_LEAST = 36.0  # pixels of the photo: the smallest face wanted by default, where _LONG allows it
_SMALL = 640  # longest side of the smallest picture that is searched upright
_ON_SIDE = 448  # longest side of the picture that is searched on its side
_STEP = 4.0  # times: from one picture to the next smaller one, for faces that are in no part whole
_ENLARGED = 2.0  # times at most: smaller faces have too little to be seen
_PART = 2048  # longest side of what is searched at once: 150 MiB in the network
_OVERLAP = 1.5  # times the smallest face that is found in the next picture

_DOUBT = 0.15  # score of what may be a face: the smallest, and those on their side, have no more
_LARGE = 40.0  # pixels where it is seen: a face that may be on its side

_CLOSE, _FACE = 96, 45.0  # pixels: side of a picture from near, and longer side of a face in it
_TURNED = 136  # its diagonal: what is cut out to be turned


@dataclass(frozen=True)
class Detection:
    """A face: box `x1 y1 x2 y2`, score in 0..1, and eyes, nose and mouth corners (5, 2).

    All in pixels of the photo; the points are in the order of `alignment.TEMPLATE`. `may_lie`:
    whether it is large enough to be seen although it lies on its side.
    """

    box: NDArray[np.float64]
    score: float
    keypoints: NDArray[np.float64]
    may_lie: bool = True

    @property
    def sure(self) -> bool:
        """Whether it is a face, and most probably an upright one."""
        return self.score >= SURE


class FaceDetector:
    """Finds faces; safe to call from many threads.

    Args:
        threads: CPU threads of a search; None: one for each core.
        min_face: width between the ears, in pixels of the photo, of the smallest face wanted;
            None: 36, or a 56th of the photo's longer side, if that is more.
    """

    def __init__(self, threads: int | None = None, min_face: int | None = None) -> None:
        self._network = YuNet(threads)
        self._min_face = min_face

    def detect(self, views: Views) -> list[Detection]:
        """What may be faces in a photo, best first.

        What is not `sure` is a face only if `look_again` finds it, too.
        """
        found, large = [], []
        for region, scale in self._regions(*views.photo.shape[1::-1]):
            candidates, is_large = self._search(views, region, scale)
            found.append(candidates)
            large.append(is_large)
        on_side = self._search_on_side(views)
        every = joined([*found, on_side])
        large_ones = np.concatenate([*large, np.ones(len(on_side.scores), bool)])
        kept = apart(every.boxes, every.scores)
        return [_detection(every, index, bool(large_ones[index])) for index in kept]

    def look_again(
        self, views: Views, doubtful: Detection, degrees: Sequence[int], least: float
    ) -> Detection | None:
        """A detection as it is when seen from near and turned; None if it is no face.

        Args:
            degrees: by how much it is turned; the best view counts.
            least: score from near, if it has less than SCORE from far.
        """
        box = doubtful.box
        middle, scale = (box[:2] + box[2:]) / 2, _FACE / (box[2:] - box[:2]).max()
        upright = np.column_stack([np.eye(2) * scale, (_TURNED - 1) / 2 - scale * middle])
        around = views.square(upright, _TURNED)
        turns = [_about_middle(turn) for turn in degrees]
        strip = [cv2.warpAffine(around, turn, (_CLOSE, _CLOSE)) for turn in turns]
        found = self._network.run(np.hstack(strip), least)
        index = (found.middles[:, 0] // _CLOSE).astype(int)
        off = np.abs(found.middles - np.column_stack([index, 0 * index]) * _CLOSE - _CLOSE / 2)
        central = np.flatnonzero((off < _FACE / 3).all(axis=1) & (index < len(turns)))
        if not central.size:
            return doubtful if doubtful.score >= SCORE else None
        best = central[found.scores[central].argmax()]
        view = index[best]
        face = found.taken(slice(best, best + 1)).moved(np.ones(2), (-view * _CLOSE, 0))
        seen = _turned_back(face, turns[view] @ np.vstack([upright, [0, 0, 1]]), degrees[view])
        middle = (seen.box[:2] + seen.box[2:]) / 2
        in_photo = bool(((middle >= 0) & (middle <= views.photo.shape[1::-1])).all())
        return seen if in_photo else None  # what is outside is the photo's mirrored border

    def _regions(self, width: int, height: int) -> Iterator[tuple[Region, float]]:
        """What the network sees: regions of the photo, and at which scale."""
        longest = max(height, width)
        small = min(1.0, _SMALL / longest)
        least = self._min_face or max(_LEAST, _SEEN * longest / _LONG)
        scale = min(max(_SEEN / least, small), _ENLARGED)
        while round(scale * longest) > _LONG:
            smaller = max(scale / _STEP, small)
            # a face that no part has whole is large enough for the next picture
            side, overlap = int(_PART / scale), int(_OVERLAP * _SEEN / smaller)
            for top, bottom in _spans(height, side, overlap):
                for left, right in _spans(width, side, overlap):
                    yield (left, top, right, bottom), scale
            scale = smaller
        yield (0, 0, width, height), scale

    def _search(
        self, views: Views, region: Region, scale: float
    ) -> tuple[Candidates, NDArray[np.bool_]]:
        """What may be faces in a region, in the photo's pixels, and which are large in the view."""
        left, top, right, bottom = region
        is_whole = scale <= 1 and region == (0, 0, *views.photo.shape[1::-1])
        picture = views.whole(scale) if is_whole else views.part(region, scale)
        found = _plausible(self._network.run(picture, _DOUBT), picture)
        edge = np.array(picture.shape[1::-1])
        # what an inner edge of the region cuts is whole in another, or in a smaller picture
        start, end = np.array([left, top]), np.array([right, bottom])
        cut = (found.boxes[:, :2] < 0) & (start > 0)
        cut |= (found.boxes[:, 2:] > edge) & (end < views.photo.shape[1::-1])
        found = found.taken(np.flatnonzero(~cut.any(axis=1)))
        return found.moved((end - start) / edge, (left, top)), found.sides >= _LARGE

    def _search_on_side(self, views: Views) -> Candidates:
        """What may be faces in the small picture, turned by 90 degrees, in the photo's pixels."""
        height, width = views.photo.shape[:2]
        small = views.whole(min(1.0, _ON_SIDE / max(height, width)))
        turned = np.ascontiguousarray(np.rot90(small))
        found = _plausible(self._network.run(turned, _DOUBT), turned)
        # counter-clockwise: x, y of what is turned lie at width - y, x
        across, down = small.shape[1], small.shape[0]
        left, top, right, bottom = found.boxes.T
        boxes = np.column_stack([across - bottom, left, across - top, right])
        points = np.stack([across - found.points[..., 1], found.points[..., 0]], axis=-1)
        back = np.array([width / across, height / down])
        return Candidates(boxes, found.scores, points).moved(back, (0, 0))


def _plausible(found: Candidates, picture: Image) -> Candidates:
    """One candidate a face, whose middle is in the picture, and which is not far larger than it."""
    edge = np.array(picture.shape[1::-1])
    inside = ((found.middles >= 0) & (found.middles <= edge)).all(axis=1)
    inside &= found.sides <= 2 * edge.max()
    found = found.taken(inside)
    return found.taken(apart(found.boxes, found.scores))


def _about_middle(degrees: int) -> Points:
    """Matrix (2, 3) that turns what is cut out, and takes its middle."""
    turn = np.asarray(cv2.getRotationMatrix2D([(_TURNED - 1) / 2] * 2, degrees, 1), np.float64)
    turn[:, 2] -= (_TURNED - _CLOSE) / 2
    return turn


def _turned_back(found: Candidates, matrix: Points, degrees: int) -> Detection:
    """The face of a turned picture in the photo; `matrix` (2, 3): photo -> picture.

    A box that is turned by 45 degrees becomes a square of its area.
    """
    back = inverse(matrix)
    middle = transform(back, found.middles)
    half = (found.boxes[:, 2:] - found.boxes[:, :2]) / 2 * np.sqrt(np.linalg.det(back[:, :2]))
    share = np.sin(np.radians(degrees)) ** 2
    half = half ** (1 - share) * half[:, ::-1] ** share
    points = transform(back, found.points.reshape(-1, 2)).reshape(-1, 5, 2)
    return _detection(
        Candidates(np.hstack([middle - half, middle + half]), found.scores, points), 0
    )


def _detection(found: Candidates, index: int, large: bool = True) -> Detection:
    return Detection(found.boxes[index], float(found.scores[index]), found.points[index], large)


def _spans(length: int, side: int, overlap: int) -> list[tuple[int, int]]:
    """Starts and ends of parts of one size, at most `side`, that cover `length` and overlap."""
    count = max(1, -((overlap - length) // max(1, side - overlap)))
    part = min(length, -(-(length + (count - 1) * overlap) // count))
    starts = np.linspace(0, length - part, count).round().astype(int).tolist()
    return [(start, start + part) for start in starts]
