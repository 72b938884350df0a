"""Training samples: degraded, true, and where the eyes and the mouth are.

Source: upstream `ffhq_degradation_dataset.py`. Unlike there, components are looked up by file name, a flip makes new
boxes and leaves the stored ones alone, and each sample's draw depends on seed, epoch and index only.
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
from gfpcli.train.degrade import degrade, draw
from gfpcli.train.faces import TrainingFace
from gfpcli.train.options import TrainOptions
from gfpcli.train.sources import Source

EYE_ENLARGED = 1.4  # upstream's eye boxes, over the eye itself
EYE_HALF = 0.21  # half an eye's width, of the distance between the eyes
MIN_HALF = 16.0  # px at 512
N_PARTS = 1000  # of the stable split
UNDEGRADED, SHAKEN, RELIT = 1, 2, 3  # separate streams of draws: an option that is off changes no other draw
Part = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Components:
    """Eyes and mouth as (x, y, half length) in pixels of the face, image left first; eyes not yet enlarged."""

    left_eye: Part
    right_eye: Part
    mouth: Part

    def mirrored(self, width: int) -> Components:
        """Those of the face flipped left to right: new ones, with the eyes exchanged."""

        def flip(part: Part) -> Part:
            return width - 1 - part[0], part[1], part[2]

        return Components(flip(self.right_eye), flip(self.left_eye), flip(self.mouth))

    def moved(self, affine: NDArray[np.float64]) -> Components:
        """Those of the face warped by a (2, 3) similarity."""
        zoom = float(np.hypot(affine[0, 0], affine[1, 0]))

        def move(part: Part) -> Part:
            x, y = affine[:, :2] @ part[:2] + affine[:, 2]
            return float(x), float(y), part[2] * zoom

        return Components(move(self.left_eye), move(self.right_eye), move(self.mouth))

    def scaled(self, factor: float) -> Components:
        """Those of the face resized by `factor`."""
        return self.moved(np.array([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2]]))

    def boxes(self) -> NDArray[np.float32]:
        """(3, 4) xyxy of left eye, right eye and mouth, as upstream bounds them: x - half + 1 to x + half."""
        rows = []
        for part, enlarged in ((self.left_eye, EYE_ENLARGED), (self.right_eye, EYE_ENLARGED), (self.mouth, 1.0)):
            x, y, half = part[0], part[1], part[2] * enlarged
            rows.append((x - half + 1, y - half + 1, x + half, y + half))
        return np.array(rows, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One training pair, (S, S, 3) BGR uint8 each, and its component boxes (3, 4)."""

    name: str
    low: NDArray[np.uint8]
    true: NDArray[np.uint8]
    boxes: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """(N, 3, S, S) RGB in [-1, 1]: degraded and true; component boxes (N, 3, 4), px."""

    low: torch.Tensor
    true: torch.Tensor
    boxes: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        parts = (self.low, self.true, self.boxes)
        return Batch(*(part.to(device, non_blocking=True) for part in parts))


def components_of(landmarks: NDArray[np.float64], size: int) -> Components:
    """From five landmarks (px, xy) of an aligned face of `size`."""
    left, right, _, mouth_left, mouth_right = np.asarray(landmarks, np.float64)
    floor = MIN_HALF * size / 512
    eye = max(floor, EYE_HALF * float(np.hypot(*(right - left))))
    mouth = (mouth_left + mouth_right) / 2
    half = max(floor, float(np.hypot(*(mouth_right - mouth_left))) / 2)
    return Components((*left.tolist(), eye), (*right.tolist(), eye), (*mouth.tolist(), half))  # type: ignore[arg-type]


def read_components(path: Path) -> dict[str, Components]:
    """The official component file (px at 512), by the stem of the file name: FFHQ's names are its numbers, 00000000.

    Raises:
        CheckpointError: it cannot be read, or holds something else.
    """
    try:
        with os_errors_as(CheckpointError, path):
            rows = torch.load(path, map_location="cpu", weights_only=True)
        named = rows.items() if isinstance(rows, Mapping) else ((f"{i:08d}", row) for i, row in enumerate(rows))
        return {
            str(name): Components(*(tuple(float(v) for v in row[part]) for part in ("left_eye", "right_eye", "mouth")))  # type: ignore[arg-type]
            for name, row in named
        }
    except CheckpointError:
        raise
    except Exception as error:  # damaged or foreign files make the reader raise nearly anything
        raise CheckpointError(f"{path}: not a file of component boxes") from error


def is_held_out(name: str, share: float) -> bool:
    """Whether a file belongs to the held-out share (0..1): by the SHA-256 of its name, whatever files are beside it."""
    digest = int.from_bytes(hashlib.sha256(Path(name).name.encode()).digest()[:8], "big")
    return digest % N_PARTS < round(share * N_PARTS)


@dataclass(frozen=True, slots=True)
class FaceSamples(torch.utils.data.Dataset["Sample | InputError"]):
    """Endless samples, by number: each epoch is a new order of the faces, each draw a new degradation.

    Attributes:
        data, cut: where faces are read from: the data, and the run's cut faces (None where there are none).
        faces: what `look_at_all` found.
        components: boxes that replace our own, by the stem of the file name, px at 512.
        salt: changes every draw; counted up by the loop when it rolls back, so that it does not meet the same batch.
    """

    data: Source
    cut: Source | None
    faces: tuple[TrainingFace, ...]
    options: TrainOptions
    components: Mapping[str, Components] | None = None
    salt: int = 0

    def epoch_order(self, epoch: int) -> NDArray[np.int64]:
        """The faces of an epoch, shuffled; of one person at most `per_identity`, others each time."""
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
        """The sample that `seed`, `salt`, `epoch` and the face's `index` draw.

        Raises:
            InputError: the file cannot be read any more; names it.
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
            affine = shake_of(size, self.options.shake * size / 512, np.random.default_rng((*key, SHAKEN)))
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
        if np.random.default_rng((*key, UNDEGRADED)).random() >= self.options.clean_share:
            low = degrade(image, draw(self.options.degrade, rng), kernel_size=self.options.degrade.kernel_size)
        return Sample(face.name, low, image, components.boxes())

    def _components_of(self, face: TrainingFace, size: int) -> Components:
        """In pixels of the training size: those given for the file's name, else from our landmarks."""
        given = (self.components or {}).get(Path(face.name).stem)
        if given is not None:
            return given.scaled(self.options.size / 512)
        return components_of(np.array(face.landmarks), size).scaled(self.options.size / size)

    def __getitem__(self, key: tuple[int, int]) -> Sample | InputError:
        """The sample of (epoch, index). An error is given, not raised: it must reach the loop from another process."""
        try:
            return self.sample(*key)
        except InputError as error:
            return error


@dataclass(frozen=True, slots=True)
class Schedule:
    """Which samples make which batch: a pure function of the batch's number, so a run can go on anywhere.

    Iterates over lists of (epoch, index), batch after batch from `first` to before `last`, those of process `rank`.
    Together the processes see what one process with `n_ranks` times the batch would see.
    """

    samples: FaceSamples
    batch_size: int
    first: int
    last: int
    rank: int = 0
    n_ranks: int = 1

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = 0, self.samples.epoch_order(0)
        n_epoch = len(order)
        for batch in range(self.first, self.last):
            keys = []
            for place in range(self.batch_size):
                number = (batch * self.n_ranks + self.rank) * self.batch_size + place
                if number // n_epoch != epoch:
                    epoch = number // n_epoch
                    order = self.samples.epoch_order(epoch)
                keys.append((epoch, int(order[number % n_epoch])))
            yield keys


def shake_of(size: int, reach: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A small random similarity (2, 3) about the middle: as far as `reach` px, one sigma."""
    middle = (size - 1) / 2
    turn, zoom = rng.normal(0, np.degrees(reach / size) * 2), np.exp(rng.normal(0, 2 * reach / size))
    affine = np.asarray(cv2.getRotationMatrix2D((middle, middle), float(turn), float(zoom)), np.float64)
    affine[:, 2] += rng.normal(0, reach, 2)
    return affine


def relight(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A true face as other photos would show it: darker or lighter, with a colour cast, one in four gray."""
    seen = image.astype(np.float32)
    if rng.random() < 0.25:
        seen = np.repeat(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.float32)[..., None], 3, axis=2)
    else:
        seen *= rng.uniform(0.92, 1.08, 3).astype(np.float32)
    seen = seen * rng.uniform(0.55, 1.15) + rng.uniform(-15, 15)
    return np.asarray(np.clip(np.round(seen), 0, 255), np.uint8)


def collate(drawn: list[Sample | InputError]) -> Batch | InputError:
    """Samples to one batch; the first error where there is one."""
    samples = [each for each in drawn if isinstance(each, Sample)]
    for each in drawn:
        if isinstance(each, InputError):
            return each
    return Batch(
        to_tensor([sample.low for sample in samples]),
        to_tensor([sample.true for sample in samples]),
        torch.from_numpy(np.stack([sample.boxes for sample in samples])),
    )


def split_faces(
    faces: tuple[TrainingFace, ...], share: float
) -> tuple[tuple[TrainingFace, ...], tuple[TrainingFace, ...]]:
    """The faces to train on and the held-out ones. Raises InputError where none are left to train on."""
    held = tuple(face for face in faces if is_held_out(face.name, share))
    train = tuple(face for face in faces if not is_held_out(face.name, share))
    if not train:
        raise InputError(f"no faces left to train on ({len(held)} held out)")
    return train, held
