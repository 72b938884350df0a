"""What flows between the four steps of the restorer, and the ports that listen or take part along the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gfpcli.errors import FaceError
from gfpcli.types import Crop, Face, FaceOutcome, Failed, Frame, Image, Mask, Restored

NetworkFace: TypeAlias = NDArray[np.uint8] | FaceError
"""(S, S, 3) BGR from the face network, or why there is none."""


@dataclass(frozen=True, slots=True)
class Share:
    """How much of the network's face is asked for, whatever is measured."""

    strength: float | None = None  # 0..1, in place of `--strength`; None leaves it to that
    fade: float = 1.0  # 0..1, by which the strength is multiplied, whatever chose it


@dataclass(frozen=True, slots=True)
class Verdict:
    """How much of the network's face is pasted, and whether it is still the same person."""

    strength: float  # 0..1
    identity: float | None = None  # 0..1, as `FaceRecord.identity`; None where it was not measured
    is_kept: bool = False  # the input's face stays: at no strength was it the same person


@dataclass(frozen=True, slots=True, eq=False)
class Detected:
    """A frame with its faces, in pixels of the frame."""

    frame: Frame
    faces: tuple[Face, ...]
    seconds: float = 0.0  # spent on the frame so far
    shares: tuple[Share, ...] = ()  # one for each face; none where nothing is asked of any


@dataclass(frozen=True, slots=True, eq=False)
class AlignedFaces:
    """A frame with its faces cut out, on the way to the face network."""

    frame: Frame
    faces: tuple[Face, ...]
    outcomes: tuple[FaceOutcome, ...]  # one for each face; `restored` for those that were cut out
    crops: tuple[Crop, ...]  # the faces that were cut out, in the order of `faces`
    seconds: float = 0.0  # spent on the frame so far
    shares: tuple[Share, ...] = ()  # one for each crop; none where nothing is asked of any

    def share_of(self, i: int) -> Share:
        """What is asked of the i-th crop."""
        return self.shares[i] if self.shares else Share()


@dataclass(frozen=True, slots=True, eq=False)
class FacesRestored:
    """A frame with what the face network made of its crops."""

    aligned: AlignedFaces
    faces: tuple[NetworkFace, ...]  # one for each crop
    seconds: float = 0.0  # spent on the frame so far
    network_s: float = 0.0  # seconds of them, in the face network
    verdicts: tuple[Verdict, ...] = ()  # one for each crop, once they are judged
    made: tuple[NetworkFace, ...] = ()  # what the network made, where `faces` were changed since; as many


@dataclass(frozen=True, slots=True, eq=False)
class Masked:
    """A frame with all that pasting needs."""

    aligned: AlignedFaces
    faces: tuple[NetworkFace, ...]  # one for each crop; an error also where the face's mask could not be made
    masks: tuple[Mask, ...]  # one for each face that is no error; none for aligned pictures
    background: Image | None  # the frame at its final size, where a network enlarged it
    seconds: float  # spent on the frame so far
    network_s: float  # seconds of them, in the face network
    verdicts: tuple[Verdict, ...] = ()  # one for each crop
    made: tuple[NetworkFace, ...] = ()  # as of `FacesRestored`


Judge: TypeAlias = Callable[[Iterator[FacesRestored | Failed]], Iterator[FacesRestored | Failed]]
"""Gives each frame's faces their verdicts, and may change the faces; as many frames come out, in the same order."""
Deflicker: TypeAlias = Callable[[Iterator[FacesRestored | Failed]], Iterator[FacesRestored | Failed]]
"""Changes the faces of consecutive frames before they are masked; as many frames come out, in the same order."""
Observer: TypeAlias = Callable[[str], AbstractContextManager[None]]
"""Called with a stage's name (detect, align, net, mask, background, paste); the stage runs inside what it gives."""


def n_crops_of(item: AlignedFaces | FacesRestored | Failed) -> int:
    """How many faces of a frame are restored."""
    if isinstance(item, Failed):
        return 0
    return len(item.crops if isinstance(item, AlignedFaces) else item.aligned.crops)


def n_bytes_of(item: AlignedFaces | FacesRestored | Masked | Restored | Failed) -> int:
    """Bytes of a frame's pictures."""
    if isinstance(item, Restored):
        return item.frame.image.nbytes + item.image.nbytes
    frame = item.frame if isinstance(item, (AlignedFaces, Failed)) else item.aligned.frame
    background = item.background if isinstance(item, Masked) else None
    return frame.image.nbytes + (0 if background is None else background.nbytes)
