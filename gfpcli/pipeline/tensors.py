"""Torch's side of the ports: networks that take and give arrays, and the tensors and precisions in between.

Nothing else of the pipeline loads torch; a run without it does not load this file.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gfpcli.pipeline.arrays import from_batch, to_batch
from gfpcli.pipeline.upsample import Tiling
from gfpcli.types import PictureBatch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class ArrayNet:
    """A torch network that takes and gives arrays: on its device, in its precision, channels last."""

    net: Callable[[Tensor], Any]  # what it gives is a tensor, or a tuple of them
    device: torch.device
    dtype: torch.dtype = torch.float32

    def __call__(self, batch: PictureBatch, /) -> NDArray[np.float32]:
        """What the network makes of (N, 3, H, W). Raises RuntimeError as `inference`."""
        with inference():
            return to_array(self.net(place(batch, self.device, self.dtype)))

    def answers(self, batch: PictureBatch, /) -> tuple[NDArray[np.float32], ...]:
        """The same of a network that gives several. Raises RuntimeError as `inference`."""
        with inference():
            return tuple(map(to_array, self.net(place(batch, self.device, self.dtype))))


@dataclass(frozen=True, slots=True, eq=False)
class EnlargingNet:
    """A background network on the CPU: (N, 3, H, W) RGB in [0, 1] to (N, 3, H * scale, W * scale)."""

    net: nn.Module
    tiling: Tiling


@contextmanager
def inference() -> Iterator[None]:
    """Work without gradients. What fails in it leaves a GPU's memory free for a smaller batch.

    Raises:
        RuntimeError: torch's own, which tells of memory, of a device and of a driver.
    """
    try:
        with torch.inference_mode():
            yield
    except RuntimeError as error:
        traceback.clear_frames(error.__traceback__)  # they hold what the network made so far
        torch.cuda.empty_cache()  # does nothing where CUDA was never used
        raise


def place(batch: PictureBatch, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """A batch as a network takes it: channels last, on its device; no copy where it is there already."""
    last = np.ascontiguousarray(batch.transpose(0, 2, 3, 1))
    tensor = torch.from_numpy(last).permute(0, 3, 1, 2)
    is_cuda = device.type == "cuda"
    if is_cuda:
        tensor = tensor.pin_memory()  # which the GPU reads by itself
    return tensor.to(device, dtype, memory_format=torch.channels_last, non_blocking=is_cuda)


def to_array(out: Tensor) -> NDArray[np.float32]:
    """What a network gives, as float32 on the CPU."""
    array: NDArray[np.float32] = out.float().cpu().numpy()
    return array


def to_tensor(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """(S, S, 3) BGR uint8 images to one (N, 3, S, S) RGB float32 tensor in [-1, 1], for training."""
    return torch.from_numpy(to_batch(images))


def to_images(faces: Tensor) -> list[NDArray[np.uint8]]:
    """The way back: clamped to [-1, 1], scaled to 0..255 and rounded."""
    return from_batch(to_array(faces))
