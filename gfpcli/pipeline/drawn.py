"""How much of a restored face was drawn: the fine detail that the photo's own face does not have.

The measure is the local strength (RMS over a Gaussian neighbourhood) of what the restored face has and the crop has
not, finer than `FINE_SIGMA`: a network may sharpen an edge that is there or make one up, and both are such detail.
Where the network changed nothing it is 0. Of several measures tried on held-out faces this one follows the true error
best among those that need no further run of the network (`examples/builtin/evaluate_map.py`; figures in the model
card).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.pipeline.paste import paste_plane
from gfpcli.types import Crop, Image, Mask

FINE_SIGMA, AROUND_SIGMA = 1 / 256, 4 / 256  # sigmas of the two Gaussians, of the face's edge
FULL = 16.0  # grey levels (RMS) of drawn detail that are shown as white


def drawn_detail(crop: NDArray[np.uint8], face: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(S, S) grey levels, 0 or more, of detail in the restored `face` that `crop` has not; both (S, S, 3) BGR."""
    size = face.shape[0]
    step = luma_of(face) - luma_of(crop)
    step -= cv2.GaussianBlur(step, (0, 0), FINE_SIGMA * size)
    power = cv2.GaussianBlur(np.square(step), (0, 0), AROUND_SIGMA * size)
    return np.asarray(np.sqrt(np.maximum(power, 0)), np.float32)


def face_map(crop: Crop, face: NDArray[np.uint8], mask: Mask, strength: float) -> NDArray[np.uint8]:
    """(S, S) gray: 0 nothing drawn or not pasted, 255 `FULL` grey levels of drawn detail and more.

    Args:
        strength: 0..1, the share of the network's face that was taken.
    """
    level = drawn_detail(crop.image, face) * mask * np.float32(strength * 255 / FULL)
    return np.asarray(np.clip(np.round(level), 0, 255), np.uint8)


def frame_map(
    maps: Sequence[NDArray[np.uint8]], crops: Sequence[Crop], size: tuple[int, int], frame: Image
) -> NDArray[np.uint8]:
    """(height, width) gray: the maps of a frame's faces in their places, 0 outside of them, the larger where two lie.

    Args:
        size: (height, width) of the restored picture.
        frame: the picture before.
    """
    canvas = np.zeros(size, np.uint8)
    scale = size[1] / frame.shape[1], size[0] / frame.shape[0]
    for plane, crop in zip(maps, crops, strict=True):
        paste_plane(canvas, plane, crop, scale)
    return canvas


def luma_of(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W) BT.601 luma of BGR, unrounded."""
    return np.asarray(image.astype(np.float32) @ np.array([0.114, 0.587, 0.299], np.float32), np.float32)
