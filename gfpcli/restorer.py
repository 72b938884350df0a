"""The whole flow on one page: detect, align, restore, mask, paste."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gfpcli.align import cut_crop
from gfpcli.errors import FaceError
from gfpcli.options import RestoreOptions
from gfpcli.paste import paste_face, resize_background, soft_mask
from gfpcli.tensors import to_images, to_tensor
from gfpcli.types import Crop, Detector, Face, FaceModel, FaceOutcome, Frame, Restored


@dataclass(frozen=True, slots=True)
class Restorer:
    """Frozen parts; nothing per call is kept."""

    detector: Detector
    model: FaceModel
    options: RestoreOptions

    def stream(self, frames: Iterable[Frame]) -> Iterator[Restored]:
        """Each frame restored, in order; a frame without a face comes out enlarged or untouched."""
        return (self.restore(frame) for frame in frames)

    def restore(self, frame: Frame) -> Restored:
        """One frame. A face that cannot be aligned keeps its pixels and is reported `failed`."""
        crops, outcomes = [], []
        for face in choose_faces(self.detector(frame.image), frame, self.options):
            try:
                crops.append(cut_crop(frame.image, face, self.model.size))
                outcomes.append(FaceOutcome("restored"))
            except FaceError as error:
                outcomes.append(FaceOutcome("failed", str(error)))
        faces = self.restore_crops(crops, frame.is_gray)
        height, width = frame.image.shape[:2]
        size = round(height * self.options.scale), round(width * self.options.scale)
        canvas = resize_background(frame.image, size)
        mask = soft_mask(self.model.size)
        for crop, pasted in zip(crops, faces, strict=True):
            ratio = size[1] / width, size[0] / height
            paste_face(canvas, pasted, crop, mask, scale=ratio, strength=self.options.strength)
        return Restored(
            frame=frame,
            image=canvas,
            scale=self.options.scale,
            crops=tuple(crops),
            faces=tuple(faces),
            masks=(mask,) * len(crops),
            outcomes=tuple(outcomes),
            alpha=None if frame.alpha is None else resize_background(frame.alpha, size),
        )

    def restore_crops(self, crops: list[Crop], is_gray: bool) -> list[NDArray[np.uint8]]:
        """(S, S, 3) BGR faces from the network, batched; gray photos get gray faces.

        Raises:
            FaceError: the network gave numbers that are not finite.
        """
        faces: list[NDArray[np.uint8]] = []
        step = self.options.batch_size or 8
        for at in range(0, len(crops), step):
            with torch.inference_mode():
                out = self.model(to_tensor([crop.image for crop in crops[at : at + step]]))
            if not out.isfinite().all():
                raise FaceError("the network gave numbers that are not finite")
            faces += to_images(out.mean(dim=1, keepdim=True).expand_as(out) if is_gray else out)
        return faces


def choose_faces(faces: tuple[Face, ...], frame: Frame, options: RestoreOptions) -> tuple[Face, ...]:
    """The faces `--faces` and `--min-face` ask for."""

    def area(face: Face) -> float:
        return float(np.prod(face.box[2:] - face.box[:2]))

    def off_centre(face: Face) -> float:
        middle = np.array(frame.image.shape[1::-1]) / 2
        return float(np.hypot(*((face.box[:2] + face.box[2:]) / 2 - middle)))

    large = [face for face in faces if min(face.box[2:] - face.box[:2]) >= options.min_face]
    if options.faces == "all":
        return tuple(large)
    if options.faces == "center":
        return tuple(sorted(large, key=off_centre)[:1])
    n_wanted = 1 if options.faces == "largest" else int(options.faces)
    return tuple(sorted(large, key=area, reverse=True)[:n_wanted])
