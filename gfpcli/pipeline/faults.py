"""What libraries raise for one frame or face, and how the work goes on: in halves, or one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from gfpcli.errors import FaceError, GfpError, InputError
from gfpcli.memory import is_out_of_memory
from gfpcli.pipeline.steps import NetworkFace
from gfpcli.pipeline.tensors import to_images, to_tensor
from gfpcli.types import Crop, FaceModel, Failed, Frame, Mask, Masker

FAULTS = (MemoryError, RuntimeError, cv2.error, np.linalg.LinAlgError)
"""What libraries raise for one frame or face; torch tells of memory, of a device and of a driver by RuntimeError."""
NO_RESULT_MEMORY = "not enough memory for the result; try a smaller --scale"
T = TypeVar("T")


def fault_text(error: Exception, no_memory: str) -> str:
    """One line: `no_memory` where memory ran out, else what the library says."""
    return no_memory if is_out_of_memory(error) else f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def or_failed(frame: Frame, work: Callable[[], T], no_memory: str = NO_RESULT_MEMORY) -> T | Failed:
    """What `work` gives, or why the frame cannot be finished."""
    try:
        return work()
    except GfpError as error:
        return Failed(frame, error)
    except FAULTS as error:
        return Failed(frame, InputError(f"{frame.name}: {fault_text(error, no_memory)}"))


def restore_crops(model: FaceModel, crops: Sequence[Crop], batch_size: int) -> list[NetworkFace]:
    """One result for each crop. A batch that fails is halved until it does not, or until it holds a single face."""
    faces: list[NetworkFace] = []
    step = max(1, batch_size)
    while len(faces) < len(crops):
        wanted = [crop.image for crop in crops[len(faces) : len(faces) + step]]
        try:
            faces += _run_model(model, wanted)
            continue
        except FAULTS as error:
            reason = fault_text(error, "this face does not fit into the device's memory")
        if len(wanted) == 1:
            faces.append(FaceError(reason))
        step = max(1, len(wanted) // 2)
        torch.cuda.empty_cache()  # does nothing where CUDA was never used
    return faces


def _run_model(model: FaceModel, images: list[NDArray[np.uint8]]) -> list[NetworkFace]:
    with torch.inference_mode():
        out = model(to_tensor(images))
    is_good = out.isfinite().flatten(1).all(dim=1).tolist()
    error = FaceError("the network gave numbers that are not finite")
    return [face if good else error for face, good in zip(to_images(out.nan_to_num()), is_good, strict=True)]


def mask_faces(masker: Masker, faces: Sequence[NDArray[np.uint8]]) -> list[Mask | FaceError]:
    """One mask for each face. Where all at once fail, they are made one by one."""
    try:
        return [*masker(faces)] if faces else []
    except FAULTS:
        return [_mask_alone(masker, face) for face in faces]


def _mask_alone(masker: Masker, face: NDArray[np.uint8]) -> Mask | FaceError:
    torch.cuda.empty_cache()
    try:
        return masker([face])[0]
    except FAULTS as error:
        return FaceError(fault_text(error, "this face's mask does not fit into the device's memory"))
