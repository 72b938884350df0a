"""The types that flow through the stream, and the ports the stream is built from.

All arrays are read-only by convention. Pixel coordinates are (x, y), the centre of the first pixel at (0, 0).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from gfpcli.errors import GfpError

Image: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]
"""(H, W, 3), BGR, uint8 0..255 or uint16 0..65535."""
Affine: TypeAlias = NDArray[np.float64]
"""(2, 3); the variable's name says the direction, for instance `frame_to_crop`."""
Mask: TypeAlias = NDArray[np.float32]
"""(H, W), 0 keeps the frame, 1 takes the restored face."""
PictureBatch: TypeAlias = NDArray[np.float32]
"""(N, 3, H, W) RGB: faces in [-1, 1], whole pictures in [0, 1]; in any order in memory."""
FaceAction: TypeAlias = Literal["restore", "skip"]
FaceStatus: TypeAlias = Literal["restored", "unchanged", "failed", "skipped", "kept"]
OutcomeStatus: TypeAlias = Literal["restored", "no_face", "skipped", "failed", "previewed"]


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A detected face in pixels of the frame's upright image."""

    box: NDArray[np.float64]  # (4,) x0, y0, x1, y1
    landmarks: NDArray[np.float64]  # (5, 2) xy: eyes, nose, mouth corners (image left first)
    score: float  # 0..1


@dataclass(frozen=True, slots=True)
class PlannedFace:
    """One face of a plan that a person may have edited: where it is, and what is to become of it."""

    box: tuple[float, ...]  # x0, y0, x1, y1, px of the upright photo
    landmarks: tuple[tuple[float, ...], ...] = ()  # five (x, y); none: they are looked for in the box
    score: float = 1.0  # of the detector, 0..1
    action: FaceAction = "restore"
    strength: float | None = None  # 0..1; None: as the run decides
    # measured when the plan was made; they change no output
    person: int | None = None  # number of the cluster of faces that are alike
    blur: float | None = None
    planned_strength: float | None = None  # what `--strength` came to

    def to_json(self) -> dict[str, Any]:
        """The face as a plan holds it."""
        facts = {"landmarks": [list(each) for each in self.landmarks] or None, "score": self.score,
                 "person": self.person, "blur": self.blur, "planned_strength": self.planned_strength}  # fmt: skip
        known = {key: value for key, value in facts.items() if value is not None}
        strength = "auto" if self.strength is None else self.strength
        return {"box": list(self.box), **known, "strength": strength, "action": self.action}


@dataclass(frozen=True, slots=True)
class PlannedPhoto:
    """The faces of one photo in a plan."""

    photo: str  # path relative to the input folder, with forward slashes
    sha256: str  # of the file's content
    width: int  # px of the upright picture
    height: int
    faces: tuple[PlannedFace, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The photo as a plan holds it."""
        facts = {"photo": self.photo, "sha256": self.sha256, "width": self.width, "height": self.height}
        return {**facts, "faces": [face.to_json() for face in self.faces]}


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
    planned: tuple[PlannedFace, ...] | None = None  # its faces as a plan says; None: they are looked for


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A face cut out of the frame at the model's own size S."""

    face: Face
    image: NDArray[np.uint8]  # (S, S, 3) BGR
    frame_to_crop: Affine


@dataclass(frozen=True, slots=True, eq=False)
class FaceOutcome:
    """What became of one face."""

    status: FaceStatus  # `unchanged`: at strength 0; `kept`: restored, it was another person, so the input's face stays
    error: str | None = None
    identity: float | None = None  # 0..1: how alike output and input are, see `IdentityScale`
    strength: float | None = None  # 0..1: how much of the network's face was pasted


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
    computed_in: str = ""  # as of `Outcome`


@dataclass(frozen=True, slots=True)
class FaceRecord:
    """One face of an `Outcome`, in pixels of the input, rounded as it is written to JSON."""

    box: tuple[float, ...]  # x0, y0, x1, y1
    score: float  # 0..1
    status: FaceStatus
    landmarks: tuple[tuple[float, ...], ...] = ()  # five (x, y); the ledger keeps none
    seconds: float | None = None  # its share of the network's time
    error: str | None = None
    identity: float | None = None  # 0..1, of a face that was restored or kept
    strength: float | None = None  # 0..1, likewise

    def to_json(self) -> dict[str, Any]:
        """The face as `--json`, the ledger and the report hold it."""
        landmarks = {"landmarks": [list(each) for each in self.landmarks]} if self.landmarks else {}
        numbers = {"identity": self.identity, "strength": self.strength, "seconds": self.seconds}
        known = {name: value for name, value in numbers.items() if value is not None}
        error = {"error": self.error} if self.error else {}
        return {"box": list(self.box), **landmarks, "score": self.score, "status": self.status, **known, **error}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FaceRecord:
        """The face without its landmarks. Raises ValueError where `values` are not what `to_json` gives."""
        face = cls(
            tuple(values.get("box", ())), values.get("score", ""), values.get("status", ""),
            seconds=values.get("seconds"), error=values.get("error"),
            identity=values.get("identity"), strength=values.get("strength"),
        )  # fmt: skip
        given = [each for each in (face.seconds, face.identity, face.strength) if each is not None]
        numbers = [*face.box, face.score, *given]
        is_number = [type(each) in (int, float) and bool(np.isfinite(each)) for each in numbers]
        is_text = face.status in get_args(FaceStatus) and isinstance(face.error, str | None)
        if len(face.box) != 4 or not all(is_number) or not is_text:
            raise ValueError("not the record of a face")
        return face


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What an `Outcome` tells of a clip only."""

    n_frames: int = 0  # restored
    n_faces: int = 0  # restored, over all frames
    flicker: float | None = None  # grey levels that consecutive faces change more than the input's do
    fps: float | None = None  # frames restored in a second


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one input: of a photo or a clip, on this machine or a cluster."""

    source: str
    output: str | None  # None where nothing was written
    status: OutcomeStatus
    scale: float
    model: str
    width: int | None = None  # px of the output
    height: int | None = None
    seconds: float = 0.0
    error: str | None = None  # one line; also where some faces failed and the output was written
    notes: tuple[str, ...] = ()  # one line each: what of the input is changed or left out; why it was skipped
    faces: tuple[FaceRecord, ...] = ()  # of a photo
    clip: ClipFacts | None = None  # of a clip
    licence: str = ""  # of the model
    computed_in: str = ""  # runtime and precision of the face network, such as "torch bf16"; empty where it did not run

    @property
    def n_kept(self) -> int:
        """Faces of a photo that stay as they were: restored, they would have been another person."""
        return sum(face.status == "kept" for face in self.faces)

    @property
    def n_unchanged(self) -> int:
        """Faces of a photo that are at strength 0, mostly because they were fine already."""
        return sum(face.status == "unchanged" for face in self.faces)

    def to_review(self, below: float) -> tuple[FaceRecord, ...]:
        """The faces of a photo whose identity score is below this, also of those that were kept for it."""
        return tuple(face for face in self.faces if face.identity is not None and face.identity < below)

    @property
    def n_restored(self) -> int:
        """Faces of a photo that were restored."""
        return sum(face.status == "restored" for face in self.faces)

    def to_json(self) -> dict[str, Any]:
        """The record that `--json` writes; a clip's has counts in place of faces."""
        what: dict[str, Any] = {"faces": [face.to_json() for face in self.faces]}
        costs: dict[str, Any] = {"seconds": self.seconds}
        known = {"licence": self.licence, "computed_in": self.computed_in}
        model = {"model": self.model, **{name: value for name, value in known.items() if value}}
        if clip := self.clip:
            what = {"n_frames": clip.n_frames, "n_faces": clip.n_faces}
            costs = {"flicker": clip.flicker, **costs, "fps": clip.fps}
        return {
            "input": self.source, "output": self.output, "status": self.status, **what, "width": self.width,
            "height": self.height, "scale": self.scale, **model, **costs,
            "notes": list(self.notes), "error": self.error,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class ExportFacts:
    """What an ONNX file that gfp exported tells of itself, in the file's metadata."""

    kind: str  # restorer, detector, mask or background
    name: str  # of the weights
    source_sha256: str
    template: str  # how its faces are aligned; empty where it takes no aligned faces
    licence: str
    precision: str
    opset: str
    layout: str = "{}"  # JSON: a detector's anchors, what tiling must know of a background network

    def to_metadata(self) -> dict[str, str]:
        """The facts as keys and values of ONNX metadata."""
        return {f"gfpcli.{each.name}": getattr(self, each.name) for each in fields(self)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> ExportFacts | None:
        """The facts of a file; None where gfp did not write it. Raises ValueError where some are missing."""
        found = {each.name: metadata.get(f"gfpcli.{each.name}") for each in fields(cls)}
        if not any(found.values()):
            return None
        if missing := [name for name, value in found.items() if value is None]:
            raise ValueError(f"no gfpcli.{missing[0]}")
        return cls(**{name: str(value) for name, value in found.items()})


def _ignore(*_: object) -> None:
    """For what nobody listens to."""


@dataclass(frozen=True, slots=True)
class Listener:
    """What a run tells while it works: functions that whoever starts it gives."""

    warn: Callable[[str], None] = _ignore  # a line worth telling
    begin: Callable[[int], None] = _ignore  # how many inputs; called once, when their output folder is held
    outcome: Callable[[Outcome], None] = _ignore  # of each input, as soon as it is known
    tiles: Callable[[int, int], None] = _ignore  # tiles of a background: done, in all
    # a clip's source; frames done and in all (0 when the clip begins), faces restored
    frames: Callable[[Path, int, int, int], None] = _ignore
    download: Callable[[int, int | None], None] = _ignore  # bytes so far, bytes in all where known


class Detector(Protocol):
    """Finds the faces of several images of any sizes: one tuple for each image, best score first."""

    def __call__(self, images: Sequence[Image], /) -> Sequence[tuple[Face, ...]]: ...


class Follower(Protocol):
    """Finds the faces of one image in another one, shortly before or after: None for each that is not found."""

    def __call__(self, image: Image, faces: Sequence[Face], /) -> Sequence[Face | None]: ...


class Landmarker(Protocol):
    """Finds the landmarks of the faces in boxes (4,) x0, y0, x1, y1 of an image: a face for each, with its score."""

    def __call__(self, image: Image, boxes: Sequence[NDArray[np.float64]], /) -> tuple[Face, ...]: ...


class FaceModel(Protocol):
    """Restores aligned faces: (N, 3, S, S) RGB in [-1, 1] in, the same out.

    A call that fails raises RuntimeError, or MemoryError, and leaves no memory of its device taken.
    """

    @property
    def size(self) -> int: ...

    def __call__(self, faces: PictureBatch, /) -> PictureBatch: ...


@dataclass(frozen=True, slots=True, eq=False)
class FaceCode:
    """What the first half of a GFP-GAN network makes of a face."""

    latent: NDArray[np.float32]  # (L, n_style): the style codes of the whole face
    features: object | None  # of all levels, as the coder that made them keeps them on its device; None: not kept


class FaceCoder(Protocol):
    """A GFP-GAN network in its two halves; one after the other they are the `FaceModel`."""

    def encode(self, faces: PictureBatch, /) -> list[FaceCode]:
        """(N, 3, S, S) RGB in [-1, 1] to a code for each."""
        ...

    def decode(self, codes: Sequence[FaceCode], /) -> PictureBatch:
        """Codes with their features to (N, 3, S, S) RGB in [-1, 1]."""
        ...


class Identifier(Protocol):
    """Whose faces they are: aligned crops (S, S, 3) BGR uint8 in, (N, D) float32 unit vectors out.

    The more alike two faces, the larger the product of their vectors. The vector of a crop is the same in any company.
    """

    def __call__(self, crops: Sequence[NDArray[np.uint8]], /) -> NDArray[np.float32]: ...


class Masker(Protocol):
    """Which pixels of each restored (S, S, 3) BGR uint8 face are pasted: one (S, S) mask each."""

    def __call__(self, faces: Sequence[NDArray[np.uint8]], /) -> list[Mask]: ...


class NetworkFiles(Protocol):
    """Which files the networks came from that draw: what a label names."""

    @property
    def model(self) -> Path: ...

    @property
    def model_name(self) -> str: ...

    @property
    def small_model(self) -> Path | None: ...

    @property
    def background(self) -> Path | None: ...


class Upsampler(Protocol):
    """Enlarges an image to an exact (height, width)."""

    def __call__(self, image: Image, size: tuple[int, int], /) -> Image: ...
