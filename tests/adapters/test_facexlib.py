"""Detector and masker behind their ports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from facexlib.parsing.parsenet import ParseNet

from gfpcli.adapters.facexlib import load_detector, load_masker
from gfpcli.build import OTHER_DETECTORS, choose_parts, load_restorer
from gfpcli.errors import CheckpointError
from gfpcli.images import read_frame
from gfpcli.options import RestoreOptions
from gfpcli.types import Detector
from gfpcli.weights import sha256_of

CPU = torch.device("cpu")


def detector(path: str = "builtin", size: int = 1280) -> Detector:
    options = RestoreOptions(model="compact", detector=path, mask="soft", det_size=size)
    return load_restorer(options, choose_parts(options, warn=print)).detector


def test_the_builtin_detector_finds_the_faces_counted_by_eye(shared_data: Path) -> None:
    photos = shared_data / "photos"
    detect = detector()
    for name, n_faces in {"two_faces_fr.jpg": 2, "portrait_astronaut.png": 1, "noface_grass.jpg": 0}.items():
        assert len(detect(read_frame(photos / name, 0).image)) == n_faces, name
    assert len(detect(read_frame(photos / "group_solvay_1927.png", 0).image)) >= 22  # 29 by eye


def test_coordinates_come_back_from_a_bounded_size(shared_data: Path) -> None:
    image = read_frame(shared_data / "photos" / "two_faces_fr.jpg", 0).image
    large, small = (sorted(detector(size=size)(image), key=lambda face: face.box[0]) for size in (0, 480))
    for one, other in zip(large, small, strict=True):
        width = one.box[2] - one.box[0]
        assert np.abs(one.box - other.box).max() < 0.25 * width
        assert np.abs(one.landmarks - other.landmarks).max() < 0.08 * width


def test_a_public_checkpoint_with_other_anchors_is_recognised(shared_data: Path) -> None:
    path = shared_data / "detector" / "mobilenet0.25_Final.pth"
    assert sha256_of(path) in OTHER_DETECTORS
    detect = detector(str(path), size=640)
    assert len(detect(read_frame(shared_data / "photos" / "group_gfpgan_00.jpg", 0).image)) == 2


def test_parse_masks_are_feathered_and_0_at_the_border() -> None:
    torch.manual_seed(3)
    state = ParseNet(in_size=512, out_size=512, parsing_ch=19).state_dict()
    (mask,) = load_masker(state, source="x", device=CPU)(
        [np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)]
    )
    assert mask.shape == (128, 128) and mask.dtype == np.float32
    assert mask.min() >= 0 and mask.max() <= 1 and mask[:2].max() == 0 and mask[:, -2:].max() == 0


def test_other_weights_are_refused_by_name() -> None:
    state = {"body.stage1.0.0.weight": torch.ones(1)}
    with pytest.raises(CheckpointError, match=r"x\.pth"):
        load_detector(state, source="x.pth", threshold=0.5, longest=640, device=CPU)
    with pytest.raises(CheckpointError, match=r"y\.pth"):
        load_masker(state, source="y.pth", device=CPU)
