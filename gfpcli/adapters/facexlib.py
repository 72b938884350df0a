"""facexlib's RetinaFace behind the `Detector` port. Our weights, a bounded size, nothing kept between calls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from facexlib.detection.retinaface import RetinaFace
from facexlib.detection.retinaface_utils import PriorBox, decode, decode_landm
from torch import Tensor
from torchvision.ops import nms

from gfpcli.align import to_8_bit
from gfpcli.errors import CheckpointError
from gfpcli.types import Face, Image

MEAN_BGR = (104.0, 117.0, 123.0)
VARIANCES = [0.1, 0.2]
NMS_IOU = 0.4
MIN_EYE_DISTANCE = 5.0  # px (GFPGAN)


@dataclass(frozen=True, slots=True)
class FacexlibDetector:
    """Calls a RetinaFace network on an image of at most `longest` px (0 = full size)."""

    net: RetinaFace
    threshold: float
    longest: int

    def __call__(self, image: Image, /) -> tuple[Face, ...]:
        """Faces of a (H, W, 3) BGR image, best score first; nested boxes are dropped."""
        height, width = image.shape[:2]
        zoom = min(1.0, self.longest / max(height, width)) if self.longest else 1.0
        zooms = [zoom, zoom / 4] if max(height, width) * zoom > 480 else [zoom]  # faces larger than the anchors
        found = [self._detect_at(to_8_bit(image), z) for z in zooms]
        boxes, points, scores = (torch.cat(part) for part in zip(*found, strict=True))
        keep = nms(boxes, scores, NMS_IOU)
        faces = [
            Face(boxes[i].double().numpy(), points[i].double().numpy(), float(scores[i]))
            for i in keep  # best score first
        ]
        return drop_nested(tuple(face for face in faces if _is_plausible(face)))

    @torch.inference_mode()
    def _detect_at(self, image: Image, zoom: float) -> tuple[Tensor, Tensor, Tensor]:
        height, width = image.shape[:2]
        size = max(1, round(width * zoom)), max(1, round(height * zoom))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if zoom < 1 else image
        pixels = small.astype(np.float32) - np.array(MEAN_BGR, np.float32)
        boxes, scores, points = self.net(torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous())
        priors = PriorBox(self.net.cfg, image_size=small.shape[:2]).forward()
        keep = scores[0, :, 1] > self.threshold
        factor = torch.tensor([width, height], dtype=torch.float32)
        corners = decode(boxes[0], priors, VARIANCES)[keep] * factor.repeat(2)
        marks = decode_landm(points[0], priors, VARIANCES)[keep] * factor.repeat(5)
        return corners, marks.view(-1, 5, 2) - 0.5, scores[0, keep, 1]


def _is_plausible(face: Face) -> bool:
    left, right, _, mouth_left, mouth_right = face.landmarks
    eyes, mouth = (left + right) / 2, (mouth_left + mouth_right) / 2
    return bool(np.hypot(*(right - left)) >= MIN_EYE_DISTANCE and np.hypot(*(mouth - eyes)) > 2)


def drop_nested(faces: tuple[Face, ...]) -> tuple[Face, ...]:
    """Faces, best first, without those that lie to four fifths inside (or around) a better one."""
    kept: list[Face] = []
    for face in faces:
        if all(_covered(face, other) < 0.8 for other in kept):
            kept.append(face)
    return tuple(kept)


def _covered(face: Face, other: Face) -> float:
    """Shared area over the smaller box's area."""
    low, high = np.maximum(face.box[:2], other.box[:2]), np.minimum(face.box[2:], other.box[2:])
    areas = [np.prod(each.box[2:] - each.box[:2]) for each in (face, other)]
    return float(np.prod(np.maximum(high - low, 0)) / max(min(areas), 1e-6))


def load_detector(
    state: Mapping[str, Tensor],
    *,
    source: str,
    threshold: float,
    longest: int,
    min_sizes: str | None = None,
    slope: float | None = None,
) -> FacexlibDetector:
    """A detector from a state in facexlib's layout; the backbone is read from its keys.

    Args:
        min_sizes: the anchors as JSON, where they are not facexlib's own.
        slope: negative slope of every leaky ReLU, where it is not facexlib's own.

    Raises:
        CheckpointError: the state does not fit; names `source`.
    """
    backbone = "mobile0.25" if "body.stage1.0.0.weight" in state else "resnet50"
    try:
        net = RetinaFace(backbone, device=torch.device("cpu"))
        net.load_state_dict(dict(state))
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(f"{source}: not a RetinaFace detector in facexlib's layout") from error
    if min_sizes:
        net.cfg = {**net.cfg, "min_sizes": json.loads(min_sizes)}
    for module in net.modules():
        if slope is not None and isinstance(module, torch.nn.LeakyReLU):
            module.negative_slope = slope
    return FacexlibDetector(net.eval().requires_grad_(False), threshold, longest)
