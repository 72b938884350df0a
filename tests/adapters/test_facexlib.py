"""Detector and masker behind their ports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from facexlib.parsing.parsenet import ParseNet
from numpy.typing import NDArray

from gfpcli.adapters.facexlib import REFINER_PREFIX, load_detector_nets, load_maskers
from gfpcli.errors import CheckpointError
from gfpcli.files.atomic import sha256_of
from gfpcli.model.checkpoint import read_state
from gfpcli.options import RestoreOptions
from gfpcli.photo.codec import read_frame
from gfpcli.types import Detector, Face, Image, PictureBatch
from gfpcli.weights.build import load_detector_for, load_restorer
from gfpcli.weights.cache import BUILTINS
from gfpcli.weights.choose import choose_parts
from gfpcli.weights.detector import OTHER_DETECTORS

CPU = torch.device("cpu")
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def detector(path: str = "builtin", size: int = 1280) -> Detector:
    options = RestoreOptions(model="compact", detector=path, mask="soft", det_size=size)
    return load_restorer(options, choose_parts(options, warn=print)).detector


def faces_in(detect: Detector, image: Image) -> tuple[Face, ...]:
    (faces,) = detect([image])
    return faces


def test_the_builtin_detector_finds_the_faces_counted_by_eye(shared_data: Path) -> None:
    photos = shared_data / "photos"
    detect = detector()
    for name, n_faces in {"two_faces_fr.jpg": 2, "portrait_astronaut.png": 1, "noface_grass.jpg": 0}.items():
        assert len(faces_in(detect, read_frame(photos / name, 0).image)) == n_faces, name
    assert len(faces_in(detect, read_frame(photos / "group_solvay_1927.png", 0).image)) >= 22  # 29 by eye


def test_coordinates_come_back_from_a_bounded_size(shared_data: Path) -> None:
    image = read_frame(shared_data / "photos" / "two_faces_fr.jpg", 0).image
    large, small = (sorted(faces_in(detector(size=size), image), key=lambda face: face.box[0]) for size in (0, 480))
    for one, other in zip(large, small, strict=True):
        width = one.box[2] - one.box[0]
        assert np.abs(one.box - other.box).max() < 0.25 * width
        assert np.abs(one.landmarks - other.landmarks).max() < 0.08 * width


@pytest.mark.parametrize(
    ("longest", "seen"), [(0, [(1000, 500), (250, 125)]), (480, [(480, 240)]), (640, [(640, 320), (160, 80)])]
)
def test_the_network_sees_no_more_than_the_size_asked_for(longest: int, seen: list[tuple[int, int]]) -> None:
    found = load_detector_for(RestoreOptions(det_size=longest), BUILTINS["builtin"])
    assert found._sizes_of(np.zeros((500, 1000, 3), np.uint8)) == seen


def test_a_public_checkpoint_with_other_anchors_is_recognised(shared_data: Path) -> None:
    path = shared_data / "detector" / "mobilenet0.25_Final.pth"
    assert sha256_of(path) in OTHER_DETECTORS
    detect = detector(str(path), size=640)
    assert len(faces_in(detect, read_frame(shared_data / "photos" / "group_gfpgan_00.jpg", 0).image)) == 2


def test_images_that_come_to_one_size_share_a_call_and_find_the_same() -> None:
    portrait = read_frame(EXAMPLES / "photos" / "grace_hopper.jpg", 0).image
    other = np.ascontiguousarray(portrait[:, ::-1])
    small = np.ascontiguousarray(portrait[100:400, :300])
    detect = load_detector_for(RestoreOptions(), BUILTINS["builtin"])
    alone = [faces_in(detect, image) for image in (portrait, small, other)]
    calls: list[tuple[int, ...]] = []

    def noting(batch: PictureBatch) -> tuple[NDArray[np.float32], ...]:
        calls.append(batch.shape)
        return detect.net(batch)

    together = replace(detect, net=noting)([portrait, small, other])
    assert sorted(shape[0] for shape in calls) == [1, 2, 2]  # the large ones are looked at twice
    for one, same in zip(alone, together, strict=True):
        assert len(one) == len(same) > 0
        for face, again in zip(one, same, strict=True):
            assert np.abs(face.box - again.box).max() < 0.01 and np.abs(face.landmarks - again.landmarks).max() < 0.01


def test_only_the_builtin_detector_has_a_landmark_refiner(shared_data: Path) -> None:
    own = load_detector_for(RestoreOptions(), BUILTINS["builtin"])
    foreign = load_detector_for(RestoreOptions(), shared_data / "detector" / "mobilenet0.25_Final.pth")
    assert own.refiner is not None and foreign.refiner is None


def test_a_landmark_refiner_that_does_not_fit_is_refused() -> None:
    state = read_state(BUILTINS["builtin"])
    state[REFINER_PREFIX + "face.weight"] = torch.ones(1, 7)
    with pytest.raises(CheckpointError, match=r"x\.safetensors"):
        load_detector_nets(state, source="x.safetensors")


def test_a_sample_of_the_held_out_pictures(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES / "builtin")
    import evaluate_detector

    tally, detect = evaluate_detector.Tally(), detector()
    for labels in list(evaluate_detector.read_labels(shared_data / "wild"))[::6]:
        evaluate_detector.add(tally, faces_in(detect, labels.image), labels)
    sides, found = np.array(tally.sides), np.array(tally.found)
    assert (sides >= 24).sum() > 20 and found[sides >= 24].mean() > 0.85
    assert tally.verdicts.count(evaluate_detector.FALSE) <= 2
    assert np.nanmedian(np.array(tally.errors)[sides >= 24]) < 0.08


def test_parse_masks_are_feathered_and_0_at_the_border() -> None:
    torch.manual_seed(3)
    state = ParseNet(in_size=512, out_size=512, parsing_ch=19).state_dict()
    masker = load_maskers(state, source="x", device=CPU, dtypes=("fp32",))["fp32 at 512"]
    (mask,) = masker([np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)])
    assert mask.shape == (128, 128) and mask.dtype == np.float32
    assert mask.min() >= 0 and mask.max() <= 1 and mask[:2].max() == 0 and mask[:, -2:].max() == 0


def test_other_weights_are_refused_by_name() -> None:
    state = {"body.stage1.0.0.weight": torch.ones(1)}
    with pytest.raises(CheckpointError, match=r"x\.pth"):
        load_detector_nets(state, source="x.pth")
    with pytest.raises(CheckpointError, match=r"y\.pth"):
        load_maskers(state, source="y.pth", device=CPU, dtypes=("fp32",))
