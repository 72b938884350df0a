"""Optical flow between two pictures, and where it can be trusted.

Sources: Kroeger et al. 2016 (dense inverse search, OpenCV's DIS); Sundaram et al. 2010 (the way there and back).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.types import Image

SHARE_OF_MOTION, LEAST_MISS = 0.01, 0.5  # px^2: how far the way back may miss (Sundaram et al. 2010, equation 5)
Flow: TypeAlias = NDArray[np.float32]
"""(H, W, 2) px (x, y): where each pixel of one picture lies in the other, less its own place."""


@dataclass(frozen=True, slots=True)
class FlowSearch:
    """How much work the search is: settings of OpenCV's DIS."""

    finest_scale: int  # level of the pyramid at which it ends: the picture halved so often
    patch_stride: int  # px between the patches
    n_descents: int
    n_refinements: int


THOROUGH = FlowSearch(1, 3, 25, 5)  # OpenCV's preset "medium"
SPARSE = FlowSearch(1, 4, 8, 3)  # half its time and as exact; the way there and back must be searched alike


def flow_between(one: NDArray[np.uint8], other: NDArray[np.uint8], search: FlowSearch = THOROUGH) -> Flow:
    """The flow from `one` to `other`, both (H, W) grey and at least 12 px wide and high."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(search.finest_scale)
    dis.setPatchStride(search.patch_stride)
    dis.setGradientDescentIterations(search.n_descents)
    dis.setVariationalRefinementIterations(search.n_refinements)
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
    inside = np.asarray(cv2.inRange(places, (0.0, 0.0), (width - 1.0, height - 1.0))) > 0
    miss = _squared_length(there + returned)
    motion = _squared_length(there) + _squared_length(returned)
    return np.asarray((miss < SHARE_OF_MOTION * motion + LEAST_MISS) & inside, np.bool_)


def _squared_length(steps: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W) of (H, W, 2); numpy's own sums over so short an axis are many times slower."""
    x, y = steps[..., 0], steps[..., 1]
    return x * x + y * y


def grey_of(image: Image) -> NDArray[np.uint8]:
    """(H, W), 8 bit, from (H, W, 3) BGR of either depth."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return np.asarray(grey if grey.dtype == np.uint8 else np.round(grey / 257), np.uint8)


@lru_cache(maxsize=8)
def _grid(height: int, width: int) -> NDArray[np.float32]:
    """(H, W, 2): each pixel's own place (x, y). Read-only."""
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=2).astype(np.float32)
    grid.flags.writeable = False
    return grid
