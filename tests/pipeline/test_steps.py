"""What a frame weighs, and how many faces it holds, on its way."""

from __future__ import annotations

import numpy as np

from gfpcli.errors import InputError
from gfpcli.pipeline.steps import AlignedFaces, FacesRestored, Masked, n_bytes_of, n_crops_of
from gfpcli.types import Crop, Face, Failed, Frame, Restored

IMAGE = np.zeros((10, 20, 3), np.uint8)  # 600 bytes
FRAME = Frame(0, IMAGE, "photo")
CROP = Crop(Face(np.zeros(4), np.zeros((5, 2)), 0.9), np.zeros((64, 64, 3), np.uint8), np.eye(2, 3))


def test_a_frame_weighs_its_own_pictures_at_each_step() -> None:
    aligned = AlignedFaces(FRAME, (), (), (CROP, CROP))
    restored = FacesRestored(aligned, ())
    large = np.zeros((20, 40, 3), np.uint8)  # 2,400 bytes
    assert n_bytes_of(aligned) == n_bytes_of(restored) == n_bytes_of(Failed(FRAME, InputError("no"))) == 600
    assert n_bytes_of(Masked(aligned, (), (), None, 0.0, 0.0)) == 600
    assert n_bytes_of(Masked(aligned, (), (), large, 0.0, 0.0)) == 3000
    assert n_bytes_of(Restored(FRAME, large, 2.0, (), (), (), (), ())) == 3000


def test_faces_are_counted_by_their_crops() -> None:
    aligned = AlignedFaces(FRAME, (), (), (CROP, CROP))
    assert n_crops_of(aligned) == n_crops_of(FacesRestored(aligned, ())) == 2
    assert n_crops_of(Failed(FRAME, InputError("no"))) == 0
