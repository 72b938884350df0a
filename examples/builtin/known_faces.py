"""What the identity network learns from: aligned faces, new faces made of them, and the teacher's vector of each.

The teacher is dlib's face-recognition network (CC0), for this script only: pip install face-recognition-models dlib-bin
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from wild import HELD_OUT, tenth_of

from gfpcli.options import RestoreOptions
from gfpcli.pipeline.align import cut_crop
from gfpcli.pipeline.arrays import from_batch, to_batch
from gfpcli.train.degrade import degrade, draw_degradation
from gfpcli.train.options import DegradeOptions
from gfpcli.types import Face
from gfpcli.weights.build import load_detector_for
from gfpcli.weights.cache import BUILTINS
from gfpcli.weights.face_model import load_face_model

Picture = NDArray[np.uint8]
T = TypeVar("T")
SIZE = 256  # px of an aligned face
LEAST = 50.0  # px of a wild face's shorter side
CHIP = 150  # px that the teacher sees
BOX = (46, 81, 201, 236)  # where dlib's own detector sees an aligned face of 256 px (median)
N_HELD_IDS = 10  # of the 50 people of `omival`: what limits are chosen by
SCALED = DegradeOptions(kernel_size=21, sigma=(0.1, 5.0), shrink=(0.8, 6.0))
BATCH = 32


@dataclass(frozen=True, slots=True)
class KnownFace:
    """An aligned face (SIZE, SIZE, 3) BGR, and whose it is as far as is known."""

    image: Picture
    person: str
    is_held_out: bool = False  # not trained on: limits are chosen by these


def faces_of(data: Path) -> list[KnownFace]:
    """The training faces, without the 60 that `evaluate_identity.py` judges by."""
    return [*synthetic_faces(data / "faces" / "train256"), *wild_faces(data / "wild")]


def synthetic_faces(folder: Path) -> Iterator[KnownFace]:
    paths = sorted(folder.glob("*.jpg"))
    ids = sorted({path.stem.split("_")[1] for path in paths if path.stem.startswith("omival_")})
    for path in paths:
        kind, number = path.stem.split("_")[:2]
        yield KnownFace(read(path), f"{kind}_{number}", kind == "omival" and number in ids[-N_HELD_IDS:])


def wild_faces(folder: Path) -> Iterator[KnownFace]:
    """The faces of the wild pictures as gfp would cut them out; those of the held-out tenth are held out here too."""
    detector = load_detector_for(RestoreOptions(det_size=640), BUILTINS["builtin"])
    for name in json.loads((folder / "labels.json").read_text())["images"]:
        if not name.startswith("faces/"):
            continue
        image = read(folder / name)
        for i, face in enumerate(detector([image])[0]):
            if is_large(face):
                crop = cut_crop(image, face, SIZE).image
                yield KnownFace(crop, f"{Path(name).stem}_{i}", tenth_of(name) == HELD_OUT)


def is_large(face: Face) -> bool:
    return min(face.box[2:] - face.box[:2]) >= LEAST


def groups_of(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def read(path: Path) -> Picture:
    image = cv2.imread(str(path))
    if image is None:
        raise SystemExit(f"{path}: cannot be read")
    return np.asarray(image, np.uint8)


def new_faces(faces: Sequence[KnownFace], n_each: int, rng: np.random.Generator) -> Iterator[KnownFace]:
    """People that nobody is: halves mirrored, two faces mixed, faces bent; the teacher says who they are."""
    for i, face in enumerate(faces):
        if face.person.startswith("omival_") and rng.random() < 0.8:  # twenty pictures of one person
            continue
        for kind in range(n_each):
            other = faces[rng.integers(len(faces))]
            image = (mirrored, mixed, bent)[kind % 3](face.image, other.image, rng)
            yield KnownFace(bent(image, image, rng) if kind % 3 != 2 else image, f"new_{i}_{kind}")


def mirrored(face: Picture, other: Picture, rng: np.random.Generator) -> Picture:
    half = face[:, : SIZE // 2] if rng.random() < 0.5 else face[:, : SIZE // 2 - 1 : -1]
    return np.concatenate([half, half[:, ::-1]], axis=1)


def mixed(face: Picture, other: Picture, rng: np.random.Generator) -> Picture:
    share = rng.uniform(0.25, 0.75)
    return np.asarray(cv2.addWeighted(face, share, other, 1 - share, 0), np.uint8)


def bent(face: Picture, other: Picture, rng: np.random.Generator) -> Picture:
    """Other proportions: a smooth random displacement of a few pixels."""
    coarse = rng.normal(0, 5.0, (5, 5, 2)).astype(np.float32)
    moved = cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    at = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), axis=2).astype(np.float32)
    where = at + moved
    return np.asarray(cv2.remap(face, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


@cache
def teacher() -> tuple[Any, Any]:
    """dlib's landmarks and its face-recognition network."""
    import dlib

    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install face-recognition-models dlib-bin")
    models = Path(spec.origin).parent / "models"
    landmarks = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
    return landmarks, dlib.face_recognition_model_v1(str(models / "dlib_face_recognition_resnet_model_v1.dat"))


def teacher_vectors(faces: Sequence[Picture]) -> NDArray[np.float32]:
    """(N, 128) of aligned (SIZE, SIZE, 3) BGR faces, about 1.5 long."""
    import dlib

    landmarks, network = teacher()
    chips = []
    for face in faces:
        rgb = np.ascontiguousarray(face[..., ::-1])
        chips.append(dlib.get_face_chip(rgb, landmarks(rgb, dlib.rectangle(*BOX)), size=CHIP, padding=0.25))
    return np.array(network.compute_face_descriptor(chips), np.float32)


def all_teacher_vectors(faces: Sequence[Picture], n_processes: int) -> NDArray[np.float32]:
    with ProcessPoolExecutor(n_processes) as pool:
        return np.concatenate([*pool.map(teacher_vectors, groups_of(faces, BATCH))])


def restored_faces(faces: Sequence[KnownFace], rng: np.random.Generator) -> Iterator[Picture]:
    """Each face degraded by the recipe of training, and restored by the built-in restorer."""
    net = load_face_model(BUILTINS["compact"], torch.device("cpu"), "fp32", is_compiled=False)
    for group in groups_of(faces, 8):
        lows = [degrade(face.image, draw_degradation(SCALED, rng), kernel_size=SCALED.kernel_size) for face in group]
        with torch.inference_mode():
            yield from from_batch(net(to_batch(lows)))
