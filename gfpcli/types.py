"""The types that flow through the stream, and the ports the stream is built from.

All arrays are read-only by convention. Pixel coordinates are (x, y), the centre of the first pixel at (0, 0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gfpcli.errors import GfpError

if TYPE_CHECKING:
    from torch import Tensor

Image: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]
"""(H, W, 3), BGR, uint8 0..255 or uint16 0..65535."""
Affine: TypeAlias = NDArray[np.float64]
"""(2, 3); the variable's name says the direction, for instance `frame_to_crop`."""
Mask: TypeAlias = NDArray[np.float32]
"""(H, W), 0 keeps the frame, 1 takes the restored face."""
FaceStatus: TypeAlias = Literal["restored", "failed", "skipped"]


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A detected face in pixels of the frame's upright image."""

    box: NDArray[np.float64]  # (4,) x0, y0, x1, y1
    landmarks: NDArray[np.float64]  # (5, 2) xy: eyes, nose, mouth corners (image left first)
    score: float  # 0..1


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a file carries besides its pixels; None where it carries none."""

    exif: bytes | None = None  # raw EXIF, orientation already reset to 1
    icc: bytes | None = None  # ICC profile
    xmp: bytes | None = None  # XMP packet
    dpi: tuple[float, float] | None = None  # dots per inch, x and y


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture on its way through the stream, already upright."""

    index: int
    image: Image
    name: str  # for messages
    pts: Fraction | None = None  # presentation time, seconds (video)
    duration: Fraction | None = None  # seconds it is shown (video)
    pixel_aspect: float = 1.0  # width / height of a pixel as it is shown
    alpha: NDArray[np.uint8] | NDArray[np.uint16] | None = None  # (H, W), same depth as the image
    is_gray: bool = False  # stored with one colour channel; `image` then has three equal channels
    format: str = "PNG"  # Pillow's name of the input's format: JPEG, PNG, WEBP, TIFF, BMP, ...
    metadata: Metadata = field(default_factory=Metadata)
    note: str | None = None  # one line worth telling the user (extra pages ignored, ...)


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A face cut out of the frame at the model's own size S."""

    face: Face
    image: NDArray[np.uint8]  # (S, S, 3) BGR
    frame_to_crop: Affine


@dataclass(frozen=True, slots=True, eq=False)
class FaceOutcome:
    """What became of one face."""

    status: FaceStatus
    error: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Failed:
    """A frame that could not be finished; the stream goes on with the next one."""

    frame: Frame
    error: GfpError


@dataclass(frozen=True, slots=True, eq=False)
class Restored:
    """A finished frame. `found` and `outcomes` run in the same order; so do `crops`, `faces` and `masks`."""

    frame: Frame
    image: Image  # (round(H*scale), round(W*scale), 3) BGR, same depth as the frame's image
    scale: float
    found: tuple[Face, ...]  # every face detected, with its outcome
    crops: tuple[Crop, ...]  # those that were cut out
    faces: tuple[NDArray[np.uint8], ...]  # (S, S, 3) BGR each, what the network made (the crop itself where it failed)
    masks: tuple[Mask, ...]  # (S, S) each
    outcomes: tuple[FaceOutcome, ...]
    alpha: NDArray[np.uint8] | NDArray[np.uint16] | None = None  # (H*scale, W*scale)
    timings: Mapping[str, float] = field(default_factory=dict)  # stage -> seconds


class Detector(Protocol):
    """Finds the faces of several images of any sizes: one tuple for each image, best score first."""

    def __call__(self, images: Sequence[Image], /) -> Sequence[tuple[Face, ...]]: ...


class FaceModel(Protocol):
    """Restores aligned faces: (N, 3, S, S) RGB in [-1, 1] in, the same out."""

    @property
    def size(self) -> int: ...

    def __call__(self, faces: Tensor, /) -> Tensor: ...


class Masker(Protocol):
    """Which pixels of each restored (S, S, 3) BGR uint8 face are pasted: one (S, S) mask each."""

    def __call__(self, faces: Sequence[NDArray[np.uint8]], /) -> list[Mask]: ...


class Upsampler(Protocol):
    """Enlarges an image to an exact (height, width)."""

    def __call__(self, image: Image, size: tuple[int, int], /) -> Image: ...
