"""A folder of aligned faces as training samples: degraded, true, and where the eyes and the mouth are.

Source: upstream `ffhq_degradation_dataset.py`. Unlike there, components are looked up by file name, a flip makes new
boxes and leaves the stored ones alone, and each sample's draw depends on seed, epoch and index only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.align import to_8_bit
from gfpcli.errors import InputError
from gfpcli.images import read_frame
from gfpcli.inputs import find_images
from gfpcli.options import DegradeOptions
from gfpcli.train.degrade import degrade, draw

EYE_ENLARGED = 1.4  # upstream's eye boxes, over the eye itself
EYE_HALF = 0.21  # half an eye's width, of the distance between the eyes
MIN_HALF = 16.0  # px at 512
N_PARTS = 1000  # of the stable split
MIN_SIZE = 64  # px; smaller pictures teach nothing


@dataclass(frozen=True, slots=True)
class Components:
    """Eyes and mouth as (x, y, half length) in pixels of the face, image left first; eyes not yet enlarged."""

    left_eye: tuple[float, float, float]
    right_eye: tuple[float, float, float]
    mouth: tuple[float, float, float]

    def mirrored(self, width: int) -> Components:
        """Those of the face flipped left to right: new ones, with the eyes exchanged."""

        def flip(part: tuple[float, float, float]) -> tuple[float, float, float]:
            return width - 1 - part[0], part[1], part[2]

        return Components(flip(self.right_eye), flip(self.left_eye), flip(self.mouth))

    def scaled(self, factor: float) -> Components:
        """Those of the face resized by `factor`."""

        def resize(part: tuple[float, float, float]) -> tuple[float, float, float]:
            return (part[0] + 0.5) * factor - 0.5, (part[1] + 0.5) * factor - 0.5, part[2] * factor

        return Components(resize(self.left_eye), resize(self.right_eye), resize(self.mouth))

    def boxes(self) -> NDArray[np.float32]:
        """(3, 4) xyxy of left eye, right eye and mouth, as upstream bounds them: x - half + 1 to x + half."""
        rows = []
        for part, enlarged in ((self.left_eye, EYE_ENLARGED), (self.right_eye, EYE_ENLARGED), (self.mouth, 1.0)):
            x, y, half = part[0], part[1], part[2] * enlarged
            rows.append((x - half + 1, y - half + 1, x + half, y + half))
        return np.array(rows, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One training pair, (S, S, 3) BGR uint8 each, and its component boxes (3, 4), None where landmarks are missing."""

    name: str
    low: NDArray[np.uint8]
    true: NDArray[np.uint8]
    boxes: NDArray[np.float32] | None


def components_of(landmarks: NDArray[np.float64], size: int) -> Components:
    """From five landmarks (px, xy) of an aligned face of `size`."""
    left, right, _, mouth_left, mouth_right = np.asarray(landmarks, np.float64)
    floor = MIN_HALF * size / 512
    eye = max(floor, EYE_HALF * float(np.hypot(*(right - left))))
    mouth = (mouth_left + mouth_right) / 2
    half = max(floor, float(np.hypot(*(mouth_right - mouth_left))) / 2)
    return Components((*left.tolist(), eye), (*right.tolist(), eye), (*mouth.tolist(), half))  # type: ignore[arg-type]


def is_held_out(name: str, share: float) -> bool:
    """Whether a file belongs to the held-out share (0..1): by the SHA-256 of its name, whatever files are beside it."""
    digest = int.from_bytes(hashlib.sha256(Path(name).name.encode()).digest()[:8], "big")
    return digest % N_PARTS < round(share * N_PARTS)


@dataclass(frozen=True, slots=True)
class FaceFolder:
    """Aligned faces of a folder at one size.

    Attributes:
        paths: the files, sorted.
        size: S, px.
        options: what degradations are drawn from.
        seed: of all draws.
        landmarks: (5, 2) px for each file name, in the file's own pixels.
    """

    paths: tuple[Path, ...]
    size: int
    options: DegradeOptions
    seed: int
    landmarks: Mapping[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.paths)

    def sample(self, epoch: int, index: int) -> Sample:
        """The sample that `seed`, `epoch` and `index` draw.

        Raises:
            InputError: the file cannot be read, is not square, or is too small; names it.
        """
        path = self.paths[index]
        rng = np.random.default_rng((self.seed, epoch, index))
        image = to_8_bit(read_frame(path, index).image)
        height, width = image.shape[:2]
        if height != width or height < MIN_SIZE:
            raise InputError(f"{path}: {width}x{height}, an aligned face is square and at least {MIN_SIZE} px")
        components = None
        if path.name in self.landmarks:
            components = components_of(self.landmarks[path.name], height).scaled(self.size / height)
        if height != self.size:
            way = cv2.INTER_AREA if height > self.size else cv2.INTER_CUBIC
            image = np.asarray(cv2.resize(image, (self.size, self.size), interpolation=way), np.uint8)
        if rng.random() < 0.5:
            image = np.ascontiguousarray(image[:, ::-1])
            components = components and components.mirrored(self.size)
        low = degrade(image, draw(self.options, rng), kernel_size=self.options.kernel_size)
        return Sample(path.name, low, image, None if components is None else components.boxes())


def open_folder(
    folder: Path, size: int, options: DegradeOptions, seed: int, *, held_out: float
) -> tuple[FaceFolder, FaceFolder]:
    """The training and the held-out faces of a folder, without landmarks yet.

    Raises:
        InputError: no such folder, or it holds too few images for both parts.
    """
    paths = [path for path, _ in find_images([str(folder)], None)]
    parts = [tuple(p for p in paths if is_held_out(p.name, held_out) == which) for which in (False, True)]
    if not parts[0]:
        raise InputError(f"{folder}: no images left to train on ({len(paths)} found)")
    train = FaceFolder(parts[0], size, options, seed, {})
    return train, replace(train, paths=parts[1])
