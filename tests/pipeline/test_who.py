"""Whose faces are restored, with vectors made here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.pipeline.identity import IdentityScale
from gfpcli.pipeline.who import PersonFilter, product_at
from gfpcli.types import Restored
from tests.pipeline.test_restorer import FACES, Model, frames, restorer

Make = Callable[[int, int], NDArray[np.uint8]]
ANNA, BERT, CARL = np.eye(3, dtype=np.float32)
NOBODY = np.zeros((0, 1), np.float32)


def in_order(*vectors: NDArray[np.float32]) -> Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.float32]]:
    return lambda crops: np.stack(vectors[: len(crops)])


def persons(wanted: Sequence[NDArray[np.float32]], unwanted: Sequence[NDArray[np.float32]]) -> PersonFilter:
    shown = [np.stack(each) if each else NOBODY for each in (wanted, unwanted)]
    return PersonFilter(in_order(ANNA, BERT), 0.7, *shown)


@pytest.mark.parametrize(
    ("wanted", "unwanted", "kept"),
    [
        ([ANNA], [], [True, False]),
        ([ANNA, BERT], [], [True, True]),
        ([CARL], [], [False, False]),
        ([], [BERT], [True, False]),
        ([], [CARL], [True, True]),
        ([ANNA, BERT], [BERT], [True, False]),
    ],
)
def test_the_persons_asked_for_are_restored(
    smooth_image: Make, wanted: list[NDArray[np.float32]], unwanted: list[NDArray[np.float32]], kept: list[bool]
) -> None:
    model = Model()
    parts = replace(restorer(model, batch_size=2), persons=persons(wanted, unwanted))
    out = parts.restore(frames(smooth_image, 1)[0])
    assert [outcome.status == "restored" for outcome in out.outcomes] == kept
    assert {outcome.status for outcome in out.outcomes} <= {"restored", "skipped"}
    assert sum(model.batches) == sum(kept) == len(out.crops), "the others cost nothing"
    boxes = [face.box[0] for face, is_kept in zip(FACES, kept, strict=True) if is_kept]
    assert [crop.face.box[0] for crop in out.crops] == boxes


def test_a_face_like_two_is_of_the_one_it_is_more_like() -> None:
    between = np.array([0.8, 0.75, 0], np.float32)
    assert persons([ANNA], [BERT]).keeps(between) and not persons([BERT], [ANNA]).keeps(between)


def test_faces_that_another_flag_leaves_out_stay_left_out(smooth_image: Make) -> None:
    parts = replace(restorer(Model(), faces="largest"), persons=persons([ANNA], []))
    (out,) = parts.stream(frames(smooth_image, 1))
    assert isinstance(out, Restored) and [each.status for each in out.outcomes].count("restored") == 1
    nobody = replace(restorer(Model(), min_face=9999.0), persons=persons([ANNA], []))
    assert [each.status for each in nobody.restore(frames(smooth_image, 1)[0]).outcomes] == ["skipped", "skipped"]


def test_the_least_product_of_a_score() -> None:
    scale = IdentityScale((0.2, 0.6, 1.0), (-1.0, 0.0, 0.5))
    for score in (0.2, 0.5, 0.9):
        least = product_at(scale, score)
        assert scale(least + 1e-6) >= score > scale(least - 1e-3)
