"""Images to tensors and back: faces in [-1, 1], whole pictures of either depth in [0, 1]; the names of precisions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gfpcli.types import Image

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def to_tensor(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """(S, S, 3) BGR uint8 images to one (N, 3, S, S) RGB float32 tensor in [-1, 1]."""
    rgb = np.ascontiguousarray(np.stack(images)[..., ::-1])
    return torch.from_numpy(rgb).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def to_images(faces: Tensor) -> list[NDArray[np.uint8]]:
    """The way back: clamped to [-1, 1], scaled to 0..255 and rounded."""
    scaled = faces.float().clamp(-1, 1).add(1).mul(127.5).round().byte()
    return [np.ascontiguousarray(face[..., ::-1]) for face in scaled.permute(0, 2, 3, 1).cpu().numpy()]


def to_unit(image: Image) -> Tensor:
    """An (H, W, 3) BGR image to (1, 3, H, W) RGB float32 in [0, 1], channels last."""
    rgb = image[..., ::-1].astype(np.float32)
    rgb /= np.iinfo(image.dtype).max
    return torch.from_numpy(rgb).permute(2, 0, 1)[None]


def from_unit(picture: Tensor, dtype: np.dtype[np.generic]) -> Image:
    """(3, H, W) RGB, clamped to [0, 1], to an (H, W, 3) BGR image of uint8 or uint16, rounded."""
    scaled = picture.float().clamp(0, 1).mul(np.iinfo(dtype).max).round()  # type: ignore[type-var]
    return np.ascontiguousarray(scaled.permute(1, 2, 0).cpu().numpy()[..., ::-1].astype(dtype))
