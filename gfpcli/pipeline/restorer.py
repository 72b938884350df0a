"""The whole flow on one page: detect, align, restore and mask (batched over the faces of many frames), paste.

What is torch's runs on the caller's thread, or on one for each device where there are several; pasting runs behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import TypeAlias, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from gfpcli.errors import BackgroundError, FaceError, GfpError, InputError
from gfpcli.memory import is_out_of_memory, lacking
from gfpcli.options import FaceOptions
from gfpcli.pipeline.align import aligned_crop, choose_faces, cut_crop, stretch_of, to_8_bit
from gfpcli.pipeline.paste import paste_faces, resize_background, without_colour
from gfpcli.pipeline.steps import Drawn, Found, Made, Settle, found_of, weight_of
from gfpcli.pipeline.tensors import to_images, to_tensor
from gfpcli.stream import batched, map_ahead
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
)

MAX_WAITING = 64_000_000  # bytes of frames that may wait until a batch is full
NEEDED = 12  # bytes that pasting and encoding take for each pixel of an 8-bit result
AT_ONCE = 8  # frames whose faces are looked for together
FAULTS = (MemoryError, RuntimeError, cv2.error, np.linalg.LinAlgError)
"""What libraries raise for one frame or face; torch tells of memory, of a device and of a driver by RuntimeError."""
DetectMany: TypeAlias = Callable[[Sequence[Image]], list[tuple[Face, ...]]]
"""A `Detector` of several images at once."""
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Restorer:
    """Frozen parts; nothing per call is kept."""

    detector: Detector
    model: FaceModel
    masker: Masker
    options: FaceOptions
    upsampler: Upsampler = resize_background  # Lanczos
    twins: tuple[Restorer, ...] = ()  # the same on further devices; their detectors have nothing to do
    detect_many: DetectMany | None = None  # None: the detector is as fast image by image

    def stream(self, frames: Iterable[Frame]) -> Iterator[Restored | Failed]:
        """Each frame restored, in order; a frame without a face comes out enlarged or untouched, none is dropped."""
        if self.detect_many is None or self.options.aligned:
            return self._flow(self._guarded(frame) for frame in frames)
        return self._flow(self._find_together(frames, self.detect_many))

    def stream_known(
        self, known: Iterable[tuple[Frame, tuple[Face, ...]]], settle: Settle = iter
    ) -> Iterator[Restored | Failed]:
        """As `stream`, for frames whose faces were found before. `settle` may change what the network made of them."""
        return self._flow((self.cut(frame, faces) for frame, faces in known), settle)

    def _flow(self, found: Iterable[Found | Failed], settle: Settle = iter) -> Iterator[Restored | Failed]:
        idle: SimpleQueue[Restorer] = SimpleQueue()
        for each in (self, *self.twins):
            idle.put(each)
        made = self._spread(Restorer.make, batched(found, is_full=self._is_full), idle)
        finished = self._spread(Restorer.finish, batched(settle(made), is_full=self._is_full), idle)
        return map_ahead(self.paste, finished, workers=1, depth=2, weigh_item=weight_of, weigh_result=weight_of)

    def _is_full(self, group: Sequence[Found | Drawn | Failed]) -> bool:
        n_faces = sum(len(found_of(each).crops) for each in group if not isinstance(each, Failed))
        return n_faces >= max(1, self.options.batch_size) or sum(map(weight_of, group)) >= MAX_WAITING

    def _spread(
        self, work: Callable[[Restorer, list[T]], list[R]], groups: Iterable[list[T]], idle: SimpleQueue[Restorer]
    ) -> Iterator[R]:
        """What `work` makes of each group, in order; with twins each group is done by whoever is idle."""

        def run(group: list[T]) -> list[R]:
            one = idle.get()
            try:
                return work(one, group)
            finally:
                idle.put(one)

        n_all = 1 + len(self.twins)
        done = map_ahead(run, groups, workers=n_all, depth=2 * n_all) if self.twins else map(run, groups)
        return (each for group in done for each in group)

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

    def _guarded(self, frame: Frame, faces: tuple[Face, ...] | None = None, seconds: float = 0.0) -> Found | Failed:
        """`find`, or where the faces are known `cut`, or why that failed."""
        try:
            return self.find(frame) if faces is None else self.cut(frame, faces, seconds=seconds)
        except GfpError as error:
            return Failed(frame, error)
        except FAULTS as error:
            hint = "not enough memory to look for faces; try --det-size 640"
            return Failed(frame, InputError(f"{frame.name}: {reason_of(error, hint)}"))

    def _find_together(self, frames: Iterable[Frame], detect_many: DetectMany) -> Iterator[Found | Failed]:
        """`find` of several frames at once; one by one where that fails."""

        def is_full(group: list[Frame]) -> bool:
            return len(group) >= AT_ONCE or sum(frame.image.nbytes for frame in group) >= MAX_WAITING

        for group in batched(frames, is_full=is_full):
            start = time.monotonic()
            try:
                faces = detect_many([frame.image for frame in group])
            except (GfpError, *FAULTS):
                yield from map(self._guarded, group)
                continue
            share = (time.monotonic() - start) / len(group)
            yield from (self._guarded(frame, each, share) for frame, each in zip(group, faces, strict=True))

    def make(self, group: Sequence[Found | Failed]) -> list[Drawn | Failed]:
        """The faces of all frames through the network together."""
        start = time.monotonic()
        crops = [(crop, each.frame.is_gray) for each in group if isinstance(each, Found) for crop in each.crops]
        faces = self.restore_crops([crop for crop, _ in crops])
        results = iter(
            [np.asarray(without_colour(face), np.uint8) if is_gray and not isinstance(face, FaceError) else face
             for face, (_, is_gray) in zip(faces, crops, strict=True)]
        )  # fmt: skip
        share = (time.monotonic() - start) / max(len(crops), 1)
        made: list[Drawn | Failed] = []
        for each in group:
            if isinstance(each, Found):
                own = tuple(next(results) for _ in each.crops)
                made.append(Drawn(each, own, each.seconds + share * len(own), share * len(own)))
            else:
                made.append(each)
        return made

    def finish(self, group: Sequence[Drawn | Failed]) -> list[Drawn | Failed]:
        """What other networks have to do with frames before they are pasted: masks, all together, and backgrounds."""
        start = time.monotonic()
        drawn = [each for each in group if isinstance(each, Drawn)]
        good = [face for each in drawn for face in each.faces if not isinstance(face, FaceError)]
        masks = iter([] if self.options.aligned else self._masks_of(good))
        share = (time.monotonic() - start) / max(len(good), 1)
        return [each if isinstance(each, Failed) else self._finished(each, masks, share) for each in group]

    def _finished(self, drawn: Drawn, masks: Iterator[Mask | FaceError], share: float) -> Drawn | Failed:
        """With its own of the masks, each of which took `share` seconds; a face without a mask has failed."""
        if self.options.aligned:
            return drawn
        own = [None if isinstance(face, FaceError) else next(masks) for face in drawn.faces]
        faces = tuple(
            mask if isinstance(mask, FaceError) else face for face, mask in zip(drawn.faces, own, strict=True)
        )
        found = tuple(None if isinstance(mask, FaceError) else mask for mask in own)
        drawn = replace(drawn, faces=faces, masks=found, seconds=drawn.seconds + share * len(own))
        if self.upsampler is resize_background:  # needs no device: part of pasting
            return drawn
        start = time.monotonic()
        frame = drawn.found.frame
        background = _kept(frame, lambda: self._enlarged(frame))
        if isinstance(background, Failed):
            return background
        return replace(drawn, background=background, seconds=drawn.seconds + time.monotonic() - start)

    def paste(self, drawn: Drawn | Failed) -> Restored | Failed:
        """The frame with its faces pasted, or why it cannot be finished."""
        return drawn if isinstance(drawn, Failed) else _kept(drawn.found.frame, lambda: self._pasted(drawn))

    def assemble(self, found: Found, faces: Sequence[Made], *, seconds: float, network: float = 0.0) -> Restored:
        """`finish` and `paste` of one frame. Raises GfpError.

        Args:
            seconds: spent on the frame before; `network` of them in the network.
        """
        (finished,) = self.finish([Drawn(found, tuple(faces), seconds, network)])
        out = self.paste(finished)
        if isinstance(out, Failed):
            raise out.error
        return out

    def _pasted(self, drawn: Drawn) -> Restored:
        """The finished frame; where the network failed on a face the frame keeps its own."""
        start = time.monotonic()
        options, found = self.options, drawn.found
        frame = found.frame
        outcomes = _outcomes_of(found.outcomes, drawn.faces)
        timings = {"network": drawn.network, "total": drawn.seconds}
        done = [(c, f) for c, f in zip(found.crops, drawn.faces, strict=True) if not isinstance(f, FaceError)]
        crops, good = tuple(crop for crop, _ in done), tuple(face for _, face in done)
        if options.aligned:
            return _aligned_result(found, crops, good, outcomes, options, timings)
        masks = tuple(mask for mask in drawn.masks if mask is not None)
        canvas = self._enlarged(frame) if drawn.background is None else drawn.background
        height, width = frame.image.shape[:2]
        ratio = canvas.shape[1] / width, canvas.shape[0] / height
        paste_faces(canvas, good, crops, masks, scale=ratio, strength=options.strength)
        alpha = None
        if frame.alpha is not None:
            alpha = resize_background(frame.alpha, (canvas.shape[0], canvas.shape[1]))
        timings["total"] += time.monotonic() - start
        return Restored(frame, canvas, options.scale, found.faces, crops, good, masks, outcomes, alpha, timings)

    def _masks_of(self, faces: Sequence[NDArray[np.uint8]]) -> list[Mask | FaceError]:
        """One for each face. Where all at once fail, one by one."""
        try:
            return [*self.masker(faces)] if faces else []
        except FAULTS:
            return [self._mask_alone(face) for face in faces]

    def _mask_alone(self, face: NDArray[np.uint8]) -> Mask | FaceError:
        torch.cuda.empty_cache()
        try:
            return self.masker([face])[0]
        except FAULTS as error:
            return FaceError(reason_of(error, "this face's mask does not fit into the device's memory"))

    def _enlarged(self, frame: Frame) -> Image:
        """The frame's picture at its final size, an array of its own."""
        height, width = frame.image.shape[:2]
        size = max(1, round(height * self.options.scale)), max(1, round(width * self.options.scale))
        if lack := lacking(size[0] * size[1] * NEEDED * frame.image.itemsize):
            raise InputError(f"{frame.name}: not enough memory for the result; try a smaller --scale: {lack}")
        try:
            return self.upsampler(frame.image, size)
        except BackgroundError as error:
            raise BackgroundError(f"{frame.name}: {error}") from error

    def restore_crops(self, crops: Sequence[Crop]) -> list[Made]:
        """One result for each crop. A batch that does not fit into memory is halved until it does."""
        faces: list[Made] = []
        step = max(1, self.options.batch_size)
        while len(faces) < len(crops):
            wanted = [crop.image for crop in crops[len(faces) : len(faces) + step]]
            try:
                faces += self._run(wanted)
                continue
            except FAULTS as error:
                reason = reason_of(error, "this face does not fit into the device's memory")
            if len(wanted) == 1:
                faces.append(FaceError(reason))
            step = max(1, len(wanted) // 2)
            torch.cuda.empty_cache()  # nothing where CUDA was never used
        return faces

    def _run(self, images: list[NDArray[np.uint8]]) -> list[Made]:
        with torch.inference_mode():
            out = self.model(to_tensor(images))
        is_good = out.isfinite().flatten(1).all(dim=1).tolist()
        error = FaceError("the network gave numbers that are not finite")
        return [face if good else error for face, good in zip(to_images(out.nan_to_num()), is_good, strict=True)]


def reason_of(error: Exception, no_memory: str) -> str:
    """One line: `no_memory` where memory ran out, else what the library says."""
    return no_memory if is_out_of_memory(error) else f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _kept(frame: Frame, work: Callable[[], T]) -> T | Failed:
    """What `work` gives, or why the frame cannot be finished."""
    try:
        return work()
    except GfpError as error:
        return Failed(frame, error)
    except FAULTS as error:
        hint = "not enough memory for the result; try a smaller --scale"
        return Failed(frame, InputError(f"{frame.name}: {reason_of(error, hint)}"))


def _outcomes_of(before: tuple[FaceOutcome, ...], faces: Sequence[Made]) -> tuple[FaceOutcome, ...]:
    """The outcomes so far, changed where the network failed; one of `faces` for each that was restored so far."""
    made = iter(faces)
    outcomes = []
    for outcome in before:
        face = next(made) if outcome.status == "restored" else None
        outcomes.append(FaceOutcome("failed", str(face)) if isinstance(face, FaceError) else outcome)
    return tuple(outcomes)


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
