"""What a large background network makes of damaged patches, kept in a file: a small one learns from it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mild import LOW, Picture, damage, draw_true
from numpy.typing import NDArray

from gfpcli.adapters.realesrgan import load_enlarging_net
from gfpcli.model.checkpoint import read_state
from gfpcli.pipeline.tensors import ArrayNet
from gfpcli.pipeline.upsample import NetUpsampler

LOG = logging.getLogger("teacher")


@dataclass(frozen=True, slots=True)
class Lessons:
    """Patches, BGR."""

    low: NDArray[np.uint8]  # (N, LOW, LOW, 3), damaged
    true: NDArray[np.uint8]  # (N, 2 * LOW, 2 * LOW, 3)
    taught: NDArray[np.uint8]  # the same size: what the teacher makes of the damaged ones

    @classmethod
    def read(cls, path: Path) -> Lessons:
        with np.load(path) as content:
            return cls(content["low"], content["true"], content["taught"])

    def draw(self, rng: np.random.Generator) -> tuple[Picture, Picture, Picture]:
        """One of them: damaged, true, taught."""
        i = int(rng.integers(len(self.low)))
        return self.low[i], self.true[i], self.taught[i]


def load_upsampler(path: Path, dtype: torch.dtype = torch.float32) -> NetUpsampler:
    """As `gfp restore -b FILE` runs it: what is larger than wanted is reduced by area means."""
    enlarging = load_enlarging_net(read_state(path), source=str(path))
    net = enlarging.net.to(dtype=dtype, memory_format=torch.channels_last)
    return NetUpsampler(ArrayNet(net, torch.device("cpu"), dtype), enlarging.tiling)


def make_lessons(photos: list[Picture], teacher: NetUpsampler, n: int, path: Path, rng: np.random.Generator) -> None:
    """Writes `n` lessons to `path`, whole or not at all; every hundred it tells."""
    low, taught = np.empty((n, LOW, LOW, 3), np.uint8), np.empty((n, 2 * LOW, 2 * LOW, 3), np.uint8)
    true = np.empty_like(taught)
    for i in range(n):
        true[i] = draw_true(photos, rng)
        low[i] = damage(true[i], rng)
        taught[i] = teacher(low[i], (2 * LOW, 2 * LOW))
        if (i + 1) % 100 == 0:
            LOG.info("%d of %d lessons", i + 1, n)
    part = path.with_suffix(".part.npz")
    np.savez(part, low=low, true=true, taught=taught)
    part.replace(path)
