"""Downloads of a checkpoint and of pictures, from a web server that is hostile for a while."""

import io
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from hypothesis import strategies as st

from export.model.checkpoint import load_weights
from export.model.synthetic import synthetic_state
from runtime.errors import CheckpointError
from runtime.images.files import read_photo
from tests.fuzz.kinds import web
from tests.fuzz.rule import Kind


@contextmanager
def downloads(folder: Path) -> Iterator[Kind]:
    """A checkpoint: whatever was said before, an honest server is then enough."""
    state = synthetic_state(seed=1, width=8, entries=1)
    stream = io.BytesIO()
    torch.save(state, stream)
    name, tensor = next((n, t) for n, t in state.items() if n.endswith("bias"))
    with web.serving() as script:
        script.data = stream.getvalue()

        def attempt(given: list[web.Reply]) -> None:
            shutil.rmtree(folder / "cache", ignore_errors=True)
            refused = None
            script.replies[:] = given
            for _ in given:
                try:
                    weights = load_weights(script.url)
                except CheckpointError as error:
                    refused = error
                else:
                    loaded = weights.network.state_dict()[name]
                    assert torch.equal(loaded, tensor), "other weights than were sent"
            script.replies.clear()
            try:
                load_weights(script.url)
            except CheckpointError as error:
                raise AssertionError("an honest server came too late") from error
            if refused is not None:
                raise refused

        yield Kind(st.lists(web.replies(), min_size=1, max_size=2), attempt)


@contextmanager
def web_pictures(folder: Path) -> Iterator[Kind]:
    """A picture behind a URL: all of it, or an error."""
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    ok, data = cv2.imencode(".png", picture)
    assert ok
    logging.getLogger().addHandler(logging.NullHandler())  # as our commands do
    with web.serving() as script:
        script.data = np.asarray(data).tobytes()
        url = script.url.replace("model.pth", "picture.png")

        def attempt(given: web.Reply) -> None:
            script.replies[:] = [given]
            try:
                found = read_photo(url).image
            finally:
                script.replies.clear()
            assert np.array_equal(found, picture), "another picture than was sent"

        plain = st.just(replace(web.Reply(), range="none"))
        yield Kind(plain | web.replies(), attempt)
