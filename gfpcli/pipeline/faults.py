"""What libraries raise for one frame or face, and how the work goes on: in halves, or one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.errors import FaceError, GfpError, InputError
from gfpcli.memory import is_out_of_memory
from gfpcli.pipeline.arrays import from_batch, to_batch
from gfpcli.pipeline.steps import NetworkFace
from gfpcli.types import Crop, FaceCode, FaceCoder, FaceModel, Failed, Frame, Mask, Masker, PictureBatch

FAULTS = (MemoryError, RuntimeError, cv2.error, np.linalg.LinAlgError)
"""What libraries raise for one frame or face; networks tell of memory, of a device and of a driver by RuntimeError."""
NO_RESULT_MEMORY = "not enough memory for the result; try a smaller --scale"
NOT_FINITE = "the network gave numbers that are not finite"
T = TypeVar("T")
R = TypeVar("R")


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


def restore_by_size(models: Sequence[FaceModel], crops: Sequence[Crop], batch_size: int) -> list[NetworkFace]:
    """As `restore_crops`, each crop by the network of its size."""
    made: dict[int, NetworkFace] = {}
    for model in models:
        mine = [i for i, crop in enumerate(crops) if crop.image.shape[0] == model.size]
        results = restore_crops(model, [crops[i] for i in mine], batch_size)
        made |= dict(zip(mine, results, strict=True))
    return [made[i] for i in range(len(crops))]


def restore_crops(model: FaceModel, crops: Sequence[Crop], batch_size: int) -> list[NetworkFace]:
    """One result for each crop. A batch that fails is halved until it does not, or until it holds a single face."""
    return _in_halves(lambda some: _pictures_of(model(to_batch([crop.image for crop in some]))), crops, batch_size)


def encode_crops(coder: FaceCoder, crops: Sequence[Crop], batch_size: int) -> list[FaceCode | FaceError]:
    """One code for each crop, as `restore_crops`."""
    codes = _in_halves(lambda some: coder.encode(to_batch([crop.image for crop in some])), crops, batch_size)
    error = FaceError(NOT_FINITE)
    return [code if isinstance(code, FaceError) or np.isfinite(code.latent).all() else error for code in codes]


def decode_codes(
    coder: FaceCoder, crops: Sequence[Crop], codes: Sequence[FaceCode | FaceError], batch_size: int
) -> list[NetworkFace]:
    """One result for each code, as `restore_crops`. A crop whose features were not kept is encoded again for them."""

    def decode(pairs: Sequence[tuple[Crop, FaceCode]]) -> list[NetworkFace]:
        return _pictures_of(coder.decode([_with_features(coder, crop, code) for crop, code in pairs]))

    good = [(crop, code) for crop, code in zip(crops, codes, strict=True) if not isinstance(code, FaceError)]
    faces = iter(_in_halves(decode, good, batch_size))
    return [code if isinstance(code, FaceError) else next(faces) for code in codes]


def _with_features(coder: FaceCoder, crop: Crop, code: FaceCode) -> FaceCode:
    return code if code.features is not None else replace(coder.encode(to_batch([crop.image]))[0], latent=code.latent)


def _in_halves(
    work: Callable[[Sequence[T]], list[R]], items: Sequence[T], batch_size: int
) -> list[R | FaceError]:
    """What `work` makes of each item. A batch that fails is halved until it does not, or holds a single one."""
    results: list[R | FaceError] = []
    step = max(1, batch_size)
    while len(results) < len(items):
        wanted = items[len(results) : len(results) + step]
        try:
            results += work(wanted)
            continue
        except FAULTS as error:
            reason = fault_text(error, "this face does not fit into the device's memory")
        if len(wanted) == 1:
            results.append(FaceError(reason))
        step = max(1, len(wanted) // 2)
    return results


def _pictures_of(out: PictureBatch) -> list[NetworkFace]:
    """(N, 3, S, S) of the face network to pictures, or an error where they are not finite."""
    is_good = [bool(np.isfinite(face).all()) for face in out]
    error = FaceError(NOT_FINITE)
    return [face if good else error for face, good in zip(from_batch(np.nan_to_num(out)), is_good, strict=True)]


def mask_faces(masker: Masker, faces: Sequence[NDArray[np.uint8]]) -> list[Mask | FaceError]:
    """One mask for each face. Where all at once fail, they are made one by one."""
    try:
        return [*masker(faces)] if faces else []
    except FAULTS:
        return [_mask_alone(masker, face) for face in faces]


def _mask_alone(masker: Masker, face: NDArray[np.uint8]) -> Mask | FaceError:
    try:
        return masker([face])[0]
    except FAULTS as error:
        return FaceError(fault_text(error, "this face's mask does not fit into the device's memory"))
