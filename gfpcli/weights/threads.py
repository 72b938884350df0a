"""How the cores of a CPU are shared where frames are in work at the same time: each call of a network takes one.

A small network gains little from several threads for one face, and other stages wait for their turn meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ParamSpec, TypeVar

import torch
from torch import nn

from gfpcli.pipeline.paste import resize_background
from gfpcli.pipeline.restorer import Restorer
from gfpcli.types import FaceModel, PictureBatch
from gfpcli.weights import autotune
from gfpcli.weights.face_model import FaceNet

MOST_AT_ONCE = 8  # batches in work: twice as many frames wait before and behind
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class OneThreadModel:
    """A `FaceModel` whose calls each take one thread."""

    model: FaceModel
    n_threads: int  # that torch takes otherwise

    @property
    def size(self) -> int:
        """px of its faces."""
        return self.model.size

    def __call__(self, faces: PictureBatch, /) -> PictureBatch:
        """As the model."""
        with _one_thread(self.n_threads):
            return self.model(faces)


def is_light(restorer: Restorer) -> bool:
    """Whether several frames fit into memory at once: a small face network that torch runs, and no background one."""
    net = restorer.model.net if isinstance(restorer.model, FaceNet) else None
    return isinstance(net, nn.Module) and autotune.is_small(net) and restorer.upsampler is resize_background


def frames_side_by_side(restorer: Restorer) -> Restorer:
    """The same restorer, made for a stream of frames on the CPU: as many batches of faces at once as torch has threads.

    Its outputs do not depend on the number of cores.
    """
    n_threads = torch.get_num_threads()
    follower, identifier = restorer.follower, restorer.guard.identifier
    guard = replace(restorer.guard, identifier=identifier and on_one_thread(identifier, n_threads))
    return replace(
        restorer, model=OneThreadModel(restorer.model, n_threads), n_at_once=min(n_threads, MOST_AT_ONCE), guard=guard,
        detector=on_one_thread(restorer.detector, n_threads), follower=follower and on_one_thread(follower, n_threads),
    )  # fmt: skip


def on_one_thread(work: Callable[P, R], n_threads: int) -> Callable[P, R]:
    """The same function, whose calls take one thread.

    Args:
        n_threads: that torch takes otherwise.
    """

    def run(*args: P.args, **named: P.kwargs) -> R:
        with _one_thread(n_threads):
            return work(*args, **named)

    return run


@contextmanager
def _one_thread(n_threads: int) -> Iterator[None]:
    """torch's own setting is of the calling thread, and of threads that begin later: hence it is set back."""
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
