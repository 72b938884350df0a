"""Faces in memory, and runs small enough for a second."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gfpcli.errors import InputError
from gfpcli.model.efficientnet_lite import EfficientNetLite0
from gfpcli.pipeline.align import TEMPLATE_512
from gfpcli.train.data import FaceDataset
from gfpcli.train.distributed import World
from gfpcli.train.faces import TrainingFace
from gfpcli.train.loop import TrainCallbacks, TrainingRun
from gfpcli.train.nets import make_nets
from gfpcli.train.objective import Objective
from gfpcli.train.options import TRAIN_PRESETS, LossOptions, TrainOptions

PHOTOS = Path(__file__).resolve().parents[2] / "examples" / "photos"
MakeRun = Callable[..., TrainingRun]


@dataclass(frozen=True)
class FakeSource:
    """Pictures in memory; a name that is not there cannot be read."""

    pictures: dict[str, NDArray[np.uint8]]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self.pictures))

    def read(self, name: str) -> NDArray[np.uint8]:
        if name not in self.pictures:
            raise InputError(f"{name}: gone")
        return self.pictures[name]

    def stamp(self, name: str) -> tuple[int, ...]:
        return (zlib.crc32(self.pictures[name].tobytes()),)


def options_of(**changes: Any) -> TrainOptions:
    """The tiny preset at 32 px; loss weights that are not given are 0, except l1."""
    loss = LossOptions(**{"pyramid": 0.0, "perceptual": 0.0, "style": 0.0, "gan": 0.0, "component_gan": 0.0,
                          "component_style": 0.0, "identity": 0.0, "l1": 1.0, **changes.pop("loss", {})})  # fmt: skip
    small = {"size": 32, "batch_size": 2, "n_valid": 2, "held_out": 0.0, "validate_every": 1000, "save_every": 1000}
    return replace(TRAIN_PRESETS["tiny"], **{**small, "loss": loss, **changes})


def samples_of(options: TrainOptions, n_faces: int = 4) -> FaceDataset:
    """Smooth pictures of 64 px with the template's landmarks."""
    rng = np.random.default_rng(5)
    pictures = {
        f"{i}.png": np.asarray(
            cv2.resize(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC),
            np.uint8,
        )
        for i in range(n_faces)
    }
    faces = tuple(TrainingFace(name, False, (TEMPLATE_512 / 8).tolist()) for name in sorted(pictures))
    return FaceDataset(FakeSource(pictures), None, faces, options)


def lite_of(options: TrainOptions) -> EfficientNetLite0 | None:
    """With random weights, in the layout of the package, where a term needs it."""
    if not (options.loss.lite or options.loss.projected_gan):
        return None
    torch.manual_seed(7)
    return EfficientNetLite0().eval().requires_grad_(False)


@pytest.fixture(scope="session")
def one_photo() -> NDArray[np.uint8]:
    """A portrait in the middle of a photo, (512, 512, 3) BGR: detail as in real faces."""
    photo = cv2.imread(str(PHOTOS / "astronaut_small.jpg"))
    height, width = photo.shape[:2]
    side = min(height, width)
    square = photo[:side, (width - side) // 2 :][:, :side]
    return np.asarray(cv2.resize(square, (512, 512), interpolation=cv2.INTER_AREA), np.uint8)


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Makes a run in `tmp_path/run`; `notes` collects its lines."""

    def make(notes: list[str] | None = None, folder: str = "run", n_faces: int = 4, **changes: Any) -> TrainingRun:
        options = options_of(**changes)
        nets = make_nets(options, None, None)
        callbacks = TrainCallbacks(lambda *_: None, lambda *_: None, (notes if notes is not None else []).append)
        samples = samples_of(options, n_faces)
        held = replace(samples, faces=())
        objective = Objective(options, nets, lite=lite_of(options))
        device = torch.device("cpu")
        return TrainingRun(options, tmp_path / folder, samples, held, nets, objective, device, World(), callbacks)

    return make
