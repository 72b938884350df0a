"""Samples: reproducible draws, boxes that follow the picture, batches that are a function of their number."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gfpcli.errors import CheckpointError, InputError
from gfpcli.pipeline.align import TEMPLATE_512
from gfpcli.train.data import (
    BatchSampler,
    Components,
    Sample,
    collate,
    components_of,
    is_held_out,
    read_components,
    split_faces,
)
from gfpcli.train.faces import TrainingFace
from tests.train.conftest import options_of, samples_of


def test_the_template_gives_the_boxes_of_the_reference_within_a_few_pixels() -> None:
    left, right, mouth = components_of(TEMPLATE_512, 512).boxes()
    assert np.abs(left - (156, 203, 230, 277)).max() < 4  # eye of 26 px half length, enlarged by 1.4
    assert right[0] - left[0] == pytest.approx(126, abs=1) and mouth[2] - mouth[0] == pytest.approx(111, abs=2)


def test_a_flip_exchanges_the_eyes_and_changes_nothing_stored() -> None:
    data = samples_of(options_of())
    stored = [list(map(tuple, face.landmarks)) for face in data.faces]
    first = [data.sample(epoch, 0) for epoch in range(12)]
    again = [data.sample(epoch, 0) for epoch in range(12)]  # the reference's boxes drift here
    assert [list(map(tuple, face.landmarks)) for face in data.faces] == stored
    lefts = set()
    for one, same in zip(first, again, strict=True):
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


def test_boxes_follow_a_shaken_picture() -> None:
    plain, shaken = samples_of(options_of()), samples_of(options_of(shake=40.0))
    moved = [np.abs(plain.sample(e, 0).boxes - shaken.sample(e, 0).boxes).max() for e in range(6)]
    assert min(moved) > 0.1
    quarter = np.array([[0, -1.0, 63], [1.0, 0, 0]])  # a quarter turn of 64 px: (x, y) to (63 - y, x)
    assert Components((10, 20, 5), (40, 21, 5), (26, 50, 9)).moved(quarter).mouth == pytest.approx((13, 26, 9))


def test_draws_differ_between_epochs_seeds_and_salts() -> None:
    data = samples_of(options_of())
    other = replace(data, options=options_of(seed=4))
    lows = [
        data.sample(0, 0).low,
        data.sample(1, 0).low,
        other.sample(0, 0).low,
        replace(data, salt=1).sample(0, 0).low,
    ]
    assert all((a != b).any() for i, a in enumerate(lows) for b in lows[:i])


def test_clean_faces_are_given_as_often_as_asked() -> None:
    data = samples_of(options_of(clean_share=0.3))
    share = np.mean([(s.low == s.true).all() for s in (data.sample(e, 0) for e in range(200))])
    assert 0.2 < share < 0.4


def test_other_light_is_that_of_both_pictures_and_some_faces_are_gray() -> None:
    plain, relit = samples_of(options_of(clean_share=1.0)), samples_of(options_of(clean_share=1.0, relight=1.0))
    seen = [relit.sample(epoch, 0) for epoch in range(60)]
    assert all((sample.low == sample.true).all() for sample in seen)
    gains = [sample.true.mean() / plain.sample(epoch, 0).true.mean() for epoch, sample in enumerate(seen)]
    assert min(gains) < 0.8 and max(gains) > 1 and len(np.unique(np.round(gains, 6))) == 60
    share = np.mean([(sample.true == sample.true[..., :1]).all() for sample in seen])
    assert 0.1 < share < 0.45


def test_two_processes_see_together_what_one_sees() -> None:
    data = samples_of(options_of(), n_faces=7)
    one = list(BatchSampler(data, 4, 0, 9))
    two = [list(BatchSampler(data, 2, 0, 9, rank, 2)) for rank in range(2)]
    assert [a + b for a, b in zip(*two, strict=True)] == one
    assert list(BatchSampler(data, 4, 5, 9)) == one[5:]  # it can begin anywhere
    first = [key for batch in one for key in batch][:7]
    assert Counter(index for _, index in first) == Counter(range(7))  # an epoch is every face once


def test_people_with_many_faces_weigh_no_more_than_asked() -> None:
    data = samples_of(options_of(identity_pattern=r"^(a)_", per_identity=2), n_faces=3)
    faces = tuple(TrainingFace(f"a_{i}.png", False, []) for i in range(9))
    data = replace(data, faces=data.faces + faces)
    orders = [data.epoch_order(epoch) for epoch in range(4)]
    assert {len(order) for order in orders} == {5}
    assert len({index for order in orders for index in order if index >= 3}) > 2  # others in other epochs


def test_the_split_is_stable_and_whole() -> None:
    faces = samples_of(options_of(), n_faces=40).faces
    train, held = split_faces(faces, 0.5)
    parts = [{face.name for face in part} for part in (train, held)]
    assert parts[0] | parts[1] == {face.name for face in faces} and not parts[0] & parts[1] and all(parts)
    with pytest.raises(InputError, match="no faces left"):
        split_faces(held, 0.9)
    assert is_held_out("a/b.png", 0.3) == is_held_out("c/b.png", 0.3)
    assert 0.07 < np.mean([is_held_out(str(i), 0.1) for i in range(3000)]) < 0.13


def test_an_error_travels_with_its_batch() -> None:
    data = samples_of(options_of())
    gone = replace(data, faces=(TrainingFace("gone.png", False, []),))
    drawn = [data[(0, 0)], gone[(0, 0)]]
    assert isinstance(drawn[0], Sample)
    result = collate(drawn)
    assert isinstance(result, InputError) and "gone.png" in str(result)


def test_official_component_boxes_go_by_file_name(tmp_path: Path) -> None:
    rows = [{part: [10.0 * (i + 1), 20.0, 30.0] for part in ("left_eye", "right_eye", "mouth")} for i in range(3)]
    path = tmp_path / "boxes.pth"
    torch.save(rows, path)
    given = read_components(path)
    assert given["00000002"].mouth == (30.0, 20.0, 30.0)
    torch.save({f"{i:08d}": row for i, row in enumerate(rows)}, path)
    assert read_components(path) == given
    data = replace(samples_of(options_of()), components={"3": given["00000001"]})
    image = data.faces[3].name
    assert image == "3.png"
    plain = samples_of(options_of())
    assert (data.sample(0, 3).boxes != plain.sample(0, 3).boxes).any()
    assert (data.sample(0, 2).boxes == plain.sample(0, 2).boxes).all()
    path.write_text("text")
    with pytest.raises(CheckpointError, match="not a file of component boxes"):
        read_components(path)
