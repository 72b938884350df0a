"""Blur, noise and size of a face, and the strength that follows."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.pipeline.align import TEMPLATE_512
from gfpcli.pipeline.quality import Quality, quality_of, strength_for
from gfpcli.types import Crop, Face

FACE = Face(np.array([0, 0, 256, 256.0]), TEMPLATE_512 / 2, 0.9)


@pytest.fixture(scope="module")
def portrait() -> NDArray[np.uint8]:
    """A sharp aligned face, 256 px."""
    from gfpcli.weights.autotune import probe_faces

    return probe_faces(256)[0]


def quality(image: NDArray[np.uint8], zoom: float = 1.0) -> Quality:
    return quality_of(Crop(FACE, image, np.eye(2, 3) * zoom))


@pytest.mark.parametrize("sigma", [1.0, 1.6, 2.5])
def test_blur_is_measured_in_pixels(portrait: NDArray[np.uint8], sigma: float) -> None:
    blurred = np.asarray(cv2.GaussianBlur(portrait, (0, 0), sigma), np.uint8)
    assert quality(blurred).blur == pytest.approx(sigma, rel=0.25)


def test_noise_is_measured_in_grey_levels(portrait: NDArray[np.uint8], rng: np.random.Generator) -> None:
    smooth = cv2.GaussianBlur(portrait, (0, 0), 2).astype(np.float64)
    noisy = np.clip(smooth + rng.normal(0, 8, smooth.shape[:2])[..., None], 0, 255).astype(np.uint8)
    assert quality(noisy).noise == pytest.approx(8, rel=0.15) and quality(portrait).noise < 3


def test_the_size_is_that_in_the_photo(portrait: NDArray[np.uint8]) -> None:
    assert quality(portrait, zoom=4).size == pytest.approx(64) and quality(portrait, zoom=0.5).size == 512


def test_strength_rises_with_blur_noise_and_smallness() -> None:
    fair = Quality(blur=0.4, noise=0.5, size=400)
    assert strength_for(fair) == 0
    for worse in (Quality(3.0, 0.5, 400), Quality(0.4, 8, 400), Quality(0.4, 0.5, 40)):
        assert strength_for(worse) == 1
    rising = [strength_for(Quality(blur, 0.5, 400)) for blur in np.linspace(0, 4, 20)]
    assert rising == sorted(rising)
