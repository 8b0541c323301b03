import numpy as np

from runtime.archive.previews import before_and_after
from runtime.photo import Restored


def test_the_caption_says_what_is_to_be_known_of_the_weights() -> None:
    photo = np.full((64, 600, 3), 90, np.uint8)
    after = np.full((64, 600, 3), 180, np.uint8)
    result = Restored(after, (), (), {}, ())
    plain, remarked = (before_and_after(photo, result, each) for each in (None, "compact weights"))
    band = plain.shape[0] - 64
    assert band > 0
    assert (plain[band:, :600] == photo).all()
    assert (plain[band:, 600:] == after).all()
    assert np.array_equal(plain[:, :600], remarked[:, :600])
    assert not np.array_equal(plain[:band, 600:], remarked[:band, 600:])
