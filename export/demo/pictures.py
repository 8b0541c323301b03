"""The demo's pictures: sample photographs, degraded and restored, and the face in each of them."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.degradation import Recipe, shrunk
from runtime.images.arrays import Image, side_by_side
from runtime.images.files import read_image
from runtime.restorer import Restorer
from runtime.samples.faces import PHOTOS

RECIPES = {
    "astronaut.png": Recipe(shrink=2, blur=0, noise=5, quality=60),
    "grace_hopper.jpg": Recipe(shrink=3, blur=0, noise=5, quality=60),
}
"""How each sample photograph is degraded before it is restored."""

UPSCALE: Literal[4] = 4
"""How many times the degraded photograph is enlarged when it is restored."""

_SEED = 0  # of the noise
_MARGIN = 0.65  # a face's square reaches this far from its middle, in widths of its box
_PANEL = 340  # pixels: side of a face in the picture of all faces

Square = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Trial:
    """A photograph, degraded and restored.

    All pictures are uint8 (H, W, 3) BGR: `original`; `before`, degraded and smaller by the recipe;
    `after`, restored and `UPSCALE` times as large as `before`. `face`: a square around the face,
    x1 y1 x2 y2 in pixels of `before`.
    """

    name: str
    recipe: Recipe
    original: Image
    before: Image
    after: Image
    face: Square

    @property
    def faces(self) -> dict[str, Image]:
        """The face of "before", "after" and "original", all of the size that it has in `after`."""
        x1, y1, x2, y2 = (UPSCALE * value for value in self.face)
        pictures = {"before": self.before, "after": self.after, "original": self.original}
        return {
            moment: np.ascontiguousarray(_resized(picture, self.after)[y1:y2, x1:x2])
            for moment, picture in pictures.items()
        }

    @property
    def psnr_db(self) -> tuple[float, float]:
        """PSNR of the face against the original, before and after, in the original's size."""
        scale = self.original.shape[1] / self.before.shape[1]
        x1, y1, x2, y2 = (round(scale * value) for value in self.face)
        before, after, original = (
            _resized(picture, self.original)[y1:y2, x1:x2].copy()
            for picture in (self.before, self.after, self.original)
        )
        return cv2.PSNR(before, original), cv2.PSNR(after, original)


def restore_samples(restorer: Restorer) -> list[Trial]:
    """Degrade each sample photograph by its recipe, the same at each run, and restore it.

    Without references: a dictionary is never made from the picture that is restored, and there is
    one photograph of each person.
    """
    trials = []
    for file, recipe in RECIPES.items():
        path = PHOTOS / file
        original = np.asarray(read_image(path), np.uint8)
        rgb = np.ascontiguousarray(original[:, :, ::-1])
        bad = shrunk(rgb, recipe, np.random.default_rng(_SEED))
        before = np.ascontiguousarray(bad[:, :, ::-1])
        result = restorer.restore(before, upscale=UPSCALE, require_face=True)
        square = _square(result.faces[0].box, before)
        after = np.asarray(result.image, np.uint8)
        trials.append(Trial(path.stem, recipe, original, before, after, square))
    return trials


def all_faces(trials: list[Trial], remark: str | None) -> Image:
    """Every face before, after and in the original, a row for each photograph, with captions.

    `remark` goes beside "after". Returns uint8 (H, W, 3) BGR.
    """
    rows = []
    for trial in trials:
        panels = {
            moment: _resized(face, np.empty((_PANEL, _PANEL, 3), np.uint8))
            for moment, face in trial.faces.items()
        }
        rows.append(side_by_side(_captioned(panels, trial, remark)))
    return np.vstack(rows)


def whole_photo(trial: Trial, remark: str | None) -> Image:
    """The photograph before, after and in the original, side by side, uint8 (H, W, 3) BGR.

    `remark` goes beside "after".
    """
    panels = {
        moment: _resized(picture, trial.original)
        for moment, picture in (
            ("before", trial.before),
            ("after", trial.after),
            ("original", trial.original),
        )
    }
    return side_by_side(_captioned(panels, trial, remark))


def _captioned(panels: dict[str, Image], trial: Trial, remark: str | None) -> dict[str, Image]:
    captions = {
        "before": f"before: {trial.recipe.text}",
        "after": f"after: {remark}" if remark else "after",
        "original": "original",
    }
    return {captions[moment]: panel for moment, panel in panels.items()}


def _square(box: NDArray[np.float64], photo: Image) -> Square:
    """A square around a face's box, x1 y1 x2 y2, inside the photo."""
    x1, y1, x2, y2 = box
    height, width = photo.shape[:2]
    side = min(round(2 * _MARGIN * max(x2 - x1, y2 - y1)), height, width)
    left = min(max(round((x1 + x2 - side) / 2), 0), width - side)
    top = min(max(round((y1 + y2 - side) / 2), 0), height - side)
    return left, top, left + side, top + side


def _resized(picture: Image, like: Image) -> Image:
    """The picture as large as `like`: area averaging down, cubic up."""
    height, width = like.shape[:2]
    if picture.shape == like.shape:
        return picture
    method = cv2.INTER_AREA if picture.shape[0] > height else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (width, height), interpolation=method), np.uint8)
