"""Optical flow between two pictures, and where it can be trusted.

Sources: Kroeger et al. 2016 (dense inverse search, OpenCV's DIS); Sundaram et al. 2010 (the way there and back).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.types import Image

SHARE_OF_MOTION, LEAST_MISS = 0.01, 0.5  # px^2: how far the way back may miss (Sundaram et al. 2010, equation 5)
Flow: TypeAlias = NDArray[np.float32]
"""(H, W, 2) px (x, y): where each pixel of one picture lies in the other, less its own place."""


def flow_between(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> Flow:
    """The flow from `one` to `other`, both (H, W) grey and at least 12 px wide and high."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return np.asarray(dis.calc(one, other, None), np.float32)  # type: ignore[call-overload]


def warp_back(picture: NDArray[np.float32], flow: Flow) -> NDArray[np.float32]:
    """`picture`, of the other frame, drawn where its pixels are in the one that `flow` starts from.

    Args:
        picture: (H, W) or (H, W, C).
    """
    places = flow + _grid(*flow.shape[:2])
    warped = cv2.remap(picture, places, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(warped, np.float32)


def is_seen_in_both(there: Flow, back: Flow) -> NDArray[np.bool_]:
    """(H, W): whether a pixel that goes to the other picture by `there` comes back to its place by `back`."""
    places = there + _grid(*there.shape[:2])
    returned = np.asarray(cv2.remap(back, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))  # type: ignore[call-overload]
    height, width = there.shape[:2]
    inside = (places >= 0).all(axis=2) & (places <= (width - 1, height - 1)).all(axis=2)
    miss = np.square(there + returned).sum(axis=2)
    motion = np.square(there).sum(axis=2) + np.square(returned).sum(axis=2)
    return np.asarray((miss < SHARE_OF_MOTION * motion + LEAST_MISS) & inside, np.bool_)


def grey_of(image: Image) -> NDArray[np.uint8]:
    """(H, W), 8 bit, from (H, W, 3) BGR of either depth."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return np.asarray(grey if grey.dtype == np.uint8 else np.round(grey / 257), np.uint8)


@lru_cache(maxsize=2)
def _grid(height: int, width: int) -> NDArray[np.float32]:
    """(H, W, 2): each pixel's own place (x, y). Read-only."""
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=2).astype(np.float32)
    grid.flags.writeable = False
    return grid
