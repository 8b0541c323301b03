"""From a photograph to its faces: detect, align, place 68 landmarks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from runtime.bundle.layout import IMAGE_SIZE
from runtime.errors import InvalidLandmarksError
from runtime.faces.alignment import (
    IDENTITY,
    TEMPLATE,
    Points,
    check_crop,
    five_points,
    inverse,
    similarity,
    transform,
)
from runtime.faces.compositing import extract
from runtime.faces.detection import (
    AROUND,
    GLIMPSE,
    QUARTERS,
    SCORE,
    SURE,
    UPRIGHT,
    Detection,
    FaceDetector,
)
from runtime.faces.landmark_network import LandmarkNetwork
from runtime.faces.landmarks import check_landmarks, component_boxes
from runtime.faces.views import Views
from runtime.faces.yunet import apart
from runtime.images.arrays import Image

_PRESENCE = 0.0  # logit: faces of the test photographs give 9 and more, anything else under 0
_CLEAR = 12.0  # faces that are taken for upright and are upside down give at most 9
_FAINT = -6.0  # blurred faces, of which the detector is sure, and whose landmarks are still right
_STILL, _TRIES = 6.0, 4  # pixels by which the crop still moves, and crops that are looked at
_SAME = 0.1  # of a face's size: landmarks that are nearer are of one face
_MIDDLE, _REACH = IMAGE_SIZE / 2, 1.5 * IMAGE_SIZE  # of a crop: as far as a face may lie out of it


@dataclass(frozen=True)
class Likeness:
    """How near a face is to the references of its person: 0.57 is where strangers begin.

    Attributes:
        before: distance to them before it was restored.
        after: distance to them as it was restored.
        remark: what to know of the weights that restored it; None where there is nothing. The
            compact ones were trained against the network that this is measured with.
    """

    before: float
    after: float
    remark: str | None


@dataclass(frozen=True)
class Face:
    """A face that was found in a photo.

    Attributes:
        box: (4,) x1, y1, x2, y2 in pixels of the photo.
        score: how certain the detector is, from 0 to 1.
        landmarks: (68, 2) x, y in pixels of the photo, iBUG order.
        transform: (2, 3) matrix that takes x, y, 1 of the photo to x, y in the aligned 512 x 512
            crop of the face, as `cv2.warpAffine` takes it.
        name: who it is: one of the people that it was compared with, or the person who was given by
            hand; None for nobody, and from `detect`.
        distance: to the references of the nearest of the people that it was compared with, or to
            those of the person who was given by hand; None where it was compared with nobody.
        runner_up: the next nearest of the people.
        runner_up_distance: to the runner-up's references.
        threshold: the distance up to which a person was accepted.
        guess: the nearest person, where that may be who it is, but nobody was chosen.
        likeness: distances to its person before and after it was restored; None where nobody is
            known, and from `detect`.
    """

    box: NDArray[np.float64]
    score: float
    landmarks: NDArray[np.float64]
    transform: NDArray[np.float64]
    name: str | None = None
    distance: float | None = None
    runner_up: str | None = None
    runner_up_distance: float | None = None
    threshold: float | None = None
    guess: str | None = None
    likeness: Likeness | None = None


@dataclass(frozen=True)
class Crop:
    """A face as the network takes it: uint8 (512, 512, 3) RGB and its int32 (4, 4) boxes."""

    image: Image
    boxes: NDArray[np.int32]


LandmarkDetector = Callable[[Image], ArrayLike]
"""Your own landmark detector, in place of the built-in network (docs/landmarks.md).

It takes an aligned RGB face, uint8 (512, 512, 3), and returns (68, 2) x, y in its pixels, in iBUG
order. Where these cannot be the points of a face, `InvalidLandmarksError` is raised.
"""


class FaceFinder:
    """Detector and landmark network; safe to call from many threads.

    `threads`: CPU threads of a search; None: one a core. `min_face`: see `FaceDetector`.
    """

    def __init__(
        self,
        threads: int | None = None,
        landmark_detector: LandmarkDetector | None = None,
        min_face: int | None = None,
    ) -> None:
        self._detector = FaceDetector(threads, min_face)
        self._network = LandmarkNetwork()
        self._custom = landmark_detector

    def find(self, photo: Image) -> list[Face]:
        """Faces of an RGB photo (H, W, 3), best first.

        Raises `InvalidLandmarksError` where a landmark detector of the caller's own returns what
        cannot be the points of a face.
        """
        views = Views(photo)
        found: list[Face] = []
        for detection in self._detector.detect(views):
            if not _is_part(detection, found):
                placed = self._place(views, detection)
                found += [] if placed is None else [placed]
        boxes = np.array([face.box for face in found]).reshape(-1, 4)
        faces: list[Face] = []
        # what was seen again from near may lie in a face that was found, too
        for index in apart(boxes, np.array([face.score for face in found])):
            face = found[index]
            # boxes of one face that were too different to be merged lead to the same landmarks
            if not (_is_part(face, faces) or any(_is_same(face, other) for other in faces)):
                faces.append(face)
        return faces

    def landmarks(self, face: Image) -> NDArray[np.float64]:
        """(68, 2) in pixels of an aligned RGB face (512, 512, 3).

        Raises `InvalidLandmarksError` where no face is in its place.
        """
        points, seen = self._run(Views(face), IDENTITY, _PRESENCE)
        if seen < _PRESENCE:
            raise InvalidLandmarksError(
                "no face where an aligned 512 x 512 crop has one; align it, or give landmarks"
            )
        return points

    def _place(self, views: Views, detection: Detection) -> Face | None:
        """The face of a detection; what is doubtful is looked at from near, and then turned."""
        if not detection.sure:
            degrees = QUARTERS if detection.may_lie else UPRIGHT
            nearer = self._detector.look_again(views, detection, degrees, GLIMPSE)
            if nearer is None:
                return None
            detection = nearer
        face = self._align(views, detection, _CLEAR) if detection.sure else None
        if face is not None:
            return face
        again = self._detector.look_again(views, detection, AROUND, SCORE)
        if again is None:
            return None
        return self._align(views, again, _FAINT if again.sure else _PRESENCE)

    def _align(self, views: Views, detection: Detection, presence: float) -> Face | None:
        """Landmarks on the crop that the detection gives, and on their own until it stays in place.

        None where the network sees less of a face than `presence`.
        """
        try:
            matrix = similarity(detection.keypoints, TEMPLATE)
            check_crop(matrix, views.photo.shape)
        except InvalidLandmarksError:
            return None
        for _ in range(_TRIES):
            points, seen = self._run(views, matrix, presence)
            if seen < presence:
                return None
            landmarks, before = transform(inverse(matrix), points), matrix
            try:
                matrix = similarity(five_points(landmarks), TEMPLATE)
                check_crop(matrix, views.photo.shape)
            except InvalidLandmarksError:
                if self._custom is not None:  # its fault, which somebody should know of
                    raise
                return None
            moved = transform(matrix, transform(inverse(before), TEMPLATE)) - TEMPLATE
            if np.linalg.norm(moved, axis=1).mean() < _STILL:
                break
        return Face(detection.box, detection.score, landmarks, matrix)

    def _run(
        self, views: Views, matrix: Points, presence: float
    ) -> tuple[NDArray[np.float64], float]:
        """Landmarks on the crop that `matrix` gives; the network says whether it has a face.

        One with less than `presence` is not shown to the caller's own detector.
        """
        points, seen = self._network.run(views, matrix)
        if self._custom is not None and seen >= presence:
            points = check_landmarks(self._custom(extract(views.photo, matrix)))
            if (far := np.abs(points - _MIDDLE).max(axis=1) > _REACH).any():
                index = int(far.argmax())
                raise InvalidLandmarksError(
                    f"the landmark detector put landmark {index} at {points[index, 0]:.4g}, "
                    f"{points[index, 1]:.4g}, too far out of the 512 x 512 crop"
                )
        return points, seen


def cut(photo: Image, landmarks: Points, matrix: Points) -> Crop:
    """The face of an RGB photo (H, W, 3) as the network takes it.

    `landmarks` (68, 2) are in pixels of the photo; `matrix` (2, 3) is the transform photo -> crop.
    Raises `InvalidLandmarksError` where they give a component that is too small.
    """
    return Crop(extract(photo, matrix), component_boxes(transform(matrix, landmarks)))


def _is_part(doubtful: Detection | Face, found: Sequence[Face]) -> bool:
    """Whether its middle lies in a face of which the detector is sure, while it is not of this."""
    middle = (doubtful.box[:2] + doubtful.box[2:]) / 2
    return doubtful.score < SURE and any(
        face.score >= SURE and bool(((face.box[:2] <= middle) & (middle <= face.box[2:])).all())
        for face in found
    )


def _is_same(face: Face, other: Face) -> bool:
    distance = np.linalg.norm(face.landmarks - other.landmarks, axis=1).mean()
    return bool(distance < _SAME * np.ptp(other.landmarks, axis=0).max())
