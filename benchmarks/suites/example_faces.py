"""A face for people to look at: degraded, and as each runner restores it."""

import base64

import cv2
import numpy as np

from benchmarks.report.results import Picture
from benchmarks.suites.setting import Setting
from calibration.degradation import degrade
from runtime.images.arrays import Image
from runtime.samples.faces import sample_faces


def before_and_after(setting: Setting) -> tuple[Picture, ...]:
    """A sample face with the usual number of references."""
    faces, boxes = sample_faces()
    before = degrade(faces[0], np.random.default_rng(0))
    usual = setting.cases.next(1, setting.usual)
    case = type(usual)(before[None], boxes[:1], usual.rows, usual.membership)
    after = {
        runner.subject.name: _png(runner.restore(case)[0]) for runner in setting.without_variants
    }
    return (Picture("astronaut", _png(before), after),)


def _png(image: Image) -> str:
    encoded = cv2.imencode(".png", np.ascontiguousarray(image[:, :, ::-1]))[1]
    return base64.b64encode(encoded.tobytes()).decode()
