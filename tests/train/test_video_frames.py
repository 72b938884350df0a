"""Pictures as frames of compressed video."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.adapters.basicsr import psnr
from gfpcli.train.video_frames import DECODERS, as_video_frame

Make = Callable[[int, int], NDArray[np.uint8]]


@pytest.mark.parametrize("codec", DECODERS)
def test_a_higher_rate_factor_is_worse_and_the_picture_is_the_same_each_time(smooth_image: Make, codec: str) -> None:
    image = smooth_image(96, 128)
    good, fair, poor = (as_video_frame(image, codec, crf) for crf in (5, 30, 51))
    assert psnr(good, image) > psnr(fair, image) + 1 > psnr(poor, image) + 2
    assert psnr(good, image) > 28 and (fair == as_video_frame(image, codec, 30)).all()


@pytest.mark.parametrize("codec", DECODERS)
@pytest.mark.parametrize("size", [(97, 61), (1, 1), (33, 250)])
def test_odd_and_tiny_pictures_keep_their_size_and_place(smooth_image: Make, codec: str, size: tuple[int, int]) -> None:
    image = smooth_image(*size)
    out = as_video_frame(image, codec, 18)
    assert out.shape == image.shape
    assert np.abs(out.astype(float) - image).mean() < 14
