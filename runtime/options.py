"""What is done with a photo."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal, cast

from runtime.dictionary import SpecificDictionary
from runtime.errors import UsageError
from runtime.images.arrays import Color
from runtime.people.known import check_people
from runtime.people.matching import THRESHOLD

Only = Literal["largest", "center"] | int


@dataclass(frozen=True)
class RestoreOptions:
    """What `restore` and `restore_photos` do with a photo.

    Args:
        only: the face to restore: "largest", "center" (the nearest to the middle of the photo) or
            an index, as `detect` orders them. None: all faces.
        upscale: enlarge the photo 1, 2 or 4 times first.
        require_face: a photo without a face is a `NoFaceError`; otherwise it comes back as it is.
        color: channel order of the photo and of the result, "bgr" (as OpenCV has it) or "rgb".
        people: dictionaries with names and vectors: each face gets that of the person who it is
            (docs/restoring.md). Those that are given for single faces, or for all, go before.
        people_threshold: the distance up to which a face is accepted as a person's, from 0 to 1.
        strength: how much of the restored face is in the result, from 0 (as it was) to 1; for all
            faces, or for single ones by their index (the others have 1).

    Raises `UsageError` for another `upscale`, and for a `people_threshold` or `strength` outside
    of its bounds; `UsageError` or `DictionaryError` for people who cannot be told apart.
    """

    only: Only | None = None
    upscale: Literal[1, 2, 4] = 1
    require_face: bool = False
    color: Color = "bgr"
    people: Sequence[SpecificDictionary] = ()
    people_threshold: float = THRESHOLD
    strength: float | Mapping[int, float] = 1.0

    def __post_init__(self) -> None:
        if self.upscale not in (1, 2, 4):
            raise UsageError(f"upscale must be 1, 2 or 4, not {self.upscale!r}")
        check_people(self.people)
        object.__setattr__(self, "people", tuple(self.people))
        _check_share("people_threshold", self.people_threshold)
        single = self.strength.values() if isinstance(self.strength, Mapping) else [self.strength]
        for strength in single:
            _check_share("strength", strength)


def strength_of(options: RestoreOptions, index: int) -> float:
    """How much of a restored face is in the result, from 0 to 1."""
    strength = options.strength
    return float(strength.get(index, 1.0) if isinstance(strength, Mapping) else strength)


def _check_share(name: str, value: object) -> None:
    """Raise `UsageError` for anything but a number from 0 to 1."""
    if not (isinstance(value, Real) and 0 <= cast(float, value) <= 1):
        raise UsageError(f"{name} must be a number from 0 to 1, not {str(value)[:40]}")
