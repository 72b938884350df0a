"""What is told of a library's fault, and that batches are halved no further than they must be."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gfpcli.errors import FaceError, InputError, OutputError
from gfpcli.pipeline.faults import NO_RESULT_MEMORY, fault_text, mask_faces, or_failed, restore_crops
from gfpcli.pipeline.paste import soft_masker
from gfpcli.types import Crop, Face, Failed, Frame, Mask, PictureBatch
from tests.pipeline.test_restorer import Model

FRAME = Frame(0, np.zeros((8, 8, 3), np.uint8), "photo")


def crops(n: int) -> list[Crop]:
    """Each of another grey."""
    face = Face(np.array([0.0, 0, 64, 64]), np.zeros((5, 2)), 0.9)
    return [Crop(face, np.full((64, 64, 3), 10 * i, np.uint8), np.eye(2, 3)) for i in range(n)]


def test_a_fault_is_one_line_of_bounded_length() -> None:
    assert fault_text(MemoryError(), "none left") == "none left"
    assert fault_text(cv2.error("(-4:Insufficient memory) Failed to allocate"), "none left") == "none left"
    assert fault_text(RuntimeError("one\n  two\tthree"), "none left") == "RuntimeError: one two three"
    assert fault_text(RuntimeError("x" * 999), "none left") == "RuntimeError: " + "x" * 300


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (InputError("ours stays as it is"), "ours stays as it is"),
        (OutputError("of each kind"), "of each kind"),
        (MemoryError(), f"photo: {NO_RESULT_MEMORY}"),
        (np.linalg.LinAlgError("singular"), "photo: LinAlgError: singular"),
        (cv2.error("bad flag"), "photo: error: bad flag"),
    ],
)
def test_what_is_raised_for_a_frame_fails_it(error: Exception, told: str) -> None:
    def work() -> int:
        raise error

    failed = or_failed(FRAME, work)
    assert isinstance(failed, Failed) and failed.frame is FRAME and str(failed.error) == told


def test_what_is_no_fault_of_a_frame_goes_through() -> None:
    assert or_failed(FRAME, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        or_failed(FRAME, lambda: 1 // 0)


@pytest.mark.parametrize(("batch_size", "batches"), [(4, [4, 4, 1]), (9, [9]), (20, [9]), (1, [1] * 9), (0, [1] * 9)])
def test_crops_go_in_batches_and_come_back_in_order(batch_size: int, batches: list[int]) -> None:
    model = Model()
    faces = restore_crops(model, crops(9), batch_size)
    assert model.batches == batches
    levels = [int(face[0, 0, 0]) for face in faces if not isinstance(face, FaceError)]
    assert levels == [round(10 * i + 63.75) for i in range(9)]


def test_a_batch_is_halved_until_it_fits_and_stays_so() -> None:
    def room_for_three(faces: PictureBatch) -> None:
        if len(faces) > 3:
            raise torch.OutOfMemoryError

    model = Model(room_for_three)
    assert len(restore_crops(model, crops(11), 8)) == 11
    assert model.batches == [8, 4, 2, 2, 2, 2, 2, 1]


def test_each_face_that_fails_has_its_reason_and_the_others_their_picture() -> None:
    class OneBad(Model):
        def __call__(self, faces: PictureBatch) -> PictureBatch:
            out = super().__call__(faces)
            out[faces.max(axis=(1, 2, 3)) < -0.95] = np.inf
            return out

    first, *others = restore_crops(OneBad(), crops(3), 8)
    assert isinstance(first, FaceError) and str(first) == "the network gave numbers that are not finite"
    assert all(isinstance(face, np.ndarray) and face.shape == (64, 64, 3) for face in others)

    def never(faces: PictureBatch) -> None:
        raise torch.OutOfMemoryError

    told = {str(face) for face in restore_crops(Model(never), crops(3), 2)}
    assert told == {"this face does not fit into the device's memory"}


def test_masks_are_made_together_and_where_that_fails_one_by_one() -> None:
    asked: list[int] = []

    def masker(faces: Sequence[NDArray[np.uint8]]) -> list[Mask]:
        asked.append(len(faces))
        if len(faces) > 1 or faces[0].max() == 10:
            raise RuntimeError("no")
        return soft_masker(faces)

    assert mask_faces(masker, []) == [] and asked == []
    one, bad, three = mask_faces(masker, [crop.image for crop in crops(3)])
    assert asked == [3, 1, 1, 1] and isinstance(bad, FaceError) and str(bad) == "RuntimeError: no"
    assert isinstance(one, np.ndarray) and isinstance(three, np.ndarray)
    assert len(mask_faces(soft_masker, [crop.image for crop in crops(3)])) == 3
