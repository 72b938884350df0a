"""The meter of flicker."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from gfpcli.clip.flicker import FlickerMeter
from gfpcli.clip.track import TrackedFrame
from gfpcli.pipeline.align import TEMPLATE_512
from gfpcli.types import Face, Frame, Image

FACE = Face(np.array([40.0, 40, 216, 216]), TEMPLATE_512 * 0.4 + (26, 26), 0.9)


def measured(images: list[Image], restored: list[Image], *, cut: int = -1, aspect: float = 1) -> FlickerMeter:
    meter = FlickerMeter()
    squeeze = np.array([1 / aspect, 1])
    face = Face(FACE.box * np.tile(squeeze, 2), (FACE.landmarks + 0.5) * squeeze - 0.5, 0.9)
    for i, (before, after) in enumerate(zip(images, restored, strict=True)):
        frame = Frame(i, before, "", pixel_aspect=aspect)
        meter.add(TrackedFrame(frame, (face,), i == cut, (face,)), after)
    return meter


def test_what_changes_more_than_the_input_is_counted_but_not_across_a_cut() -> None:
    plain = [np.full((256, 256, 3), 100, np.uint8)] * 3
    restored = [np.full((256, 256, 3), 100 + level, np.uint8) for level in (0, 6, 0)]
    meter = measured(plain, restored)
    assert (meter.total, meter.n_pairs) == (pytest.approx(12), 2)
    assert measured(restored, plain).total == pytest.approx(-12)
    larger = [np.asarray(cv2.resize(each, (512, 512)), np.uint8) for each in restored]
    assert measured(plain, larger).total == pytest.approx(12)
    assert measured(plain, restored, cut=1).n_pairs == 1


def test_squeezed_pixels_are_measured_as_they_are_shown() -> None:
    """The sides of the picture change: the face itself does not reach them, one that is not stretched would."""
    images = [np.full((256, 256, 3), 100, np.uint8) for _ in range(2)]
    images[1][:, :40] = images[1][:, 216:] = 200
    narrow = [np.ascontiguousarray(each[:, ::2]) for each in images]
    plain = [np.full((256, 128, 3), 100, np.uint8)] * 2
    wide = measured([np.full((256, 256, 3), 100, np.uint8)] * 2, images).total
    assert measured(plain, narrow, aspect=2).total == pytest.approx(wide, abs=1)
