"""What flows between the steps of the restorer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gfpcli.errors import FaceError
from gfpcli.types import Crop, Face, FaceOutcome, Failed, Frame, Image, Mask, Restored

Made: TypeAlias = NDArray[np.uint8] | FaceError
"""(S, S, 3) BGR from the network, or why there is none."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A frame with its faces, on the way to the network."""

    frame: Frame
    faces: tuple[Face, ...]
    outcomes: tuple[FaceOutcome, ...]  # one for each face; `restored` for those that were cut out
    crops: tuple[Crop, ...]
    seconds: float  # spent on detection and alignment


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A frame with what the network made of its crops."""

    found: Found
    faces: tuple[Made, ...]  # one for each crop
    seconds: float  # spent on the frame so far
    network: float = 0.0  # seconds of them, in the network
    masks: tuple[Mask | None, ...] = ()  # once they are made one for each crop; None where it has no face
    background: Image | None = None  # the frame at its final size, where a network enlarged it


Settle: TypeAlias = Callable[[Iterator["Drawn | Failed"]], Iterator["Drawn | Failed"]]
"""What is done to the faces of consecutive frames before they are pasted; as many frames come out, in order."""


def found_of(item: Found | Drawn) -> Found:
    return item.found if isinstance(item, Drawn) else item


def weight_of(item: Found | Drawn | Restored | Failed) -> int:
    """Bytes of the pictures it holds."""
    if isinstance(item, Restored):
        return item.frame.image.nbytes + item.image.nbytes
    frame = item.frame if isinstance(item, Failed) else found_of(item).frame
    background = item.background if isinstance(item, Drawn) else None
    return frame.image.nbytes + (0 if background is None else background.nbytes)
