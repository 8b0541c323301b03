import cv2
import numpy as np

from calibration.degradation import Recipe, degrade, is_clean, shrunk, worsened
from runtime.samples.faces import samples


def test_the_same_for_the_same_seed() -> None:
    face = samples()[0].rgb
    one, again, other = (degrade(face, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert one.shape == (512, 512, 3)
    assert one.dtype == np.uint8
    assert cv2.PSNR(one, other) < 45


def test_degraded_but_the_same_face_in_its_place() -> None:
    still_clean = 0
    for face in (sample.rgb for sample in samples()):
        assert is_clean(face)
        for seed in range(8):
            bad = degrade(face, np.random.default_rng(seed))
            still_clean += is_clean(bad)
            assert 15 < cv2.PSNR(face, bad) < 36
            # channels in their order, and nothing shifted
            np.testing.assert_allclose(bad.mean((0, 1)), face.mean((0, 1)), atol=3)
            coarse = [cv2.resize(i, (8, 8), interpolation=cv2.INTER_AREA) for i in (face, bad)]
            assert np.corrcoef(coarse[0].ravel(), coarse[1].ravel())[0, 1] > 0.98
    assert still_clean <= 1  # of 16: a sharp face that was little degraded


def test_a_recipe() -> None:
    face = samples()[0].rgb
    recipe = Recipe(shrink=4, blur=1.5, noise=6, quality=60)
    assert recipe.text == ("blur of sigma 1.5, 4 times smaller, noise of sigma 6, JPEG quality 60")
    small = shrunk(face[:, :400], recipe, np.random.default_rng(0))
    assert small.shape == (128, 100, 3)
    bad = worsened(face, recipe, np.random.default_rng(0))
    assert bad.shape == face.shape
    found = {}
    for name, other in (
        ("smaller", Recipe(8, 1.5, 6, 60)),
        ("more blurred", Recipe(4, 6, 6, 60)),
        ("noisier", Recipe(4, 1.5, 20, 60)),
        ("worse JPEG", Recipe(4, 1.5, 6, 5)),
    ):
        worse = worsened(face, other, np.random.default_rng(0))
        found[name] = cv2.PSNR(face, bad) - cv2.PSNR(face, worse)
    assert min(found.values()) > 0.5, found
    np.testing.assert_allclose(bad.mean((0, 1)), face.mean((0, 1)), atol=2)
