"""Images to what networks take, and back: faces in [-1, 1], whole pictures of either depth in [0, 1].

Without torch; OpenCV where its loops over three channels are many times as fast as numpy's.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.types import Image, PictureBatch

UNIT_LEVELS = np.arange(256, dtype=np.float32) / np.float32(127.5) - np.float32(1)
"""Each level of a face as networks take it."""


def to_batch(images: Sequence[NDArray[np.uint8]]) -> PictureBatch:
    """(S, S, 3) BGR uint8 images to (N, 3, S, S) RGB in [-1, 1], channels last in memory."""
    rgb = [cv2.LUT(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), UNIT_LEVELS) for image in images]
    return np.asarray(np.stack(rgb), np.float32).transpose(0, 3, 1, 2)


def from_batch(faces: PictureBatch) -> list[NDArray[np.uint8]]:
    """The way back: clamped to [-1, 1], scaled to 0..255 and rounded."""
    scaled = np.clip(faces, -1, 1)
    scaled += 1
    scaled *= 127.5
    levels = np.rint(scaled, out=scaled).astype(np.uint8)
    return [np.asarray(cv2.cvtColor(face, cv2.COLOR_RGB2BGR), np.uint8) for face in levels.transpose(0, 2, 3, 1)]


def to_unit(image: Image) -> PictureBatch:
    """An (H, W, 3) BGR image to (1, 3, H, W) RGB in [0, 1], channels last in memory."""
    rgb = image[..., ::-1].astype(np.float32, order="C")
    rgb /= np.iinfo(image.dtype).max
    return rgb.transpose(2, 0, 1)[None]


def from_unit(picture: NDArray[np.float32], dtype: np.dtype[np.generic]) -> Image:
    """(3, H, W) RGB, clamped to [0, 1], to an (H, W, 3) BGR image of uint8 or uint16, rounded."""
    scaled = np.clip(picture, 0, 1)
    scaled *= np.iinfo(dtype).max  # type: ignore[type-var]
    np.rint(scaled, out=scaled)
    return np.ascontiguousarray(scaled.transpose(1, 2, 0)[..., ::-1].astype(dtype))
