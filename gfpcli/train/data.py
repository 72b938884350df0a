"""Training samples: a degraded face, the true face, and the boxes of eyes and mouth.

Source: upstream `ffhq_degradation_dataset.py`. Unlike there, components are found by file name, a flip does not change
the stored boxes, and the draws of a sample depend on seed, epoch and index only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from gfpcli.errors import CheckpointError, InputError
from gfpcli.files.atomic import os_errors_as
from gfpcli.pipeline.tensors import to_tensor
from gfpcli.train.degrade import degrade, draw_degradation, target_of
from gfpcli.train.faces import TrainingFace
from gfpcli.train.options import COMPONENTS, TrainOptions
from gfpcli.train.sources import PictureSource

EYE_ENLARGED = 1.4  # of the eye: edge of its box (upstream)
EYE_HALF = 0.21  # of the distance between the eyes: half the width of an eye
MIN_HALF = 16.0  # px at 512
N_HASH_BINS = 1000  # of the split into training and held-out faces
# seeds of separate generators: an option that is off changes no other draw
UNDEGRADED, SHAKEN, RELIT, IN_TRAINING = 1, 2, 3, 4
Component = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Components:
    """Eyes and mouth as (x, y, half length), px of the face; left and right of the image; eyes not enlarged."""

    left_eye: Component
    right_eye: Component
    mouth: Component

    def mirrored(self, width: int) -> Components:
        """The components of the face flipped left to right: the eyes change places."""

        def flip(part: Component) -> Component:
            return width - 1 - part[0], part[1], part[2]

        return Components(flip(self.right_eye), flip(self.left_eye), flip(self.mouth))

    def moved(self, affine: NDArray[np.float64]) -> Components:
        """The components of the face warped by a (2, 3) similarity."""
        zoom = float(np.hypot(affine[0, 0], affine[1, 0]))

        def move(part: Component) -> Component:
            x, y = affine[:, :2] @ part[:2] + affine[:, 2]
            return float(x), float(y), part[2] * zoom

        return Components(move(self.left_eye), move(self.right_eye), move(self.mouth))

    def scaled(self, factor: float) -> Components:
        """The components of the face resized by `factor`."""
        return self.moved(np.array([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2]]))

    def boxes(self) -> NDArray[np.float32]:
        """Boxes (3, 4), xyxy, px, of left eye, right eye and mouth; as upstream from x - half + 1 to x + half."""
        rows = []
        for part, enlarged in ((self.left_eye, EYE_ENLARGED), (self.right_eye, EYE_ENLARGED), (self.mouth, 1.0)):
            x, y, half = part[0], part[1], part[2] * enlarged
            rows.append((x - half + 1, y - half + 1, x + half, y + half))
        return np.array(rows, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One training pair, (S, S, 3) BGR, 0..255 each, and its component boxes (3, 4), xyxy, px.

    `seed` is that of draws that training makes: as those of the sample they depend on seed, salt, epoch and index only.
    """

    name: str
    low: NDArray[np.uint8]
    true: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Degraded and true faces (N, 3, S, S), RGB in [-1, 1]; component boxes (N, 3, 4), xyxy, px; the first's seed."""

    low: torch.Tensor
    true: torch.Tensor
    boxes: torch.Tensor
    seed: int

    def to(self, device: torch.device) -> Batch:
        low, true, boxes = (part.to(device, non_blocking=True) for part in (self.low, self.true, self.boxes))
        return Batch(low, true, boxes, self.seed)


def components_of(landmarks: NDArray[np.float64], size: int) -> Components:
    """The components by the five landmarks (5, 2), px, of an aligned face of `size` px."""
    left, right, _, mouth_left, mouth_right = np.asarray(landmarks, np.float64)
    floor = MIN_HALF * size / 512
    eye = max(floor, EYE_HALF * float(np.hypot(*(right - left))))
    mouth = (mouth_left + mouth_right) / 2
    half = max(floor, float(np.hypot(*(mouth_right - mouth_left))) / 2)
    return Components((*left.tolist(), eye), (*right.tolist(), eye), (*mouth.tolist(), half))  # type: ignore[arg-type]


def read_components(path: Path) -> dict[str, Components]:
    """Reads the official component file: components in px at 512 by the stem of the file name (FFHQ: 00000000).

    Raises:
        CheckpointError: it cannot be read, or holds something else.
    """
    try:
        with os_errors_as(CheckpointError, path):
            rows = torch.load(path, map_location="cpu", weights_only=True)
        named = rows.items() if isinstance(rows, Mapping) else ((f"{i:08d}", row) for i, row in enumerate(rows))
        return {
            str(name): Components(*(tuple(float(value) for value in row[part]) for part in COMPONENTS))  # type: ignore[arg-type]
            for name, row in named
        }
    except CheckpointError:
        raise
    except Exception as error:  # damaged or foreign files make the reader raise nearly anything
        raise CheckpointError(f"{path}: not a file of component boxes") from error


def is_held_out(name: str, share: float) -> bool:
    """Whether a file is held out, by the SHA-256 of its name: the other files do not matter. `share` is 0..1."""
    digest = int.from_bytes(hashlib.sha256(Path(name).name.encode()).digest()[:8], "big")
    return digest % N_HASH_BINS < round(share * N_HASH_BINS)


@dataclass(frozen=True, slots=True)
class FaceDataset(torch.utils.data.Dataset["Sample | InputError"]):
    """Samples by (epoch, index), without end: each epoch has an order and degradations of its own.

    Attributes:
        data, cut: sources of the pictures and of the crops; `cut` is None where there are no crops.
        faces: the faces that `find_all_faces` found.
        components: replace those by the landmarks; by the stem of the file name, px at 512.
        salt: changes every draw; counted up at each roll-back, so that the same batch does not come again.
    """

    data: PictureSource
    cut: PictureSource | None
    faces: tuple[TrainingFace, ...]
    options: TrainOptions
    components: Mapping[str, Components] | None = None
    salt: int = 0

    def epoch_order(self, epoch: int) -> NDArray[np.int64]:
        """Indices of an epoch's faces, shuffled; of one person at most `per_identity`, newly drawn in each epoch."""
        rng = np.random.default_rng((self.options.seed, self.salt, epoch))
        order = rng.permutation(len(self.faces))
        if not self.options.identity_pattern:
            return order
        seen: dict[str, int] = {}
        kept = []
        for index in order:
            match = re.search(self.options.identity_pattern, self.faces[index].name)
            person = match.group(1 if match.re.groups else 0) if match else f"/{index}"
            seen[person] = seen.get(person, 0) + 1
            if seen[person] <= self.options.per_identity:
                kept.append(index)
        return np.array(kept)

    def sample(self, epoch: int, index: int) -> Sample:
        """The sample of a face; its draws depend on `seed`, `salt`, `epoch` and `index` only.

        Raises:
            InputError: the file cannot be read any more; the message names it.
        """
        face, size = self.faces[index], self.options.size
        key = (self.options.seed, self.salt, epoch, index)
        rng = np.random.default_rng(key)
        source = self.cut if face.is_cut else self.data
        if source is None:
            raise InputError(f"{face.name}: the faces that were cut out are gone")
        image = source.read(face.name)
        height, width = image.shape[:2]
        if height != width:
            raise InputError(f"{face.name}: {width}x{height}, an aligned face is square")
        components = self._components_of(face, height)
        if height != size:
            way = cv2.INTER_AREA if height > size else cv2.INTER_CUBIC
            image = np.asarray(cv2.resize(image, (size, size), interpolation=way), np.uint8)
        if self.options.shake:
            affine = random_similarity(size, self.options.shake * size / 512, np.random.default_rng((*key, SHAKEN)))
            image = np.asarray(
                cv2.warpAffine(image, affine, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101),
                np.uint8,
            )
            components = components.moved(affine)
        if rng.random() < 0.5:
            image = np.ascontiguousarray(image[:, ::-1])
            components = components.mirrored(size)
        relit = np.random.default_rng((*key, RELIT))
        if relit.random() < self.options.relight:
            image = relight(image, relit)
        low = image
        is_clean = np.random.default_rng((*key, UNDEGRADED)).random() < self.options.clean_share
        if self.options.stage != "prior" and not is_clean:
            drawn = draw_degradation(self.options.degrade, rng)
            low = degrade(image, drawn, kernel_size=self.options.degrade.kernel_size)
            image = target_of(image, drawn)
        seed = int(np.random.default_rng((*key, IN_TRAINING)).integers(2**62))
        return Sample(face.name, low, image, components.boxes(), seed)

    def _components_of(self, face: TrainingFace, size: int) -> Components:
        """Components in px of the training size: those given for the file's name, else by the landmarks."""
        given = (self.components or {}).get(Path(face.name).stem)
        if given is not None:
            return given.scaled(self.options.size / 512)
        return components_of(np.array(face.landmarks), size).scaled(self.options.size / size)

    def __getitem__(self, key: tuple[int, int]) -> Sample | InputError:
        """The sample of (epoch, index). An error is returned, not raised: it may have to leave a data process."""
        try:
            return self.sample(*key)
        except InputError as error:
            return error


@dataclass(frozen=True, slots=True)
class BatchSampler:
    """The samples of each batch: a pure function of the batch's number, so that a run can go on anywhere.

    Iterates over the batches from `first` to before `last` as lists of (epoch, index), those of the process `rank`.
    Together the processes see what one process with a batch `world_size` times as large would see.
    """

    samples: FaceDataset
    batch_size: int
    first: int
    last: int
    rank: int = 0
    world_size: int = 1

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = 0, self.samples.epoch_order(0)
        n_epoch = len(order)
        for batch in range(self.first, self.last):
            keys = []
            for offset in range(self.batch_size):
                number = (batch * self.world_size + self.rank) * self.batch_size + offset
                if number // n_epoch != epoch:
                    epoch = number // n_epoch
                    order = self.samples.epoch_order(epoch)
                keys.append((epoch, int(order[number % n_epoch])))
            yield keys


def random_similarity(size: int, reach: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A random similarity (2, 3) about the middle; the standard deviation of the shift is `reach` px."""
    middle = (size - 1) / 2
    turn, zoom = rng.normal(0, np.degrees(reach / size) * 2), np.exp(rng.normal(0, 2 * reach / size))
    affine = np.asarray(cv2.getRotationMatrix2D((middle, middle), float(turn), float(zoom)), np.float64)
    affine[:, 2] += rng.normal(0, reach, 2)
    return affine


def relight(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The (H, W, 3) BGR face in other light: darker or lighter, with a colour cast; one in four is gray."""
    lit = image.astype(np.float32)
    if rng.random() < 0.25:
        lit = np.repeat(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.float32)[..., None], 3, axis=2)
    else:
        lit *= rng.uniform(0.92, 1.08, 3).astype(np.float32)
    lit = lit * rng.uniform(0.55, 1.15) + rng.uniform(-15, 15)
    return np.asarray(np.clip(np.round(lit), 0, 255), np.uint8)


def collate(drawn: list[Sample | InputError]) -> Batch | InputError:
    """Makes one batch of samples; returns the first error where there is one."""
    samples = [each for each in drawn if isinstance(each, Sample)]
    for each in drawn:
        if isinstance(each, InputError):
            return each
    return Batch(
        to_tensor([sample.low for sample in samples]),
        to_tensor([sample.true for sample in samples]),
        torch.from_numpy(np.stack([sample.boxes for sample in samples])),
        samples[0].seed,
    )


def split_faces(
    faces: tuple[TrainingFace, ...], share: float
) -> tuple[tuple[TrainingFace, ...], tuple[TrainingFace, ...]]:
    """The faces to train on, and the held-out ones. Raises InputError where none are left to train on."""
    held = tuple(face for face in faces if is_held_out(face.name, share))
    train = tuple(face for face in faces if not is_held_out(face.name, share))
    if not train:
        raise InputError(f"no faces left to train on ({len(held)} held out)")
    return train, held
