"""One clip from its source to the finished file, stretch by stretch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np

from gfpcli.clip.deflicker import settle
from gfpcli.clip.encode import Encoder, Picture, segment_writer
from gfpcli.clip.flicker import Meter
from gfpcli.clip.mux import Kept, Segment, join_segments, mux, plan_streams
from gfpcli.clip.pixels import UPRIGHT
from gfpcli.clip.read import VideoInfo, read_frames, read_pictures
from gfpcli.clip.segments import Part, Recent, Work, numbered, stretches, time_of, undone
from gfpcli.clip.track import REACH, Steady, look_at, steady
from gfpcli.errors import InputError, OutputError
from gfpcli.files.atomic import os_errors_as, prepare_file, sha256_of, write_bytes
from gfpcli.options import VideoOptions
from gfpcli.pipeline.restorer import Restorer
from gfpcli.pipeline.steps import Detected
from gfpcli.stream import map_ahead, prefetch
from gfpcli.types import Failed, Frame, Restored

AHEAD = 8  # decoded frames that may wait
BEHIND = 4  # finished frames that may wait
LOOK_BACK = REACH + 2  # frames before a stretch that its first faces and cuts depend on
LOOK_EVERY = 2  # frames; measured: see README

Watch: TypeAlias = Callable[[int, int, int], None]
"""Hears how many frames are done, of how many, and how many faces are restored."""
Step: TypeAlias = Callable[[int, int], None]
"""Hears how many more frames are done and how many more faces restored."""
Claim: TypeAlias = Callable[[str], None]
"""Hears the SHA-256 of a file that is about to take its name."""


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
    looks = look_at(frames, restorer.detect, every=every, n_detect=restorer.n_detect)
    return steady(looks, smooth=options.smooth)


def restored(restorer: Restorer, steadied: Iterator[Steady], smooth: float) -> Iterator[tuple[Steady, Restored]]:
    """Each frame with what became of it. Raises GfpError for one that cannot be finished: a clip drops none."""
    waiting: deque[Steady] = deque()
    cuts: set[int] = set()

    def detected() -> Iterator[Detected]:
        for each in steadied:
            waiting.append(each)
            if each.is_cut:
                cuts.add(each.frame.index)
            yield Detected(each.frame, each.faces)

    for result in restorer.stream_detected(detected(), partial(settle, cuts=cuts, smooth=smooth)):
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
    pending = prepare_file(whole, clip.target)
    with os_errors_as(OutputError, clip.target):
        claim(sha256_of(whole))
    pending.publish()
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
