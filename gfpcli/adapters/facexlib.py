"""facexlib's RetinaFace and ParseNet behind the `Detector` and `Masker` ports: our files, no state between calls."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Protocol, TypeAlias, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gfpcli.adapters._compat import prepare_torchvision
from gfpcli.errors import CheckpointError
from gfpcli.model.fold import fold_batch_norms
from gfpcli.model.landmarks import VIEW_SIZE, LandmarkNet
from gfpcli.pipeline.align import to_8_bit, warp_area
from gfpcli.pipeline.refine import LandmarkRefiner
from gfpcli.pipeline.tensors import DTYPES, to_tensor
from gfpcli.types import Face, Image, Mask

prepare_torchvision()

from facexlib.detection.retinaface import RetinaFace  # noqa: E402  (only after the preparation above)
from facexlib.detection.retinaface_utils import decode, decode_landm  # noqa: E402
from facexlib.parsing.parsenet import ParseNet  # noqa: E402
from torchvision.ops import nms  # noqa: E402

MEAN_BGR = (104.0, 117.0, 123.0)
VARIANCES = [0.1, 0.2]
NMS_IOU = 0.4
MIN_EYE_DISTANCE = 5.0  # px (GFPGAN)
FAR = 4  # large images are also seen at 1/4 size, for faces larger than the anchors
VIEW = 224  # px of the square in which landmarks are measured again
VIEW_FACE = 112  # px of the face's longer side there: the middle anchors' size
VIEW_THRESHOLD = 0.3  # low: that there is a face is known
CANDIDATE_SCORE = 0.3  # score from which the landmark refiner is asked
DUPLICATE = 0.2  # of the box's longer side: landmarks nearer than this are those of one face
REFINER_PREFIX = "look."  # of the landmark refiner's keys, beside facexlib's own
RawFaces: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""Boxes (F, 4), landmarks (F, 5, 2) and scores (F,) on the CPU, in pixels of the image."""
T = TypeVar("T", np.uint8, np.float32)
PARSE_SIZE = 512  # px that ParseNet was trained at
SAMPLE = 64  # px of the picture that shows how a network's layers follow each other
PASTED = (*range(1, 14), 15)  # ParseNet's classes that belong to the face (upstream `face_restoration_helper.py`)


class RetinaNet(Protocol):
    """RetinaFace with its anchors, in whatever runtime: (N, 3, H, W) BGR less the mean to its raw answers."""

    @property
    def cfg(self) -> dict[str, Any]: ...

    def __call__(self, batch: Tensor, /) -> tuple[Tensor, Tensor, Tensor]: ...


@dataclass(frozen=True, slots=True)
class FacexlibDetector:
    """A RetinaFace network that sees images at most `longest` px large (0 = full size)."""

    net: RetinaNet
    threshold: float  # least score of a face, 0..1
    longest: int
    device: torch.device
    refiner: LandmarkRefiner | None = None  # None: this network itself measures the landmarks a second time

    def __call__(self, images: Sequence[Image], /) -> list[tuple[Face, ...]]:
        """Faces of (H, W, 3) BGR images, best score first, without nested boxes.

        Images that the network sees at the same size go through it together.
        """
        shown = [to_8_bit(image) for image in images]
        threshold = self.threshold if self.refiner is None else min(self.threshold, CANDIDATE_SCORE)
        found = self.candidates(shown, threshold)
        return [self._refined(image, faces) for image, faces in zip(shown, found, strict=True)]

    def _refined(self, image: NDArray[np.uint8], candidates: tuple[Face, ...]) -> tuple[Face, ...]:
        """The candidates that are faces, with their landmarks measured again."""
        if self.refiner is None:
            faces = drop_nested(tuple(face for face in candidates if is_plausible(face)))
            return tuple(self._measured_again(image, face) for face in faces)
        refined = self.refiner(image, candidates)
        kept = [face for face in refined if face.score > self.threshold and is_plausible(face)]
        return drop_nested(drop_duplicates(tuple(sorted(kept, key=lambda face: -face.score))))

    def candidates(self, images: Sequence[NDArray[np.uint8]], threshold: float) -> list[tuple[Face, ...]]:
        """The faces that the network alone finds in each (H, W, 3) BGR image, best score first."""
        sizes = [self._sizes_of(image) for image in images]
        found: list[list[RawFaces]] = [[] for _ in images]
        for level in range(2):
            own = [(size[level], i) for i, size in enumerate(sizes) if level < len(size)]
            for size, group in groupby(sorted(own), key=lambda pair: pair[0]):
                at = [i for _, i in group]
                for i, each in zip(at, self._detect_at([images[i] for i in at], size, threshold), strict=True):
                    found[i].append(each)
        return [_best_of(each) for each in found]

    def _sizes_of(self, image: NDArray[np.uint8]) -> list[tuple[int, int]]:
        """The sizes (width, height) at which the network sees an image; a large one also at 1 / FAR of the first."""
        height, width = image.shape[:2]
        longest = max(height, width)
        zoom = min(1.0, self.longest / longest) if self.longest else 1.0
        zooms = [zoom, zoom / FAR] if longest * zoom > 480 else [zoom]
        return [(max(1, round(width * each)), max(1, round(height * each))) for each in zooms]

    def _measured_again(self, image: NDArray[np.uint8], face: Face) -> Face:
        """The face with landmarks from where the network is most exact: upright, in the middle, at one size."""
        eyes = face.landmarks[1] - face.landmarks[0]
        centre = (face.box[:2] + face.box[2:]) / 2
        turn = float(np.degrees(np.arctan2(eyes[1], eyes[0])))
        zoom = VIEW_FACE / max(face.box[2:] - face.box[:2])
        view = np.asarray(cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), turn, float(zoom)), np.float64)
        view[:, 2] += VIEW / 2 - centre
        square = warp_area(image, view, VIEW)
        ((boxes, points, scores),) = self._detect_at([square], (VIEW, VIEW), VIEW_THRESHOLD)
        if not len(scores):
            return face
        off = ((boxes[:, :2] + boxes[:, 2:]) / 2 - VIEW / 2).norm(dim=1)
        best = int((scores - off / VIEW_FACE).argmax())
        if off[best] > VIEW_FACE / 4:
            return face  # a neighbour
        back = np.asarray(cv2.invertAffineTransform(view), np.float64)
        return Face(face.box, points[best].double().numpy() @ back[:, :2].T + back[:, 2], face.score)

    @torch.inference_mode()
    def _detect_at(
        self, images: Sequence[NDArray[np.uint8]], size: tuple[int, int], threshold: float
    ) -> list[RawFaces]:
        """What the network finds in each image, seen at `size` (width, height)."""
        small = [_resized(image, size).astype(np.float32) - np.array(MEAN_BGR, np.float32) for image in images]
        batch = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).to(self.device)
        boxes, scores, points = (part.cpu() for part in self.net(batch))
        anchors = anchors_of(self.net.cfg, size)
        found = []
        for i, image in enumerate(images):
            keep = scores[i, :, 1] > threshold
            factor = torch.tensor(image.shape[1::-1], dtype=torch.float32)
            corners = decode(boxes[i, keep], anchors[keep], VARIANCES) * factor.repeat(2)
            marks = decode_landm(points[i, keep], anchors[keep], VARIANCES) * factor.repeat(5)
            found.append((corners, marks.view(-1, 5, 2) - 0.5, scores[i, keep, 1]))
        return found


def anchors_of(cfg: Mapping[str, Any], size: tuple[int, int]) -> Tensor:
    """Centres and sides (A, 4) of the network's anchors, in shares of a picture of `size` (width, height).

    The numbers of facexlib's `PriorBox`, without its loop over every anchor, which takes as long as the network.
    """
    levels = []
    for step, own in zip(cfg["steps"], cfg["min_sizes"], strict=True):
        columns, rows = (math.ceil(length / step) for length in size)
        level = np.empty((rows, columns, len(own), 4))
        level[..., 0] = ((np.arange(columns) + 0.5) * step / size[0])[:, None]
        level[..., 1] = ((np.arange(rows) + 0.5) * step / size[1])[:, None, None]
        level[..., 2:] = np.array(own)[:, None] / size
        levels.append(level.reshape(-1, 4))
    anchors = torch.from_numpy(np.concatenate(levels).astype(np.float32))
    return anchors.clamp(0, 1) if cfg["clip"] else anchors


def _best_of(found: Sequence[RawFaces]) -> tuple[Face, ...]:
    """The faces found at all sizes of an image without overlapping boxes, best score first."""
    boxes, points, scores = (torch.cat(part) for part in zip(*found, strict=True))
    return tuple(
        Face(boxes[i].double().numpy(), points[i].double().numpy(), float(scores[i]))
        for i in nms(boxes, scores, NMS_IOU)
    )


def is_plausible(face: Face) -> bool:
    """Whether eyes and mouth are far enough apart to align by."""
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


def drop_duplicates(faces: tuple[Face, ...]) -> tuple[Face, ...]:
    """Faces, best first, without those whose landmarks are those of a better one: two boxes on one face."""
    kept: list[Face] = []
    for face in faces:
        off = [np.hypot(*(face.landmarks - other.landmarks).T).mean() for other in kept]
        if all(each > DUPLICATE * max(other.box[2:] - other.box[:2]) for each, other in zip(off, kept, strict=True)):
            kept.append(face)
    return tuple(kept)


def _covered(face: Face, other: Face) -> float:
    """Shared area over the smaller box's area."""
    low, high = np.maximum(face.box[:2], other.box[:2]), np.minimum(face.box[2:], other.box[2:])
    areas = [np.prod(each.box[2:] - each.box[:2]) for each in (face, other)]
    return float(np.prod(np.maximum(high - low, 0)) / max(min(areas), 1e-6))


def load_detector(
    state: Mapping[str, Tensor], *, source: str, threshold: float, longest: int, device: torch.device,
    min_sizes: str | None = None, slope: float | None = None,
) -> FacexlibDetector:  # fmt: skip
    """A detector from a state in facexlib's layout; the backbone is read from its keys.

    Keys that begin with `look.` are those of a landmark refiner, which then measures the landmarks and half the score.

    Args:
        min_sizes: the anchors as JSON, where they are not facexlib's own.
        slope: negative slope of every leaky ReLU, where it is not facexlib's own.

    Raises:
        CheckpointError: the state does not fit; names `source`.
    """
    own = {key: value for key, value in state.items() if not key.startswith(REFINER_PREFIX)}
    refiner_state = {key.removeprefix(REFINER_PREFIX): value for key, value in state.items() if key not in own}
    backbone = "mobile0.25" if "body.stage1.0.0.weight" in state else "resnet50"
    try:
        net = RetinaFace(backbone, device=torch.device("cpu"))
        net.load_state_dict(own)
        refiner = _load_refiner(refiner_state, device) if refiner_state else None
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(f"{source}: not a RetinaFace detector in facexlib's layout") from error
    if min_sizes:
        net.cfg = {**net.cfg, "min_sizes": json.loads(min_sizes)}
    for module in net.modules():
        if slope is not None and isinstance(module, torch.nn.LeakyReLU):
            module.negative_slope = slope
    fold_batch_norms(net.eval().requires_grad_(False), torch.zeros(1, 3, SAMPLE, SAMPLE))
    net = net.to(device, memory_format=torch.channels_last)
    return FacexlibDetector(net, threshold, longest, device, refiner)


def _load_refiner(state: Mapping[str, Tensor], device: torch.device) -> LandmarkRefiner:
    net = LandmarkNet()
    net.load_state_dict(dict(state))
    fold_batch_norms(net.eval().requires_grad_(False), torch.zeros(1, 3, VIEW_SIZE, VIEW_SIZE))
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return LandmarkRefiner(net, device)


@dataclass(frozen=True, slots=True)
class ParseNetMasker:
    """Masks the pixels that ParseNet calls face; hair, neck, hat and clothes keep the frame's pixels."""

    net: torch.nn.Module  # (N, 3, H, W) RGB in [-1, 1] to what speaks for each of 19 classes (N, 19, H, W)
    device: torch.device
    size: int = PARSE_SIZE  # px at which it sees the faces; it is convolutional, so any size is possible
    n_batch: int = 1  # faces at once
    dtype: torch.dtype = torch.float32  # of the network

    def __call__(self, faces: Sequence[NDArray[np.uint8]], /) -> list[Mask]:
        """One (S, S) mask for each (S, S, 3) BGR face, feathered, 0 at the border."""
        groups = [faces[start : start + self.n_batch] for start in range(0, len(faces), self.n_batch)]
        return [mask for group in groups for mask in self._masks_of(group)]

    def variants(self, dtypes: Sequence[str]) -> dict[str, ParseNetMasker]:
        """By name: itself first, then in each of `dtypes` (of HALVES) at full and at half size."""
        found = {}
        for name in dtypes:
            dtype = DTYPES[name]
            net = self.net if name == "fp32" else copy.deepcopy(self.net).to(dtype)
            for size in (PARSE_SIZE, PARSE_SIZE // 2):
                found[f"{name} at {size}"] = replace(self, net=net, dtype=dtype, size=size)
        return found

    @torch.inference_mode()
    def _masks_of(self, faces: Sequence[NDArray[np.uint8]]) -> list[Mask]:
        shown = [_resized(face, (self.size, self.size), cv2.INTER_LINEAR) for face in faces]
        batch = to_tensor(shown).to(self.device, self.dtype, memory_format=torch.channels_last)
        classes = self.net(batch).argmax(dim=1).cpu().numpy()
        return [self._feathered(each, face.shape[0]) for each, face in zip(classes, faces, strict=True)]

    def _feathered(self, classes: NDArray[np.int64], size: int) -> Mask:
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


def _resized(picture: NDArray[T], size: tuple[int, int], how: int = cv2.INTER_AREA) -> NDArray[T]:
    """At (width, height); the picture itself where it has that size."""
    if picture.shape[1::-1] == size:
        return picture
    return np.asarray(cv2.resize(picture, size, interpolation=how), picture.dtype)


class FaceParser(torch.nn.Module):
    """ParseNet without the picture that it makes besides."""

    def __init__(self, net: ParseNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, faces: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in [-1, 1] to (N, 19, H, W)."""
        classes: Tensor = self.net(faces)[0]
        return classes


def load_parser(state: Mapping[str, Tensor], *, source: str) -> FaceParser:
    """ParseNet (512 px, 19 classes) from a state in facexlib's layout. Raises CheckpointError, which names `source`."""
    net = ParseNet(in_size=PARSE_SIZE, out_size=PARSE_SIZE, parsing_ch=19)
    try:
        net.load_state_dict(dict(state))
    except RuntimeError as error:
        raise CheckpointError(f"{source}: not a ParseNet in facexlib's layout") from error
    fold_batch_norms(net.eval().requires_grad_(False), torch.zeros(1, 3, SAMPLE, SAMPLE))
    return FaceParser(net)


def load_masker(state: Mapping[str, Tensor], *, source: str, device: torch.device, n_batch: int = 1) -> ParseNetMasker:
    """A masker ready to run. Raises CheckpointError as `load_parser`."""
    net = load_parser(state, source=source)
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return ParseNetMasker(net, device, n_batch=n_batch)
