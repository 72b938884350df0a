"""Restored faces back into the frame (numpy and cv2 only)."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.align import invert
from gfpcli.types import Crop, Image, Mask


@lru_cache(maxsize=4)
def soft_mask(size: int) -> Mask:
    """A feathered oval (size, size): 1 on the face, 0 at the crop's border. Read-only."""
    mask = np.zeros((size, size), np.float32)
    unit = size / 512
    centre = (round(256 * unit), round(285 * unit))
    cv2.ellipse(mask, centre, (round(150 * unit), round(190 * unit)), 0, 0, 360, 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 14 * unit)
    mask[mask < 1 / 512] = 0
    mask.flags.writeable = False
    return mask


def resize_background(image: Image, size: tuple[int, int]) -> Image:
    """Lanczos to (height, width); the same pixels where the size is the same."""
    height, width = size
    if image.shape[:2] == size:
        return image.copy()
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LANCZOS4), image.dtype)


def crop_to_canvas_of(crop: Crop, scale: tuple[float, float]) -> NDArray[np.float64]:
    """Crop pixels to canvas pixels, by pixel centres: p_canvas = s*p + 0.5*(s-1). `scale` is (x, y)."""
    affine = invert(crop.frame_to_crop)
    factors = np.array(scale)
    affine *= factors[:, None]
    affine[:, 2] += 0.5 * (factors - 1)
    return affine


def paste_face(
    canvas: Image,
    face: NDArray[np.uint8],
    crop: Crop,
    mask: Mask,
    *,
    scale: tuple[float, float],
    strength: float = 1.0,
) -> None:
    """Blend a restored (S, S, 3) BGR face into `canvas` in place, touching the face's own rectangle only.

    Where the warped mask is 0, or with strength 0, pixels stay bit-identical. `scale` is canvas / frame, (x, y).
    """
    affine = crop_to_canvas_of(crop, scale)
    size = face.shape[0]
    corners = np.array([(0, 0), (size, 0), (0, size), (size, size)], np.float64) @ affine[:, :2].T + affine[:, 2]
    x0, y0 = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, (canvas.shape[1], canvas.shape[0]))
    if strength == 0 or x0 >= x1 or y0 >= y1:
        return
    moved = affine.copy()
    moved[:, 2] -= (x0, y0)
    zoom = float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))
    if zoom < 0.9:  # a crop finer than its place is blurred first, against aliasing
        face = np.asarray(cv2.GaussianBlur(face, (0, 0), 0.45 * np.sqrt(1 / zoom**2 - 1)), np.uint8)
    extent = (int(x1 - x0), int(y1 - y0))
    warped = cv2.warpAffine(face, moved, extent, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    weight = cv2.warpAffine(mask, moved, extent, flags=cv2.INTER_LINEAR)[..., None] * np.float32(strength)
    place = canvas[y0:y1, x0:x1]
    unit = np.float32(257 if canvas.dtype == np.uint16 else 1)
    blended = place * (1 - weight) + warped * unit * weight
    np.copyto(place, np.round(blended).astype(canvas.dtype), where=weight > 0)
