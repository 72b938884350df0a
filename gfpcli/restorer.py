"""The whole flow on one page: detect, align, restore (batched over the faces of many frames), mask, paste."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from gfpcli.align import cut_crop, stretch_of, to_8_bit
from gfpcli.errors import BackgroundError, FaceError, GfpError, InputError
from gfpcli.options import FaceOptions
from gfpcli.paste import paste_faces, resize_background, without_colour
from gfpcli.stream import batched
from gfpcli.tensors import to_images, to_tensor
from gfpcli.types import (
    Crop,
    Detector,
    Face,
    FaceModel,
    FaceOutcome,
    Failed,
    Frame,
    Image,
    Mask,
    Masker,
    Restored,
    Upsampler,
)  # fmt: skip

MAX_WAITING = 64_000_000  # bytes of frames that may wait until a batch is full
IDENTITY = np.eye(2, 3)
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


Settle: TypeAlias = Callable[[Iterator["Drawn | Failed"]], Iterator["Drawn | Failed"]]
"""What is done to the faces of consecutive frames before they are pasted; as many frames come out, in order."""


@dataclass(frozen=True, slots=True)
class Restorer:
    """Frozen parts; nothing per call is kept."""

    detector: Detector
    model: FaceModel
    masker: Masker
    options: FaceOptions
    upsampler: Upsampler = resize_background  # Lanczos

    def stream(self, frames: Iterable[Frame]) -> Iterator[Restored | Failed]:
        """Each frame restored, in order; a frame without a face comes out enlarged or untouched, none is dropped."""
        return self._in_batches(self._guarded(frame) for frame in frames)

    def stream_known(
        self, known: Iterable[tuple[Frame, tuple[Face, ...]]], settle: Settle = iter
    ) -> Iterator[Restored | Failed]:
        """As `stream`, for frames whose faces were found before. `settle` may change what the network made of them."""
        return self._in_batches((self.cut(frame, faces) for frame, faces in known), settle)

    def _in_batches(self, found: Iterable[Found | Failed], settle: Settle = iter) -> Iterator[Restored | Failed]:
        n_batch = max(1, self.options.batch_size)

        def is_full(group: list[Found | Failed]) -> bool:
            n_faces = sum(len(each.crops) for each in group if isinstance(each, Found))
            return n_faces >= n_batch or sum(each.frame.image.nbytes for each in group) >= MAX_WAITING

        made = (each for group in batched(found, is_full=is_full) for each in self.make(group))
        return (each if isinstance(each, Failed) else self.paste(each) for each in settle(made))

    def restore(self, frame: Frame) -> Restored:
        """One frame. Raises GfpError where it cannot be finished."""
        (out,) = self.stream([frame])
        if isinstance(out, Failed):
            raise out.error
        return out

    def find(self, frame: Frame) -> Found:
        """Faces and crops of a frame."""
        start = time.monotonic()
        faces = self.detect(frame)
        return self.cut(frame, faces, seconds=time.monotonic() - start)

    def detect(self, frame: Frame) -> tuple[Face, ...]:
        """The faces of a frame, in its own pixels. Pixels that are not square are made so for the detector."""
        if self.options.aligned:
            return ()
        if frame.pixel_aspect == 1:
            return self.detector(frame.image)
        stretch = stretch_of(frame.pixel_aspect)
        height, width = frame.image.shape[:2]
        square = resize_background(frame.image, (round(height * stretch[1]), round(width * stretch[0])))
        return tuple(
            Face(face.box / np.tile(stretch, 2), (face.landmarks + 0.5) / stretch - 0.5, face.score)
            for face in self.detector(square)
        )

    def cut(self, frame: Frame, faces: tuple[Face, ...], *, seconds: float = 0.0) -> Found:
        """Crops of known faces. One that is not asked for is `skipped`; one that cannot be aligned is `failed`.

        Args:
            seconds: spent on the frame before.
        """
        start = time.monotonic() - seconds
        if self.options.aligned:
            crop = aligned_crop(frame, self.model.size)
            return Found(frame, (crop.face,), (FaceOutcome("restored"),), (crop,), time.monotonic() - start)
        chosen = choose_faces(faces, frame, self.options)
        crops: list[Crop] = []
        outcomes: list[FaceOutcome] = []
        for face in faces:
            try:
                if any(face is each for each in chosen):
                    crops.append(cut_crop(frame.image, face, self.model.size, frame.pixel_aspect))
                    outcomes.append(FaceOutcome("restored"))
                else:
                    outcomes.append(FaceOutcome("skipped"))
            except FaceError as error:
                outcomes.append(FaceOutcome("failed", str(error)))
        return Found(frame, faces, tuple(outcomes), tuple(crops), time.monotonic() - start)

    def _guarded(self, frame: Frame) -> Found | Failed:
        try:
            return self.find(frame)
        except GfpError as error:
            return Failed(frame, error)
        except (MemoryError, torch.OutOfMemoryError):
            return Failed(frame, InputError(f"{frame.name}: not enough memory to look for faces; try --det-size 640"))

    def make(self, group: Sequence[Found | Failed]) -> Iterator[Drawn | Failed]:
        """The faces of all frames through the network together."""
        start = time.monotonic()
        crops = [(crop, each.frame.is_gray) for each in group if isinstance(each, Found) for crop in each.crops]
        faces = self.restore_crops([crop for crop, _ in crops])
        results = iter(
            [np.asarray(without_colour(face), np.uint8) if is_gray and not isinstance(face, FaceError) else face
             for face, (_, is_gray) in zip(faces, crops, strict=True)]
        )  # fmt: skip
        share = (time.monotonic() - start) / max(len(crops), 1)
        for each in group:
            if isinstance(each, Failed):
                yield each
                continue
            own = tuple(next(results) for _ in each.crops)
            yield Drawn(each, own, each.seconds + share * len(own), share * len(own))

    def paste(self, drawn: Drawn) -> Restored | Failed:
        """The frame with its faces pasted, or why it cannot be finished."""
        frame = drawn.found.frame
        try:
            return self.assemble(drawn.found, drawn.faces, seconds=drawn.seconds, network=drawn.network)
        except GfpError as error:
            return Failed(frame, error)
        except (MemoryError, cv2.error):
            return Failed(frame, InputError(f"{frame.name}: not enough memory for the result; try a smaller --scale"))

    def assemble(self, found: Found, faces: Sequence[Made], *, seconds: float, network: float = 0.0) -> Restored:
        """The finished frame; where the network failed on a face the frame keeps its own.

        Args:
            seconds: spent on the frame before; `network` of them in the network.
        """
        start = time.monotonic()
        options, frame = self.options, found.frame
        outcomes = _outcomes_of(found.outcomes, faces)
        done = [(crop, face) for crop, face in zip(found.crops, faces, strict=True) if not isinstance(face, FaceError)]
        crops, good = tuple(crop for crop, _ in done), tuple(face for _, face in done)
        if options.aligned:
            return _aligned_result(found, crops, good, outcomes, options, {"network": network, "total": seconds})
        masks = tuple(self.masker(good)) if good else ()
        height, width = frame.image.shape[:2]
        size = max(1, round(height * options.scale)), max(1, round(width * options.scale))
        canvas = self._enlarged(frame, size)
        ratio = size[1] / width, size[0] / height
        paste_faces(canvas, good, crops, masks, scale=ratio, strength=options.strength)
        alpha = None if frame.alpha is None else resize_background(frame.alpha, size)
        timings = {"network": network, "total": seconds + time.monotonic() - start}
        return Restored(frame, canvas, options.scale, found.faces, crops, good, masks, outcomes, alpha, timings)

    def _enlarged(self, frame: Frame, size: tuple[int, int]) -> Image:
        """The frame's picture at its final size, an array of its own."""
        try:
            return self.upsampler(frame.image, size)
        except BackgroundError as error:
            raise BackgroundError(f"{frame.name}: {error}") from error

    def restore_crops(self, crops: Sequence[Crop]) -> list[Made]:
        """One result for each crop. A batch that does not fit into memory is halved until it does."""
        faces: list[Made] = []
        step = max(1, self.options.batch_size)
        while len(faces) < len(crops):
            try:
                faces += self._run([crop.image for crop in crops[len(faces) : len(faces) + step]])
            except (MemoryError, torch.OutOfMemoryError):
                if step == 1:
                    faces.append(FaceError("this face does not fit into the device's memory"))
                step = max(1, step // 2)
        return faces

    def _run(self, images: list[NDArray[np.uint8]]) -> list[Made]:
        with torch.inference_mode():
            out = self.model(to_tensor(images))
        is_good = out.isfinite().flatten(1).all(dim=1).tolist()
        error = FaceError("the network gave numbers that are not finite")
        return [face if good else error for face, good in zip(to_images(out.nan_to_num()), is_good, strict=True)]


def _outcomes_of(before: tuple[FaceOutcome, ...], faces: Sequence[Made]) -> tuple[FaceOutcome, ...]:
    """The outcomes after alignment, changed where the network failed."""
    made = iter(faces)
    outcomes = []
    for outcome in before:
        face = next(made) if outcome.status == "restored" else None
        outcomes.append(FaceOutcome("failed", str(face)) if isinstance(face, FaceError) else outcome)
    return tuple(outcomes)


def choose_faces(faces: tuple[Face, ...], frame: Frame, options: FaceOptions) -> tuple[Face, ...]:
    """The faces `--faces` and `--min-face` ask for."""

    def area(face: Face) -> float:
        return float(np.prod(face.box[2:] - face.box[:2]))

    def off_centre(face: Face) -> float:
        middle = np.array(frame.image.shape[1::-1]) / 2
        return float(np.hypot(*((face.box[:2] + face.box[2:]) / 2 - middle)))

    large = [face for face in faces if min(face.box[2:] - face.box[:2]) >= options.min_face]
    if options.faces == "all":
        return tuple(large)
    if options.faces == "center":
        return tuple(sorted(large, key=off_centre)[:1])
    n_wanted = 1 if options.faces == "largest" else int(options.faces)
    return tuple(sorted(large, key=area, reverse=True)[:n_wanted])


def aligned_crop(frame: Frame, size: int) -> Crop:
    """The whole picture as one crop (bilinear resize, as upstream does).

    Raises:
        InputError: the picture is not square.
    """
    height, width = frame.image.shape[:2]
    if height != width:
        raise InputError(f"{frame.name}: {width}x{height} is not square, as --aligned needs")
    image = to_8_bit(frame.image)
    if height != size:
        image = np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)
    face = Face(np.array([0.0, 0, width, height]), np.zeros((5, 2)), 1.0)
    return Crop(face, image, IDENTITY * (size / width))


def _aligned_result(
    found: Found,
    crops: tuple[Crop, ...],
    faces: tuple[NDArray[np.uint8], ...],
    outcomes: tuple[FaceOutcome, ...],
    options: FaceOptions,
    timings: Mapping[str, float],
) -> Restored:
    """The network's face at its own size; it fills the whole picture."""
    if not faces:
        raise InputError(f"{found.frame.name}: {outcomes[0].error}")
    mix = options.strength * faces[0].astype(np.float32) + (1 - options.strength) * crops[0].image
    size = faces[0].shape[0]
    masks: tuple[Mask, ...] = (np.ones((size, size), np.float32),)
    scale = size / found.frame.image.shape[0]
    frame = found.frame
    alpha = None if frame.alpha is None else resize_background(to_8_bit(frame.alpha), (size, size))
    image = np.round(mix).astype(np.uint8)
    return Restored(frame, image, scale, found.faces, crops, faces, masks, outcomes, alpha, timings)
