"""The folder that a reader of a page has: what the examples of README and docs name."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.dictionary import SpecificDictionary
from runtime.images.files import write_image
from runtime.samples.faces import PHOTOS, sample_faces
from tests.conftest import picture
from tests.runtime.video.making import moving_face, write_clip

NewFolder = Callable[..., Path]


@pytest.fixture(scope="session")
def example_files(
    bundle: Path, alice: SpecificDictionary, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What every example may name, made once: copy it, or let `new_folder` do so.

    `bundle` (compact weights, float32), `photo.jpg` (one face), `photos/` (two photos),
    `alice/1.jpg` and `alice/2.jpg` (one person), `faces/` (three aligned faces),
    `alice.safetensors`, `clip.mp4` (0.8 s of one face).
    """
    folder = tmp_path_factory.mktemp("examples")
    for name in ("photos", "alice", "faces"):
        (folder / name).mkdir()
    shutil.copytree(bundle, folder / "bundle")
    astronaut = picture(PHOTOS / "astronaut.png")
    shutil.copyfile(PHOTOS / "grace_hopper.jpg", folder / "photo.jpg")
    shutil.copyfile(PHOTOS / "grace_hopper.jpg", folder / "photos" / "1.jpg")
    write_image(folder / "photos" / "2.jpg", astronaut)
    write_image(folder / "alice" / "1.jpg", astronaut)
    write_image(folder / "alice" / "2.jpg", cv2.convertScaleAbs(astronaut, alpha=0.8))
    for index, face in enumerate(sample_faces()[0]):
        write_image(folder / "faces" / f"{index}.jpg", np.ascontiguousarray(face[:, :, ::-1]))
    alice.save(folder / "alice.safetensors")
    write_clip(folder / "clip.mp4", moving_face(12))
    return folder


@pytest.fixture(scope="session")
def new_folder(
    example_files: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> NewFolder:
    """A fresh copy of `example_files` for a page, with `bundle8` if `int8`."""

    def new_folder(int8: bool = False) -> Path:
        folder = tmp_path_factory.mktemp("page") / "work"
        shutil.copytree(example_files, folder)
        if int8:  # a minute and a half, unless another test has asked for it already
            shutil.copytree(request.getfixturevalue("int8_bundle"), folder / "bundle8")
        return folder

    return new_folder
