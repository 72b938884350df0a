"""ParseNet behind the `Masker` port: which pixels of a face are pasted, by what they show (numpy only)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.pipeline.arrays import to_batch
from gfpcli.types import Mask, PictureBatch

PARSE_SIZE = 512  # px that ParseNet was trained at
PARSE_SIZES = (PARSE_SIZE, PARSE_SIZE // 2)  # the second is four times as fast
PASTED = (*range(1, 14), 15)  # ParseNet's classes that belong to the face (upstream `face_restoration_helper.py`)
ClassOfPixels: TypeAlias = Callable[[PictureBatch], NDArray[np.integer[Any]]]
"""The network: (N, 3, H, W) RGB in [-1, 1] to the likeliest of 19 classes at each pixel (N, H, W)."""
T = TypeVar("T", np.uint8, np.float32)


@dataclass(frozen=True, slots=True)
class ParseNetMasker:
    """Masks the pixels that ParseNet calls face; hair, neck, hat and clothes keep the frame's pixels."""

    net: ClassOfPixels
    size: int = PARSE_SIZE  # px at which it sees the faces; it is convolutional, so any size is possible
    n_batch: int = 1  # faces at once

    def __call__(self, faces: Sequence[NDArray[np.uint8]], /) -> list[Mask]:
        """One (S, S) mask for each (S, S, 3) BGR face, feathered, 0 at the border."""
        groups = [faces[start : start + self.n_batch] for start in range(0, len(faces), self.n_batch)]
        return [mask for group in groups for mask in self._masks_of(group)]

    def _masks_of(self, faces: Sequence[NDArray[np.uint8]]) -> list[Mask]:
        shown = [_resized(face, (self.size, self.size), cv2.INTER_LINEAR) for face in faces]
        classes = self.net(to_batch(shown))
        return [self._feathered(each, face.shape[0]) for each, face in zip(classes, faces, strict=True)]

    def _feathered(self, classes: NDArray[np.integer[Any]], size: int) -> Mask:
        """As upstream at 512 px: blurred by sigma 11 twice, then a border of 10 px cut off."""
        unit = self.size / PARSE_SIZE
        mask = np.isin(classes, PASTED).astype(np.float32)
        reach = 2 * round(50 * unit) + 1
        for _ in range(2):
            mask = np.asarray(cv2.GaussianBlur(mask, (reach, reach), 11 * unit), np.float32)
        border = round(10 * unit)
        mask[:border] = mask[-border:] = 0
        mask[:, :border] = mask[:, -border:] = 0
        return _resized(mask, (size, size), cv2.INTER_AREA if size < self.size else cv2.INTER_LINEAR)


def at_sizes(masker: ParseNetMasker, name: str) -> dict[str, ParseNetMasker]:
    """By name: the masker at each of PARSE_SIZES."""
    return {f"{name} at {size}": replace(masker, size=size) for size in PARSE_SIZES}


def _resized(picture: NDArray[T], size: tuple[int, int], how: int) -> NDArray[T]:
    """At (width, height); the picture itself where it has that size."""
    if picture.shape[1::-1] == size:
        return picture
    return np.asarray(cv2.resize(picture, size, interpolation=how), picture.dtype)
