"""Small pictures of before and after: thumbnails, pairs of faces, sheets with both side by side."""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.pipeline.align import to_8_bit
from gfpcli.types import Affine, Image, Mask

MAX_HALF = 2048  # px, longer side of one half of a sheet
GAP_WIDTH = 16  # px between the halves
GAP_LEVEL = 128  # grey
FACE_MARGIN = 0.3  # of a face's longer side, shown around its box

SmallPicture: TypeAlias = NDArray[np.uint8]
"""(H, W, 3) BGR."""
Alpha: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16] | None
Layers: TypeAlias = tuple[Image, Alpha]
"""A picture and its (H, W) alpha of the same depth, None where it is opaque."""

PlacedMask: TypeAlias = tuple[Mask, Affine]
"""The mask (S, S) of a face, and the affine from pixels of the photo to those of the mask."""


def compare_sheet(before: Layers, after: Layers) -> SmallPicture:
    """Before on the left, after on the right, both at the size of `after`, but at most `MAX_HALF` px long."""
    left, right = pair_of(before, after, MAX_HALF)
    gap = np.full((left.shape[0], GAP_WIDTH, 3), GAP_LEVEL, np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def pair_of(before: Layers, after: Layers, longest: int) -> tuple[SmallPicture, SmallPicture]:
    """Before and after at one size: that of `after`, at most `longest` px on its longer side."""
    size = _fit(after[0].shape[:2], longest)
    return resized(before, size), resized(after, size)


def face_pair(
    before: Layers, after: Layers, box: NDArray[np.float64], longest: int
) -> tuple[SmallPicture, SmallPicture]:
    """A face with its surroundings in before and after, at its size in `after`, at most `longest` px long.

    Args:
        box: (4,) x0, y0, x1, y1 in pixels of `before`.
    """
    height, width = before[0].shape[:2]
    low, high = _around(box, (width, height))
    ratio = np.array(after[0].shape[1::-1]) / (width, height)
    parts = [_part(before, low, high), _part(after, low * ratio, high * ratio)]
    return pair_of(parts[0], parts[1], longest)


def face_mask(mask: PlacedMask, box: NDArray[np.float64], size: tuple[int, int], longest: int) -> SmallPicture:
    """The mask in the part of a photo that `face_pair` shows, grey (white takes the restored face).

    Args:
        box: (4,) x0, y0, x1, y1 in pixels of the photo.
        size: (width, height) of the photo.
        longest: px of the longer side.
    """
    low, high = _around(box, size)
    low, high = np.floor(low), np.ceil(high)
    zoom = longest / max(high - low)
    small = np.maximum(np.round((high - low) * zoom), 1).astype(int)
    scale = small / (high - low)
    part_to_photo = np.column_stack([np.diag(1 / scale), low + 0.5 / scale - 0.5])
    to_mask = mask[1][:, :2] @ part_to_photo
    to_mask[:, 2] += mask[1][:, 2]
    extent = int(small[0]), int(small[1])
    shown = cv2.warpAffine(mask[0], to_mask, extent, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    grey = np.asarray(np.round(np.clip(shown, 0, 1) * 255), np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _around(box: NDArray[np.float64], size: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A face's box with its surroundings, as far as the photo of (width, height) goes: two corners."""
    margin = FACE_MARGIN * max(box[2] - box[0], box[3] - box[1])
    low = np.clip(box[:2] - margin, 0, np.subtract(size, 1))
    return low, np.clip(box[2:] + margin, low + 1, size)


def resized(layers: Layers, size: tuple[int, int]) -> SmallPicture:
    """The picture at `size` (height, width), 8 bit, over white where it is transparent."""
    image, alpha = layers
    picture = to_8_bit(_resize(image, size))
    if alpha is None:
        return picture
    share = _resize(alpha, size).astype(np.float32)[..., None] / np.iinfo(alpha.dtype).max
    return np.asarray(np.round(picture * share + 255 * (1 - share)), np.uint8)


def _resize(image: Image, size: tuple[int, int]) -> Image:
    height, width = size
    if image.shape[:2] == size:
        return image
    is_smaller = height * width < image.shape[0] * image.shape[1]
    out = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if is_smaller else cv2.INTER_CUBIC)
    return np.asarray(out, np.uint16) if image.dtype == np.uint16 else np.asarray(out, np.uint8)


def _fit(size: tuple[int, ...], longest: int) -> tuple[int, int]:
    zoom = min(1.0, longest / max(size))
    return max(1, round(size[0] * zoom)), max(1, round(size[1] * zoom))


def _part(layers: Layers, low: NDArray[np.float64], high: NDArray[np.float64]) -> Layers:
    x0, y0 = np.floor(low).astype(int)
    x1, y1 = np.ceil(high).astype(int)
    image, alpha = layers
    return image[y0:y1, x0:x1], None if alpha is None else alpha[y0:y1, x0:x1]
