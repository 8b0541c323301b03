"""68 landmarks of an aligned face, from MediaPipe's face mesh.

Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video", arXiv 1907.06724.
The 468 points of the mesh become 68 by a mapping with small offsets, fitted on reference
photographs (models/mesh_to_68.json).
"""

import json

import numpy as np

from runtime.faces.alignment import Points
from runtime.faces.views import Views
from runtime.faces.yunet import MODELS
from runtime.machine.onnx_session import open_session

_SIDE = 192  # of the network's input
_CENTRE, _CROP = (256.0, 290.0), 420.0  # what it is shown of an aligned 512 x 512 face
_EYE_CORNERS = (33, 263)  # mesh points, image-left and image-right


class LandmarkNetwork:
    """The network, opened once; safe to call from many threads."""

    def __init__(self) -> None:
        self._session = open_session(MODELS / "face_mesh_192.onnx", threads=1)
        mapping = json.loads((MODELS / "mesh_to_68.json").read_text())
        self._index = np.array(mapping["index"])
        self._offset = np.array(mapping["offset"], np.float64)

    def run(self, views: Views, matrix: Points) -> tuple[Points, float]:
        """Find the landmarks (68, 2), in pixels of its aligned crop, of a face in a photo.

        `matrix` (2, 3): photo -> crop. The network sees a smaller crop, which is cut out of the
        photo itself: that takes a seventh of the time.

        Returns them, and a logit: over 0 where the network takes the picture for a face.
        """
        scale = _SIDE / _CROP
        shift = _SIDE / 2 - scale * np.array(_CENTRE)
        seen = scale * matrix
        seen[:, 2] += shift
        crop = views.square(seen, _SIDE)
        inputs = {"input": crop[None].astype(np.float32) / 255}
        mesh, presence = self._session.run(["conv2d_21", "conv2d_31"], inputs)
        points = mesh.reshape(468, 3)[:, :2].astype(np.float64)
        left, right = points[list(_EYE_CORNERS)]
        along = right - left
        across = np.array([-along[1], along[0]])
        landmarks = points[self._index] + self._offset @ np.stack([along, across])
        return (landmarks - shift) / scale, float(presence.reshape(-1)[0])
