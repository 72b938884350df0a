"""Samples: reproducible draws, boxes that follow the picture, files that are named when they are bad."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.align import TEMPLATE_512
from gfpcli.errors import InputError
from gfpcli.options import DEGRADATIONS as PRESETS
from gfpcli.train.data import Components, FaceFolder, components_of, is_held_out, open_folder

Make = Callable[[int, int], NDArray[np.uint8]]


@pytest.fixture
def folder(tmp_path: Path, smooth_image: Make) -> Path:
    for i in range(6):
        cv2.imwrite(str(tmp_path / f"{i}.png"), smooth_image(128, 128))
    return tmp_path


def faces(folder: Path) -> FaceFolder:
    train, _ = open_folder(folder, 64, PRESETS["paper"], 3, held_out=0)
    return replace(train, landmarks={path.name: TEMPLATE_512 / 4 for path in train.paths})


def test_the_template_gives_the_boxes_of_the_reference_within_a_few_pixels() -> None:
    left, right, mouth = components_of(TEMPLATE_512, 512).boxes()
    assert np.abs(left - (156, 203, 230, 277)).max() < 4  # eye of 26 px half length, enlarged by 1.4
    assert right[0] - left[0] == pytest.approx(126, abs=1) and mouth[2] - mouth[0] == pytest.approx(111, abs=2)


def test_a_flip_exchanges_the_eyes_and_changes_nothing_stored(folder: Path) -> None:
    data = faces(folder)
    stored = {name: marks.copy() for name, marks in data.landmarks.items()}
    first = [data.sample(epoch, 0) for epoch in range(12)]
    again = [data.sample(epoch, 0) for epoch in range(12)]  # the reference's boxes drift here
    assert all((data.landmarks[name] == marks).all() for name, marks in stored.items())
    lefts = set()
    for one, same in zip(first, again, strict=True):
        assert one.boxes is not None and same.boxes is not None
        assert (one.boxes == same.boxes).all() and (one.low == same.low).all()
        assert one.boxes[0, 0] < one.boxes[1, 0]  # the left eye stays left
        lefts.add(round(float(one.boxes[0, 0]), 2))
    assert len(lefts) == 2
    flipped = [s.true for s in first if (s.true != first[0].true).any()]
    assert flipped and (flipped[0] == first[0].true[:, ::-1]).all()


def test_mirroring_twice_is_the_same() -> None:
    parts = Components((10, 20, 5), (40, 21, 5), (26, 50, 9))
    assert parts.mirrored(64).mirrored(64) == parts
    assert parts.mirrored(64).left_eye == (23, 21, 5)


def test_draws_differ_between_epochs_indices_and_seeds(folder: Path) -> None:
    data = faces(folder)
    lows = [data.sample(0, 0).low, data.sample(1, 0).low, replace(data, seed=4).sample(0, 0).low]
    assert all((a != b).any() for i, a in enumerate(lows) for b in lows[:i])


def test_the_split_is_stable_and_whole(folder: Path) -> None:
    train, held = open_folder(folder, 64, PRESETS["mild"], 0, held_out=0.5)
    assert {*train.paths} | {*held.paths} == {*folder.iterdir()} and not {*train.paths} & {*held.paths}
    assert is_held_out("a/b.png", 0.3) == is_held_out("c/b.png", 0.3)
    assert 0.07 < np.mean([is_held_out(str(i), 0.1) for i in range(3000)]) < 0.13


def test_bad_files_are_named(folder: Path) -> None:
    cv2.imwrite(str(folder / "0.png"), np.zeros((80, 90, 3), np.uint8))
    (folder / "1.png").write_text("text")
    cv2.imwrite(str(folder / "2.png"), np.zeros((20, 20, 3), np.uint8))
    data = faces(folder)
    for index in range(3):
        with pytest.raises(InputError, match=f"{index}.png"):
            data.sample(0, index)
    with pytest.raises(InputError, match="no such file or folder"):
        open_folder(folder / "gone", 64, PRESETS["mild"], 0, held_out=0.1)
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="no images"):
        open_folder(folder / "empty", 64, PRESETS["mild"], 0, held_out=0.1)
