"""What RetinaFace's numbers mean: as facexlib and torchvision read them, without either."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from facexlib.detection.retinaface_utils import PriorBox, decode, decode_landm
from torchvision.ops import nms

from gfpcli.pipeline.retinaface import Anchors, boxes_of, drop_duplicates, points_of, without_overlaps
from gfpcli.types import Face

LAYOUT = {"min_sizes": [[16, 32], [64, 128], [256, 512]], "steps": [8, 16, 32], "clip": False}


@pytest.mark.parametrize("size", [(640, 480), (33, 70), (1, 1)])
@pytest.mark.parametrize("is_clipped", [False, True])
def test_anchors_are_those_of_facexlib(size: tuple[int, int], is_clipped: bool) -> None:
    layout = {**LAYOUT, "clip": is_clipped}
    anchors = Anchors.from_layout(layout)
    want = PriorBox(layout, image_size=size[::-1]).forward().numpy()
    assert (anchors.over(size) == want).all() and anchors.over(size).dtype == np.float32
    assert Anchors.from_layout(anchors.to_layout()) == anchors


def test_offsets_are_read_as_facexlib_does(rng: np.random.Generator) -> None:
    anchors = Anchors.from_layout(LAYOUT).over((200, 120))
    offsets = rng.normal(0, 2, (len(anchors), 14)).astype(np.float32)
    parts = torch.from_numpy(offsets), torch.from_numpy(anchors)
    want = decode(parts[0][:, :4], parts[1], [0.1, 0.2]).numpy()
    assert np.allclose(boxes_of(offsets[:, :4], anchors), want, rtol=1e-6, atol=1e-6)
    want = decode_landm(parts[0][:, 4:], parts[1], [0.1, 0.2]).numpy()
    assert (points_of(offsets[:, 4:], anchors).reshape(-1, 10) == want).all()


def test_of_boxes_that_overlap_the_best_stays_as_in_torchvision(rng: np.random.Generator) -> None:
    low = rng.uniform(0, 100, (200, 2))
    boxes = np.concatenate([low, low + rng.uniform(20, 60, (200, 2))], axis=1)
    scores = rng.permutation(200) / 200
    faces = [Face(box, np.zeros((5, 2)), float(score)) for box, score in zip(boxes, scores, strict=True)]
    want = [faces[int(i)] for i in nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.4)]
    kept = without_overlaps(faces)
    assert [face.score for face in kept] == [face.score for face in want if face.score > 0] and 5 < len(kept) < 100
    assert without_overlaps([]) == ()


def test_two_boxes_on_one_face_become_one() -> None:
    box, marks = np.array([10.0, 10, 50, 60]), np.array([[22.0, 30], [38, 30], [30, 38], [24, 48], [36, 48]])
    faces = (Face(box, marks, 0.9), Face(box + 12, marks + 2, 0.8), Face(box + 25, marks + 25, 0.7))
    assert [face.score for face in drop_duplicates(faces)] == [0.9, 0.7]
