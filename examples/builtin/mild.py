"""What the background network learns from: patches of photos, and the mild damage that an ordinary photo has."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from wild import is_held_out

from gfpcli.train.degrade import round_to_uint8

# sets of wild/ whose repositories state an open licence for them: MIT, CC0, Apache-2.0
SOURCES = ("azure", "cloth", "detectron", "facerec", "human", "mask", "mrcnn", "rooms")
LEAST = 200  # px, shorter side of a usable photo
LOW = 64  # px of the small patch that is damaged; a piece of it is kept, so that JPEG's blocks begin anywhere
SHRINK = (0.45, 0.9)  # the photos are made smaller first: their own JPEG traces go, what is left is sharp
HELD_OUT_SHRINK = 0.6

Picture = NDArray[np.uint8]


def read_photos(folder: Path, *, held_out: bool) -> dict[str, Picture]:
    """The photos of `wild/` by name, BGR: the tenth that only evaluation sees, or the others."""
    photos = {}
    for path in sorted(folder.glob("*/*.jpg")):
        if path.name.split("_")[0] in SOURCES and is_held_out(path.name) == held_out:
            photo = np.asarray(cv2.imread(str(path)), np.uint8)
            if min(photo.shape[:2]) >= LEAST:
                photos[path.name] = photo
    return photos


def draw_true(photos: list[Picture], rng: np.random.Generator) -> Picture:
    """A sharp patch (2 * LOW, 2 * LOW, 3), turned and mirrored at random; large photos more often than small ones."""
    sizes = np.array([photo.size for photo in photos], np.float64)
    photo = photos[rng.choice(len(photos), p=sizes / sizes.sum())]
    side = int(np.ceil(2 * LOW / rng.uniform(max(SHRINK[0], 2 * LOW / min(photo.shape[:2])), SHRINK[1])))
    side = min(side, *photo.shape[:2])
    y, x = (int(rng.integers(0, length - side + 1)) for length in photo.shape[:2])
    patch = cv2.resize(photo[y : y + side, x : x + side], (2 * LOW, 2 * LOW), interpolation=cv2.INTER_AREA)
    patch = np.rot90(patch, int(rng.integers(4)))
    return np.ascontiguousarray(patch[:, ::-1] if rng.random() < 0.5 else patch, np.uint8)


def damage(true: Picture, rng: np.random.Generator) -> Picture:
    """A photo (H, W, 3), both even, at half its size: blur, shrink, noise, JPEG.

    Blur sigma 0 to 1.2 px of the large picture, noise sigma 0 to 5 of 255 (half of it gray), quality 60 to 95; one in
    ten has no noise and no JPEG.
    """
    height, width = true.shape[:2]
    sigma = rng.uniform(0.0, 1.2)
    low = np.asarray(cv2.GaussianBlur(true, (9, 9), sigma) if sigma > 0.2 else true, np.float32)
    how = (cv2.INTER_AREA, cv2.INTER_CUBIC, cv2.INTER_LINEAR)[rng.integers(3)]
    low = np.asarray(cv2.resize(low, (width // 2, height // 2), interpolation=how), np.float32)
    if rng.random() < 0.1:
        return round_to_uint8(low)
    n_channels = 1 if rng.random() < 0.5 else 3
    low = low + rng.normal(0, rng.uniform(0.0, 5.0), (*low.shape[:2], n_channels)).astype(np.float32)
    quality = int(rng.integers(60, 96))
    code = cv2.imencode(".jpg", round_to_uint8(low), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)
