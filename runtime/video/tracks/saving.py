"""What is known before a frame, as JSON and back, number for number."""

from dataclasses import dataclass
from typing import Any, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from runtime.video.tracks.following import State
from runtime.video.tracks.looks import Looks


@dataclass(frozen=True, eq=False)
class Saved:
    """All that a run needs to go on with a frame, whose number is `before`."""

    before: int
    looks: Looks
    state: State


def as_json(saved: Saved) -> dict[str, Any]:
    """The same as dicts, lists, numbers and None."""
    content: dict[str, Any] = msgspec.to_builtins(saved, enc_hook=_listed)
    return content


def from_json(content: dict[str, Any]) -> Saved:
    """What `as_json` made the content of. Raises ValueError, which names what is wrong."""
    return msgspec.convert(content, Saved, dec_hook=_array)


def _listed(value: Any) -> Any:
    """An array, or a number of NumPy's, as Python's lists and numbers: exactly the same."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise NotImplementedError(f"{type(value).__name__} in the state")


def _array(kind: Any, value: Any) -> NDArray[Any]:
    """A list as an array; `kind`: NDArray[...]."""
    _, dtype = get_args(kind)
    return np.array(value, get_args(dtype)[0])
