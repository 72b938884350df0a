"""The two crossings between images and tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_tensor(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """(S, S, 3) BGR uint8 images to one (N, 3, S, S) RGB float32 tensor in [-1, 1]."""
    rgb = np.ascontiguousarray(np.stack(images)[..., ::-1])
    return torch.from_numpy(rgb).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def to_images(faces: Tensor) -> list[NDArray[np.uint8]]:
    """The way back: clamped to [-1, 1], scaled to 0..255 and rounded."""
    scaled = faces.float().clamp(-1, 1).add(1).mul(127.5).round().byte()
    return [np.ascontiguousarray(face[..., ::-1]) for face in scaled.permute(0, 2, 3, 1).cpu().numpy()]
