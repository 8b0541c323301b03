"""How much a restored face flickers, with smoothing and without.

Flicker is the mean absolute change between consecutive crops of a face, over that of the same crops
before they were restored. It is measured in two systems of coordinates:

- "crops": the track's own, as the network takes and gives them. Without smoothing these coordinates
  jitter themselves, so that both changes grow.
- "frames": the true ones, which only generated clips have; the crops are cut out of whole frames,
  before and after. That is what a viewer sees.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure.clips import RECIPES, Clip, write_clip
from benchmarks.measure.steadiness import Change, jitter
from runtime.errors import BenchmarkError, InvalidLandmarksError
from runtime.faces.alignment import transform
from runtime.faces.compositing import extract, put_back
from runtime.images.arrays import Image
from runtime.restorer import Restorer, steps_of
from runtime.video.files.source import Source
from runtime.video.following import Followed, Follower
from runtime.video.frames import ClipFrame
from runtime.video.report import Clock
from runtime.video.tracks.seen import TrackedFace
from runtime.video.tracks.tracks import Tracks

GENERATED = ("constant", "worn")
"""Clips of one person who sways, by their recipes: a clean one, and one that needs restoring."""


def measure(
    bundle: Path, clips: Sequence[Path], generated: Sequence[str] = GENERATED
) -> dict[str, object]:
    """Generated clips, and the given ones, each with smoothing on and off."""
    found: list[dict[str, object]] = []
    with Restorer(bundle) as restorer, TemporaryDirectory() as folder:
        for name in generated:
            recipe = RECIPES[name]
            clip = write_clip(Path(folder, f"{name}{recipe.suffix}"), recipe)
            found += [_measured(restorer, clip.path, clip, steady) for steady in (True, False)]
        for path in clips:
            found += [_measured(restorer, path, None, steady) for steady in (True, False)]
        backend = restorer.backend
    return {
        "what": "mean absolute change between consecutive crops, restored over input",
        "backend": backend,
        "clips": found,
    }


def followed(restorer: Restorer, path: Path, steady: bool) -> Iterator[Followed]:
    """A clip's frames with their tracked faces, which are smoothed or not."""
    tracks = Tracks(steady=steady)
    source = Source(str(path))
    follower = Follower(steps_of(restorer), tracks, lambda frame: False, Clock())
    yield from follower.followed(map(ClipFrame, source.pictures()))


def _measured(restorer: Restorer, path: Path, clip: Clip | None, steady: bool) -> dict[str, object]:
    crops, frames = (Change(), Change()), (Change(), Change())
    residuals, times = [], []
    for each in followed(restorer, path, steady):
        index, before = each.frame.index, each.frame.rgb()
        after = before.copy()
        for one in each.faces:
            try:
                crop = extract(before, one.face.transform)
                restored = _restore(restorer, one, crop)
            except InvalidLandmarksError:
                continue
            crops[0].add(one.track, index, crop)
            crops[1].add(one.track, index, restored)
            put_back(after, restored, one.face.transform, "rgb", one.opacity)
        for truth in () if clip is None else clip.present(index):
            for change, rgb in zip(frames, (before, after), strict=True):
                change.add(truth.person, index, extract(rgb, truth.transform))
            if len(each.faces) == 1:
                residuals.append(each.faces[0].face.landmarks - truth.landmarks)
                times.append(each.frame.time)
    if not crops[0].pairs:
        raise BenchmarkError(f"{path.name}: no face was followed")
    result: dict[str, object] = {"clip": path.name, "smoothing": steady, "crops": _ratio(*crops)}
    if clip is not None:
        result |= {"frames": _ratio(*frames), "jitter_px": jitter(residuals, times)}
    return result


def _restore(restorer: Restorer, one: TrackedFace, crop: Image) -> Image:
    landmarks = transform(one.face.transform, one.face.landmarks)
    return restorer.restore_aligned(crop, landmarks, color="rgb")


def _ratio(before: Change, after: Change) -> dict[str, float]:
    """Levels of change of the input and of the result, and the flicker."""
    return {
        "input_levels": before.mean,
        "restored_levels": after.mean,
        "flicker": after.mean / before.mean,
    }
