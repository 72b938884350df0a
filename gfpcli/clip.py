"""One clip from its source to the finished file, stretch by stretch."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.align import cut_crop
from gfpcli.encode import Encoder, Picture, segment_writer
from gfpcli.errors import FaceError, InputError, OutputError
from gfpcli.images import read_frame, write_bytes
from gfpcli.mux import Kept, Segment, join_segments, mux, plan_streams
from gfpcli.options import VideoOptions
from gfpcli.paste import soft_mask
from gfpcli.pixels import UPRIGHT
from gfpcli.restorer import Restorer
from gfpcli.segments import Part, Work
from gfpcli.settle import settle
from gfpcli.stream import map_ahead, prefetch
from gfpcli.track import REACH, Look, Steady, look_at, same_face, steady
from gfpcli.types import Face, Failed, Frame, Image, Restored
from gfpcli.video import VideoInfo, read_frames
from gfpcli.weights import sha256_of

AHEAD = 8  # decoded frames that may wait
BEHIND = 4  # finished frames that may wait
SHORTEST, LONGEST = Fraction(2), Fraction(6)  # seconds: a stretch ends at a cut after the first, or with the second
MOST_FRAMES = 300  # of a stretch
LOOK_BACK = REACH + 2  # frames before a stretch that its first faces and cuts depend on
METER = 128  # px of the aligned faces that flicker is measured on
LOOK_EVERY = 2  # frames; measured: see README

Watch: TypeAlias = Callable[[int, int, int], None]
"""Hears how many frames are done, of how many, and how many faces are restored."""
Step: TypeAlias = Callable[[int, int], None]
"""Hears how many more frames are done and how many more faces restored."""
Claim: TypeAlias = Callable[[str], None]
"""Hears the SHA-256 of a file that is about to take its name."""
Recent: TypeAlias = deque[tuple[Fraction, int]]
"""Times and indices of the last finished frames."""
Seen = TypeVar("Seen", Look, Steady)


@dataclass(frozen=True, slots=True)
class Clip:
    """A source and what is to become of it."""

    info: VideoInfo
    pictures: tuple[Path, ...]  # the files of a folder of frames
    encoder: Encoder
    options: VideoOptions
    target: Path
    frames_name: str  # folder inside `--frames-dir`

    @property
    def begin(self) -> Fraction:
        """Seconds of the source's clock."""
        return self.info.start + Fraction(self.options.start).limit_denominator(1_000_000)

    @property
    def stop(self) -> Fraction | None:
        """Seconds of the source's clock; None = its end."""
        end = self.options.end
        return self.info.start + Fraction(end).limit_denominator(1_000_000) if end else None

    @property
    def n_frames(self) -> int:
        """About how many are restored."""
        info = self.info
        length = min(self.stop or info.end, info.end) - self.begin
        return max(0, min(info.n_frames, round(info.n_frames * length / max(info.end - info.start, Fraction(1, 1000)))))

    def frames(self, start: Fraction) -> Generator[Frame, None, None]:
        """Frames from `start` to the clip's end. Raises InputError."""
        if self.info.is_pictures:
            return read_pictures(self.pictures, self.info, start, self.stop)
        return read_frames(self.info, start=start, end=self.stop)


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a clip."""

    n_frames: int
    n_faces: int
    n_failed: int
    flicker: float | None  # grey levels that consecutive faces change more than the input's do; None without any
    notes: tuple[str, ...]


@dataclass(slots=True)
class Meter:
    """Flicker of one stretch: how much consecutive aligned faces change, more than the input's."""

    total: float = 0.0
    n_pairs: int = 0
    before: list[tuple[Face, NDArray[np.float32], NDArray[np.float32]]] = field(default_factory=list)

    def add(self, steadied: Steady, image: Image) -> None:
        """The next frame and its restored image."""
        now = []
        earlier = [] if steadied.is_cut else self.before
        for face in steadied.paths:
            try:
                old, new = _aligned(steadied.frame, steadied.frame.image, face), _aligned(steadied.frame, image, face)
            except FaceError:
                continue
            now.append((face, old, new))
            match = same_face(face, [each for each, _, _ in earlier])
            for _, was_old, was_new in (entry for entry in earlier if entry[0] is match):
                inside = soft_mask(METER) > 0.5
                change = np.abs(new - was_new)[inside].mean() - np.abs(old - was_old)[inside].mean()
                self.total += float(change)
                self.n_pairs += 1
        self.before = now


def _aligned(frame: Frame, image: Image, face: Face) -> NDArray[np.float32]:
    """A face of `frame` in its restored or own image, (METER, METER, 3) grey levels."""
    zoom = image.shape[1] / frame.image.shape[1], image.shape[0] / frame.image.shape[0]
    scaled = Face(face.box * np.tile(zoom, 2), (face.landmarks + 0.5) * zoom - 0.5, face.score)
    return cut_crop(image, scaled, METER, frame.pixel_aspect).image.astype(np.float32)


def restore_clip(clip: Clip, restorer: Restorer, work: Work, watch: Watch, claim: Claim) -> Done:
    """Restores what is not restored yet and puts the finished file in its place.

    Args:
        claim: hears the hash of the finished file just before that takes its name.

    Raises:
        GfpError: the source cannot be read, or something cannot be written. What was finished stays in `work`.
    """
    parts = work.parts
    last = parts[-1] if parts else None
    step = counted(clip, parts, watch)
    start, index = (last.look_back, last.look_back_index) if last else (clip.begin, 0)
    with closing(prefetch(clip.frames(start), depth=AHEAD)) as frames:
        steadied = steadied_frames(numbered(frames, index), restorer, clip.options)
        recent: Recent = deque(maxlen=LOOK_BACK)
        fresh = undone(steadied, last.last, recent) if last else steadied
        for number, stretch in groupby(stretches(fresh, len(parts)), key=lambda pair: pair[0]):
            path = work.path_of(number, clip.encoder.suffix)
            work.add(restore_stretch(clip, restorer, (each for _, each in stretch), path, recent, step))
    return finish(clip, work, claim)


def counted(clip: Clip, parts: Sequence[Part], watch: Watch) -> Step:
    """What adds up for `watch`, which hears at once of the parts that are done."""
    counts = np.array([sum(part.n_frames for part in parts), sum(part.n_faces for part in parts)])

    def step(n_frames: int, n_faces: int) -> None:
        counts[:] += (n_frames, n_faces)
        watch(int(counts[0]), clip.n_frames, int(counts[1]))

    step(0, 0)
    return step


def steadied_frames(frames: Iterator[Frame], restorer: Restorer, options: VideoOptions) -> Iterator[Steady]:
    """Each frame with its faces, found and steadied as the options ask."""
    every = 1 if options.smooth == 0 else options.detect_every or LOOK_EVERY
    return steady(look_at(frames, restorer.detect, every=every), smooth=options.smooth)


def numbered(frames: Iterator[Frame], first: int) -> Iterator[Frame]:
    """The frames with their index in the whole clip."""
    for frame in frames:
        yield replace(frame, index=frame.index + first) if first else frame


def undone(seen: Iterator[Seen], last: Fraction, recent: Recent) -> Iterator[Seen]:
    """The frames after `last`, that are not done yet; `recent` gets the ones that are."""
    for each in seen:
        if time_of(each.frame) > last:
            yield each
        else:
            recent.append((time_of(each.frame), each.frame.index))


def time_of(frame: Frame) -> Fraction:
    """Seconds."""
    return frame.pts or Fraction(0)


def stretches(seen: Iterator[Seen], number: int) -> Iterator[tuple[int, Seen]]:
    """Each frame with the number of its stretch, which depends on the frames since the stretch began only."""
    begun: Seen | None = None
    n_frames = 0
    for each in seen:
        age = time_of(each.frame) - time_of(begun.frame) if begun else Fraction(0)
        if begun and (each.is_cut and age >= SHORTEST or age >= LONGEST or n_frames >= MOST_FRAMES):
            number, n_frames, begun = number + 1, 0, None
        begun = begun or each
        n_frames += 1
        yield number, each


def restored(restorer: Restorer, steadied: Iterator[Steady], smooth: float) -> Iterator[tuple[Steady, Restored]]:
    """Each frame with what became of it. Raises GfpError for one that cannot be finished: a clip drops none."""
    waiting: deque[Steady] = deque()
    cuts: set[int] = set()

    def known() -> Iterator[tuple[Frame, tuple[Face, ...]]]:
        for each in steadied:
            waiting.append(each)
            if each.is_cut:
                cuts.add(each.frame.index)
            yield each.frame, each.faces

    for result in restorer.stream_known(known(), partial(settle, cuts=cuts, smooth=smooth)):
        if isinstance(result, Failed):
            raise result.error
        yield waiting.popleft(), result


def restore_stretch(
    clip: Clip, restorer: Restorer, steadied: Iterator[Steady], path: Path, recent: Recent, step: Step
) -> Part:
    """Restores one stretch and encodes it into `path`, in a thread behind the network."""
    meter = Meter()
    done: list[tuple[int, int]] = []  # faces restored and failed of each frame
    with segment_writer(path, clip.encoder) as (write, written):

        def deliver(pair: tuple[Steady, Restored]) -> tuple[Frame, Restored]:
            each, result = pair
            write(Picture(result.image, time_of(each.frame), each.frame.duration or 1 / clip.info.rate))
            keep_frame(result, clip)
            meter.add(each, result.image)
            return each.frame, result

        results = restored(restorer, steadied, clip.options.smooth)
        for frame, result in map_ahead(deliver, results, workers=1, depth=BEHIND):
            statuses = [outcome.status for outcome in result.outcomes]
            done.append((statuses.count("restored"), statuses.count("failed")))
            recent.append((time_of(frame), frame.index))
            step(1, done[-1][0])
    n_faces, n_failed = (sum(counts) for counts in zip(*done, strict=True))
    return Part(
        file=path.name, sha256=sha256_of(path), first=written.first or Fraction(0), last=recent[-1][0], end=written.end,
        delay=written.delay, look_back=recent[0][0], look_back_index=recent[0][1], n_frames=len(done), n_faces=n_faces,
        n_failed=n_failed, flicker=meter.total, n_pairs=meter.n_pairs,
    )  # fmt: skip


def keep_frame(result: Restored, clip: Clip) -> None:
    """The finished frame as PNG, where `--frames-dir` asks for it. Raises OutputError."""
    if clip.options.frames_dir:
        folder = Path(clip.options.frames_dir) / clip.frames_name
        data = cv2.imencode(".png", result.image)[1].tobytes()
        write_bytes(folder / f"{result.frame.index + 1:06d}.png", data)


def finish(clip: Clip, work: Work, claim: Claim) -> Done:
    """Joins the stretches, adds what else the source holds, and moves the whole file to its name. Raises GfpError."""
    if not work.parts:
        raise InputError(f"{clip.info.path}: no frame between --start and --end")
    zero = work.parts[0].first if clip.options.start else Fraction(0)
    notes = assemble(clip, work.segments(), Kept(zero, clip.stop), work.folder, claim)
    parts = work.parts
    n_pairs, n_frames = sum(part.n_pairs for part in parts), sum(part.n_frames for part in parts)
    if not clip.options.start and not clip.options.end and n_frames < clip.info.n_frames:
        notes.append(f"{clip.info.n_frames - n_frames} of its {clip.info.n_frames} packets gave no frame")
    return Done(
        n_frames=n_frames,
        n_faces=sum(part.n_faces for part in parts),
        n_failed=sum(part.n_failed for part in parts),
        flicker=sum(part.flicker for part in parts) / n_pairs if n_pairs else None,
        notes=(*notes_of(clip.info), *notes),
    )


def assemble(
    clip: Clip, segments: Sequence[Segment], kept: Kept, folder: Path, claim: Claim = lambda digest: None
) -> list[str]:
    """The finished file from its stretches, made in `folder`; gives a line for each stream that is not copied."""
    joined, whole = folder / f"joined{clip.encoder.suffix}", folder / f"whole{clip.target.suffix}"
    join_segments(segments, joined, clip.encoder, kept.zero)
    carried, notes = plan_streams(clip.info, clip.target)
    mux(joined, clip.encoder, clip.info, carried, kept, whole, strip=clip.options.strip)
    try:
        with whole.open("rb") as file:
            os.fsync(file.fileno())  # a name must not outlive its content when the power fails
        claim(sha256_of(whole))
        whole.replace(clip.target)
    except OSError as error:
        raise OutputError(f"{clip.target}: {error.strerror or error}") from error
    return notes


def notes_of(info: VideoInfo) -> list[str]:
    """What of the source is changed, a line each."""
    notes = []
    if info.is_interlaced:
        notes.append("it is interlaced: each pair of fields becomes one whole frame (bwdif)")
    if info.turn != UPRIGHT:
        notes.append("its frames are stored turned: they are written upright")
    if info.has_alpha:
        notes.append("its transparency is lost")
    return notes


def read_pictures(
    files: Sequence[Path], info: VideoInfo, start: Fraction, stop: Fraction | None
) -> Generator[Frame, None, None]:
    """The pictures of a folder as frames at its rate. Raises InputError, for pictures of another size too."""
    first = max(0, math.ceil(start * info.rate))
    last = len(files) if stop is None else min(len(files), math.ceil(stop * info.rate))
    for index in range(first, last):
        frame = read_frame(files[index], index)
        if frame.image.shape[:2] != info.size:
            height, width = frame.image.shape[:2]
            first_one = f"{info.size[1]}x{info.size[0]}"
            raise InputError(f"{files[index]}: {width}x{height}, but the first picture is {first_one}")
        yield replace(frame, index=index - first, pts=index / info.rate, duration=1 / info.rate)
