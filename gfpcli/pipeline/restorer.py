"""The whole pipeline on one page: detect, restore faces (batched over many frames), judge, mask and enlarge, paste.

The networks run on the caller's thread, or on threads of their own where there are several devices, or several batches
are in work on one; pasting runs behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from queue import SimpleQueue
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from gfpcli.errors import BackgroundError, FaceError, InputError
from gfpcli.memory import lacking
from gfpcli.options import FaceOptions
from gfpcli.pipeline.align import align_faces, to_8_bit
from gfpcli.pipeline.detect import NO_MEMORY, detect_together, faces_as_planned, follow_together
from gfpcli.pipeline.faults import decode_codes, encode_crops, mask_faces, or_failed, restore_by_size
from gfpcli.pipeline.guard import Guard
from gfpcli.pipeline.paste import paste_faces, resize_background, without_colour
from gfpcli.pipeline.seams import fade_in
from gfpcli.pipeline.steps import (
    AlignedFaces,
    AverageCodes,
    Deflicker,
    Detected,
    EncodedFaces,
    FacesRestored,
    Judge,
    Masked,
    NetworkFace,
    Observer,
    Verdict,
    n_bytes_of,
    n_crops_of,
)
from gfpcli.pipeline.who import PersonFilter
from gfpcli.stream import batched, map_ahead
from gfpcli.types import (
    Crop,
    Detector,
    Face,
    FaceCode,
    FaceCoder,
    FaceModel,
    FaceOutcome,
    FaceStatus,
    Failed,
    Follower,
    Frame,
    Identifier,
    Image,
    Landmarker,
    Mask,
    Masker,
    NetworkFiles,
    Restored,
    Upsampler,
)

MOST_KEPT = 4  # faces of a frame whose features wait for their latents, about 65 MB each; those of more are made twice
RESULT_BYTES = 12  # that pasting and encoding take for each pixel of an 8-bit result
Idle: TypeAlias = "SimpleQueue[Restorer]"
"""Those of the replicas whose device has room for another batch, as often as it has."""
T = TypeVar("T")
R = TypeVar("R")
WithCrops = TypeVar("WithCrops", bound=AlignedFaces | EncodedFaces | FacesRestored | Failed)


def unobserved(stage: str) -> AbstractContextManager[None]:
    """The observer of a run that nobody watches."""
    return nullcontext()


def no_landmarks(image: Image, boxes: Sequence[NDArray[np.float64]], /) -> tuple[Face, ...]:
    """The landmarker of a restorer that was given none. Raises InputError."""
    raise InputError("no network looks for landmarks in this run")


@dataclass(frozen=True, slots=True)
class Restorer:
    """Frozen parts; nothing of a call is kept."""

    detector: Detector
    model: FaceModel
    masker: Masker
    options: FaceOptions
    upsampler: Upsampler = resize_background  # Lanczos
    replicas: tuple[Restorer, ...] = ()  # the same networks on further devices; their detectors are not used
    n_at_once: int = 1  # batches of faces that a device is given at the same time, each by a thread of its own
    n_detect: int = 1  # frames in one call of the detector
    identifier: Identifier | None = None  # of `persons`
    persons: PersonFilter | None = None  # whose faces are restored; None: everybody's
    landmarker: Landmarker = no_landmarks  # for the boxes that a person adds to a plan
    follower: Follower | None = None  # for faces known from a frame shortly before; None: each frame is looked at
    guard: Guard = Guard(1.0)  # chooses each face's strength
    coder: FaceCoder | None = None  # `model` in two halves, where it is a GFP-GAN network
    small_model: FaceModel | None = None  # of a smaller size, for faces that are shown small; None: `model`
    observer: Observer = unobserved  # told when each stage of a frame begins and ends
    files: NetworkFiles | None = None  # that the networks came from
    computes_in: str = ""  # runtime and precision of `model`

    def stream(self, frames: Iterable[Frame]) -> Iterator[Restored | Failed]:
        """Each frame restored, in order; a frame without a face comes out enlarged or untouched, none is dropped."""
        return self.stream_detected(self.detect(frames))

    def stream_detected(
        self, detected: Iterable[Detected | Failed], deflicker: Deflicker = iter, judge: Judge | None = None,
        average_codes: AverageCodes | None = None,
    ) -> Iterator[Restored | Failed]:
        """As `stream`, for frames whose faces are known.

        Args:
            deflicker: may change what the face network made of them.
            judge: chooses how much of it is pasted; None judges each frame's faces by themselves.
            average_codes: may change the latents of a GFP-GAN network; others have none.
        """
        idle = self._idle()
        faces_restored = self.restore_faces(map(self.align, detected), idle, average_codes)
        judged = (judge or self.judge)(deflicker(faces_restored))
        masked = self.mask_and_enlarge(judged, idle)
        return self.paste(masked)

    def faces_of(
        self, aligned: Iterable[AlignedFaces], average_codes: AverageCodes | None = None
    ) -> Iterator[FacesRestored | Failed]:
        """What the face network makes of frames whose faces are cut out, without anything that comes behind it."""
        return self.restore_faces(aligned, self._idle(), average_codes)

    @property
    def models(self) -> tuple[FaceModel, ...]:
        """The face networks, the one of the smallest faces first."""
        return (self.small_model, self.model) if self.small_model else (self.model,)

    def _idle(self) -> Idle:
        idle: Idle = SimpleQueue()
        for each in (self, *self.replicas) * self.n_at_once:
            idle.put(each)
        return idle

    def restore(self, frame: Frame) -> Restored:
        """One frame. Raises GfpError where it cannot be finished."""
        (out,) = self.stream([frame])
        if isinstance(out, Failed):
            raise out.error
        return out

    def detect(self, frames: Iterable[Frame]) -> Iterator[Detected | Failed]:
        """Each frame with its faces, `n_detect` frames at a time. Aligned pictures are not looked at."""
        if self.options.aligned:
            yield from (Detected(frame, ()) for frame in frames)
            return
        groups = batched(frames, count=lambda _: 1, n_full=self.n_detect, weigh=lambda frame: frame.image.nbytes)
        for group in groups:
            unknown = [frame for frame in group if frame.planned is None]
            found = iter(detect_together(self.detector, unknown, self.observer))
            yield from (next(found) if frame.planned is None else self._as_planned(frame) for frame in group)

    def follow(self, frame: Frame, faces: Sequence[Face]) -> Sequence[Face | None] | Failed:
        """Where faces of a frame shortly before or after are in this one; None for each that is not found there."""
        follower = self.follower
        if follower is None:
            return [None] * len(faces)
        with self.observer("detect"):
            return or_failed(frame, lambda: follow_together(follower, frame, faces), NO_MEMORY)

    def _as_planned(self, frame: Frame) -> Detected | Failed:
        """A frame whose faces a plan tells."""
        with self.observer("detect"):
            return or_failed(frame, lambda: faces_as_planned(frame, self.landmarker), NO_MEMORY)

    def align(self, detected: Detected | Failed) -> AlignedFaces | Failed:
        """The faces that are asked for, cut out of the frame."""
        if isinstance(detected, Failed):
            return detected
        start = time.monotonic() - detected.seconds
        work = partial(align_faces, detected, [each.size for each in self.models], self.options)
        with self.observer("align"):
            aligned = or_failed(detected.frame, lambda: self._wanted(work()), "not enough memory to cut out its faces")
        return aligned if isinstance(aligned, Failed) else replace(aligned, seconds=time.monotonic() - start)

    def _wanted(self, aligned: AlignedFaces) -> AlignedFaces:
        return self.persons.apply(aligned) if self.persons else aligned

    def restore_faces(
        self, aligned: Iterable[AlignedFaces | Failed], idle: Idle, average_codes: AverageCodes | None = None
    ) -> Iterator[FacesRestored | Failed]:
        """The crops of many frames through the face network together."""
        if average_codes and self.coder:
            encoded = self._on_devices(Restorer._encode_group, self._batches(aligned), idle)
            return self._on_devices(Restorer._decode_group, self._batches(average_codes(encoded)), idle)
        return self._on_devices(Restorer._restore_group, self._batches(aligned), idle)

    def judge(self, restored: Iterator[FacesRestored | Failed]) -> Iterator[FacesRestored | Failed]:
        """The frames with a verdict on each face: how strongly it is pasted, and whether it is the same person."""
        for each in restored:
            if isinstance(each, Failed):
                yield each
                continue
            with self.observer("identity"):
                judged = self.guard.judged(each)
            yield judged

    def mask_and_enlarge(self, restored: Iterable[FacesRestored | Failed], idle: Idle) -> Iterator[Masked | Failed]:
        """The masks of many frames' faces together, and each frame's background where a network enlarges it."""
        return self._on_devices(Restorer._mask_group, self._batches(restored), idle)

    def paste(self, masked: Iterable[Masked | Failed]) -> Iterator[Restored | Failed]:
        """The finished frames, made in a thread behind the networks."""
        return map_ahead(self._paste, masked, workers=1, depth=2, weigh_item=n_bytes_of, weigh_result=n_bytes_of)

    def _batches(self, items: Iterable[WithCrops]) -> Iterator[list[WithCrops]]:
        """Frames whose faces fill a batch together."""
        return batched(items, count=n_crops_of, n_full=max(1, self.options.batch_size), weigh=n_bytes_of)

    def _on_devices(
        self, work: Callable[[Restorer, list[T]], Iterable[R]], groups: Iterable[list[T]], idle: Idle
    ) -> Iterator[R]:
        """What `work` makes of each group, in order; where several can be in work, each is done by one that is idle."""

        def run(group: list[T]) -> Iterable[R]:
            restorer = idle.get()
            try:
                return work(restorer, group)
            finally:
                idle.put(restorer)

        n_workers = self.n_at_once * (1 + len(self.replicas))
        done = map_ahead(run, groups, workers=n_workers, depth=2 * n_workers) if n_workers > 1 else map(run, groups)
        return (each for group in done for each in group)

    def _restore_group(self, group: Sequence[AlignedFaces | Failed]) -> list[FacesRestored | Failed]:
        start = time.monotonic()
        crops = [crop for each in group if isinstance(each, AlignedFaces) for crop in each.crops]
        with self.observer("net"):
            results = iter(restore_by_size(self.models, crops, self.options.batch_size))
        share = (time.monotonic() - start) / max(len(crops), 1)
        return [each if isinstance(each, Failed) else _with_faces(each, results, share) for each in group]

    def _encode_group(self, group: Sequence[AlignedFaces | Failed]) -> list[EncodedFaces | Failed]:
        assert self.coder  # replicas hold the same networks
        start = time.monotonic()
        crops = [crop for each in group if isinstance(each, AlignedFaces) for crop in each.crops]
        with self.observer("net"):
            codes = iter(encode_crops(self.coder, crops, self.options.batch_size))
        share = (time.monotonic() - start) / max(len(crops), 1)
        return [each if isinstance(each, Failed) else _with_codes(each, codes, share) for each in group]

    def _decode_group(self, group: Sequence[EncodedFaces | Failed]) -> list[FacesRestored | Failed]:
        assert self.coder
        start = time.monotonic()
        frames = [each for each in group if isinstance(each, EncodedFaces)]
        crops = [crop for each in frames for crop in each.aligned.crops]
        codes = [code for each in frames for code in each.codes]
        with self.observer("net"):
            results = iter(decode_codes(self.coder, crops, codes, self.options.batch_size))
        share = (time.monotonic() - start) / max(len(crops), 1)
        return [
            each if isinstance(each, Failed) else _with_faces(each.aligned, results, share, each.network_s)
            for each in group
        ]

    def _mask_group(self, group: Sequence[FacesRestored | Failed]) -> list[Masked | Failed]:
        start = time.monotonic()
        frames = [each for each in group if isinstance(each, FacesRestored)]
        good = [face for each in frames for face in each.faces if not isinstance(face, FaceError)]
        masks: Iterator[Mask | FaceError] = iter(())
        if good and not self.options.aligned:
            with self.observer("mask"):
                masks = iter(mask_faces(self.masker, good))
        share = (time.monotonic() - start) / max(len(good), 1)
        return [each if isinstance(each, Failed) else self._masked(each, masks, share) for each in group]

    def _masked(self, restored: FacesRestored, masks: Iterator[Mask | FaceError], share: float) -> Masked | Failed:
        """A frame with its own of the masks, each of which took `share` seconds, and its background."""
        start = time.monotonic()
        aligned, faces, own = restored.aligned, restored.faces, list[Mask]()
        if not self.options.aligned:
            pairs = [(face, face if isinstance(face, FaceError) else next(masks)) for face in faces]
            faces = tuple(mask if isinstance(mask, FaceError) else face for face, mask in pairs)
            own = [mask for _, mask in pairs if not isinstance(mask, FaceError)]
        background = self._background(aligned.frame)
        if isinstance(background, Failed):
            return background
        seconds = restored.seconds + share * len(own) + time.monotonic() - start
        return Masked(
            aligned, faces, tuple(own), background, seconds, restored.network_s, restored.verdicts, restored.made
        )

    def _background(self, frame: Frame) -> Image | Failed | None:
        """The frame enlarged by a network; None where pasting does it by Lanczos, and for aligned pictures."""
        if self.upsampler is resize_background or self.options.aligned:
            return None
        with self.observer("background"):
            return or_failed(frame, lambda: self._enlarge(frame))

    def _paste(self, masked: Masked | Failed) -> Restored | Failed:
        """The frame with its faces pasted, or why it cannot be finished."""
        if isinstance(masked, Failed):
            return masked
        with self.observer("paste"):
            return or_failed(masked.aligned.frame, lambda: self._pasted(masked))

    def _pasted(self, masked: Masked) -> Restored:
        """The finished frame; where a network failed on a face the frame keeps its own."""
        start = time.monotonic()
        aligned, frame = masked.aligned, masked.aligned.frame
        outcomes = _outcomes_of(aligned.outcomes, masked)
        timings = {"network": masked.network_s, "total": masked.seconds}
        together = zip(aligned.crops, masked.faces, masked.made or masked.faces, masked.verdicts, strict=True)
        done = [
            (crop, face, made, verdict.strength)
            for crop, face, made, verdict in together
            if not isinstance(face, FaceError) and not isinstance(made, FaceError)
        ]
        crops, faces = tuple(crop for crop, *_ in done), tuple(face for _, face, *_ in done)
        made, strengths = [made for *_, made, _ in done], [strength for *_, strength in done]
        if self.options.aligned:
            result = _aligned_result(aligned, crops, faces, outcomes, strengths, timings)
            return replace(result, computed_in=self.computes_in)
        canvas = self._enlarge(frame) if masked.background is None else masked.background
        height, width = frame.image.shape[:2]
        ratio = canvas.shape[1] / width, canvas.shape[0] / height
        pasted = fade_in(faces, crops, masked.masks, strengths)
        paste_faces(canvas, pasted, crops, masked.masks, scale=ratio, strengths=strengths, made=made)
        size = canvas.shape[0], canvas.shape[1]
        alpha = None if frame.alpha is None else resize_background(frame.alpha, size)
        timings["total"] += time.monotonic() - start
        facts = aligned.faces, crops, faces, masked.masks, outcomes
        computed_in = self.computes_in if crops else ""
        return Restored(frame, canvas, self.options.scale, *facts, alpha, timings, computed_in)

    def _enlarge(self, frame: Frame) -> Image:
        """The frame's picture at its final size, an array of its own."""
        height, width = frame.image.shape[:2]
        size = max(1, round(height * self.options.scale)), max(1, round(width * self.options.scale))
        if lack := lacking(size[0] * size[1] * RESULT_BYTES * frame.image.itemsize):
            raise InputError(f"{frame.name}: not enough memory for the result; try a smaller --scale: {lack}")
        try:
            return self.upsampler(frame.image, size)
        except BackgroundError as error:
            raise BackgroundError(f"{frame.name}: {error}") from error


def _with_codes(aligned: AlignedFaces, codes: Iterator[FaceCode | FaceError], share: float) -> EncodedFaces:
    """A frame with its own of the codes, each of which took `share` seconds; a crowd's come without features."""
    own = [next(codes) for _ in aligned.crops]
    if len(own) > MOST_KEPT:
        own = [each if isinstance(each, FaceError) else replace(each, features=None) for each in own]
    return EncodedFaces(aligned, tuple(own), share * len(own))


def _with_faces(
    aligned: AlignedFaces, results: Iterator[NetworkFace], share: float, before_s: float = 0.0
) -> FacesRestored:
    """A frame with its own of the network's results, each of which took `share` seconds; a gray frame's are gray.

    Args:
        before_s: seconds that the network took for it before.
    """
    faces = [next(results) for _ in aligned.crops]
    if aligned.frame.is_gray:
        faces = [f if isinstance(f, FaceError) else np.asarray(without_colour(f), np.uint8) for f in faces]
    network_s = before_s + share * len(faces)
    return FacesRestored(aligned, tuple(faces), aligned.seconds + network_s, network_s)


def _outcomes_of(before: tuple[FaceOutcome, ...], masked: Masked) -> tuple[FaceOutcome, ...]:
    """The outcomes so far, with the verdict on each face that was restored, or why a network failed on it."""
    made = zip(masked.faces, masked.verdicts, strict=True)
    return tuple(_outcome_of(*next(made)) if each.status == "restored" else each for each in before)


def _outcome_of(face: NetworkFace, verdict: Verdict) -> FaceOutcome:
    if isinstance(face, FaceError):
        return FaceOutcome("failed", str(face))
    status: FaceStatus = "kept" if verdict.is_kept else "restored" if verdict.strength else "unchanged"
    return FaceOutcome(status, identity=verdict.identity, strength=verdict.strength)


def _aligned_result(
    aligned: AlignedFaces, crops: tuple[Crop, ...], faces: tuple[NDArray[np.uint8], ...],
    outcomes: tuple[FaceOutcome, ...], strengths: Sequence[float], timings: Mapping[str, float],
) -> Restored:  # fmt: skip
    """The network's face at its own size; it fills the whole picture."""
    frame = aligned.frame
    if not faces:
        raise InputError(f"{frame.name}: {outcomes[0].error}")
    mix = strengths[0] * faces[0].astype(np.float32) + (1 - strengths[0]) * crops[0].image
    size = faces[0].shape[0]
    masks: tuple[Mask, ...] = (np.ones((size, size), np.float32),)
    scale = size / frame.image.shape[0]
    alpha = None if frame.alpha is None else resize_background(to_8_bit(frame.alpha), (size, size))
    image = np.round(mix).astype(np.uint8)
    return Restored(frame, image, scale, aligned.faces, crops, faces, masks, outcomes, alpha, timings)
