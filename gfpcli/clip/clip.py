"""The walk of a clip: open it, track its faces, restore and encode each segment, join, mux, publish."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np

from gfpcli.clip.animation import (
    is_animated_webp,
    notes_of_animation,
    read_webp,
    webp_info,
    write_animation,
)
from gfpcli.clip.codes import average_codes
from gfpcli.clip.deflicker import deflicker
from gfpcli.clip.dissolve import MIXTURE_REACH
from gfpcli.clip.encode import Encoder, TimedImage, choose_encoder, encode_segment
from gfpcli.clip.flicker import FlickerMeter
from gfpcli.clip.follow import follow_faces
from gfpcli.clip.hold import Held, hold_strengths
from gfpcli.clip.label import label_tags, write_label, xmp_in
from gfpcli.clip.mux import Trim, check_times, join_segments, mux, plan_streams, segment_times, shown_times, stored_size
from gfpcli.clip.pixels import UPRIGHT, is_richer
from gfpcli.clip.probe import ANIMATED_WEBP, VideoInfo, frames_info, probe
from gfpcli.clip.read import read_frames, read_pictures
from gfpcli.clip.segments import (
    JOINED,
    ClipWorkspace,
    ContextFrames,
    EncodedSegment,
    ResumePoint,
    split_segments,
    time_of,
    unfinished,
)
from gfpcli.clip.track import FADE_REACH, TrackedFrame, detect_faces, find_dissolves, track_faces, window_reach
from gfpcli.errors import InputError, OutputError
from gfpcli.files.atomic import os_errors_as, prepare_file, sha256_of, write_bytes
from gfpcli.files.formats import ANIMATIONS, CONTAINERS
from gfpcli.files.jobs import VideoJob
from gfpcli.options import VideoOptions
from gfpcli.photo.codec import read_frame
from gfpcli.photo.label import Label
from gfpcli.photo.sheets import Layers
from gfpcli.pipeline.restorer import Restorer
from gfpcli.pipeline.steps import Detected, Share
from gfpcli.stream import map_ahead, prefetch
from gfpcli.types import Failed, Frame, Restored

MAX_DECODED = 8  # decoded frames that may wait
MAX_TRACKED = 8  # frames with their faces that may wait for the networks
MAX_RESTORED = 4  # finished frames that may wait for the encoder
DETECT_EVERY = 2  # frames, where the options leave it open; measured: see examples/video.md
LOOK_SECONDS = Fraction(1, 2)  # from one look for new faces to the next, where the options leave it open
LOOK_BYTES = 256 << 20  # of the frames that wait for the next look; with more they are looked at oftener

NTSC_NEAR = 0.005  # frames/s, by which people round these rates
MAX_TOLD = 5  # places that a note names

ClipProgress: TypeAlias = Callable[[int, int, int], None]  # told frames done, frames in all, and faces restored
SegmentProgress: TypeAlias = Callable[[int, int], None]  # told how many more frames are done and faces restored
RecordOutput: TypeAlias = Callable[[str], None]  # records the SHA-256 of a file that is about to be published


@dataclass(frozen=True, slots=True)
class Clip:
    """A source, and what is to be made of it; times are seconds of the clip's clock."""

    info: VideoInfo
    pictures: tuple[Path, ...]  # the files of a folder of frames
    encoder: Encoder
    options: VideoOptions
    target: Path
    label: Label | None = None  # of the finished file, before its faces are counted; None where none is wanted

    @property
    def begin(self) -> Fraction:
        """From where it is restored."""
        return self.info.start + Fraction(self.options.start).limit_denominator(1_000_000)

    @property
    def stop(self) -> Fraction | None:
        """Up to where it is restored; None = its end."""
        end = self.options.end
        return self.info.start + Fraction(end).limit_denominator(1_000_000) if end else None

    @property
    def n_frames(self) -> int:
        """About how many frames are restored."""
        info = self.info
        length = min(self.stop or info.end, info.end) - self.begin
        return max(0, min(info.n_frames, round(info.n_frames * length / max(info.end - info.start, Fraction(1, 1000)))))

    @property
    def detect_every(self) -> int:
        """Frames from one detection of faces to the next."""
        return self.options.detect_every or (1 if self.options.smooth == 0 else DETECT_EVERY)

    @property
    def look_every(self) -> int:
        """Frames from one look of the detector over whole frames to the next."""
        every, asked = self.detect_every, self.options.look_every
        if asked or self.options.smooth == 0:
            return max(every, asked)
        height, width = self.info.size
        most = LOOK_BYTES // (height * width * (6 if self.info.is_deep else 3))
        return max(every, min(int(self.info.rate * LOOK_SECONDS), most) // every * every)

    @property
    def n_context(self) -> int:
        """Frames before a segment that its first faces and cuts depend on."""
        followed = 0 if self.look_every == self.detect_every else 2 * self.look_every
        return max(window_reach(self.detect_every) + followed, MIXTURE_REACH + FADE_REACH) + 2

    def decode(self, resume: ResumePoint | None = None) -> Generator[Frame, None, None]:
        """Its frames, decoded in a thread ahead, from where `resume` says. Raises InputError."""
        start, index = (resume.start, resume.index) if resume else (self.begin, 0)
        if self.info.codec == ANIMATED_WEBP:
            frames = read_webp(self.info, start=start, end=self.stop, first_index=index)
            return prefetch(frames, depth=MAX_DECODED)
        if self.info.is_pictures:
            pictures = read_pictures(self.pictures, self.info, start=start, end=self.stop, first_index=index)
            return prefetch(pictures, depth=MAX_DECODED)
        return prefetch(read_frames(self.info, start=start, end=self.stop, first_index=index), depth=MAX_DECODED)


@dataclass(frozen=True, slots=True)
class ClipResult:
    """What became of a clip."""

    n_frames: int
    n_faces: int  # restored
    n_failed: int  # faces that the network failed on
    n_left: int  # faces that stay as in the input: unchanged or kept
    flicker: float | None  # grey levels that consecutive faces change more than the input's do; None without any
    size: tuple[int, int]  # (height, width) of the finished file
    notes: tuple[str, ...]  # lines about what of the source is changed or left out
    failed_at: tuple[float, ...] = ()  # s from its begin: the frames with faces that failed


def open_clip(job: VideoJob, options: VideoOptions) -> Clip:
    """The source examined and its encoder chosen. Raises GfpError."""
    if job.pictures:
        rate = exact_rate(options.rate)
        info = frames_info(read_frame(job.pictures[0], 0), len(job.pictures), rate, job.source)
    elif is_animated_webp(job.source):
        info = webp_info(job.source)
    else:
        info = probe(job.source, wanted_s=options.end)
    return Clip(info, job.pictures, choose_encoder(options, info, job.target), options, job.target)


def exact_rate(rate: float) -> Fraction:
    """A rate in frames/s as it is meant: 23.976 and 29.97 are 24000/1001 and 30000/1001."""
    ntsc = Fraction(round(rate * 1.001) * 1000, 1001)
    return ntsc if abs(rate - float(ntsc)) < NTSC_NEAR else Fraction(rate).limit_denominator(1001)


def restore_clip(
    clip: Clip, restorer: Restorer, workspace: ClipWorkspace, on_progress: ClipProgress, record_output: RecordOutput
) -> ClipResult:
    """Restores what is not restored yet, and gives the finished file its name.

    Raises:
        GfpError: the source cannot be read, or something cannot be written. Finished segments stay in `workspace`.
    """
    finished = workspace.segments
    count = counting(clip, finished, on_progress)
    resume = finished[-1].resume if finished else ResumePoint(clip.begin, 0)
    context: ContextFrames = deque(maxlen=clip.n_context)
    held = finished[-1].held if finished else ()
    with closing(clip.decode(resume)) as frames, closing(track_ahead(clip, restorer, frames)) as tracked:
        for number, segment in split_segments(unfinished(tracked, resume, context), len(finished)):
            path = workspace.path_of(number, clip.encoder.suffix)
            workspace.add(restore_segment(clip, restorer, segment, path, context, count, held=held))
            held = workspace.segments[-1].held
    return finish_clip(clip, workspace, record_output)


def counting(clip: Clip, finished: Sequence[EncodedSegment], on_progress: ClipProgress) -> SegmentProgress:
    """Adds up what it hears for `on_progress`, beginning with the finished segments, which are told at once."""
    counts = Counter[str]()

    def count(n_frames: int, n_faces: int) -> None:
        counts.update(frames=n_frames, faces=n_faces)
        on_progress(counts["frames"], clip.n_frames, counts["faces"])

    count(sum(segment.n_frames for segment in finished), sum(segment.n_faces for segment in finished))
    return count


def track_ahead(clip: Clip, restorer: Restorer, frames: Iterator[Frame]) -> Generator[TrackedFrame, None, None]:
    """As `track_clip`, in a thread of its own ahead of the face network; to be closed before `frames`."""
    return prefetch(track_clip(clip, restorer, frames), depth=MAX_TRACKED)


def track_clip(clip: Clip, restorer: Restorer, frames: Iterator[Frame]) -> Generator[TrackedFrame, None, None]:
    """Each frame with its faces, as the options ask."""
    every, look_every = clip.detect_every, clip.look_every
    if look_every == every or restorer.follower is None:
        detected = detect_faces(frames, restorer.detect, every=every)
    else:
        detected = follow_faces(frames, restorer.detect, restorer.follow, every=every, look_every=look_every)
    if clip.options.smooth > 0:
        detected = find_dissolves(detected)
    yield from track_faces(detected, smooth=clip.options.smooth, every=every)


def restore_frames(
    restorer: Restorer, tracked: Iterator[TrackedFrame], smooth: float, held: list[Held]
) -> Iterator[tuple[TrackedFrame, Restored]]:
    """Each frame with its restored image.

    Args:
        held: as of `hold_strengths`.

    Raises:
        GfpError: a frame cannot be finished: a clip drops none.
    """
    waiting: deque[TrackedFrame] = deque()
    cuts: set[int] = set()

    def detected() -> Iterator[Detected]:
        for each in tracked:
            waiting.append(each)
            if each.is_cut:
                cuts.add(each.frame.index)
            yield detected_of(each)

    steady = partial(deflicker, cuts=cuts, smooth=smooth)
    judge = partial(hold_strengths, guard=restorer.guard, cuts=cuts, held=held)
    codes = partial(average_codes, cuts=cuts, smooth=smooth) if smooth > 0 else None
    for result in restorer.stream_detected(detected(), steady, judge, codes):
        if isinstance(result, Failed):
            raise result.error
        yield waiting.popleft(), result


def detected_of(tracked: TrackedFrame) -> Detected:
    """The frame as the restorer takes it."""
    return Detected(tracked.frame, tracked.faces, shares=(Share(fade=tracked.fade),) * len(tracked.faces))


def restore_segment(
    clip: Clip, restorer: Restorer, tracked: Iterator[TrackedFrame], path: Path, context: ContextFrames,
    count: SegmentProgress, *, held: Sequence[Held] = (),
    layers_of: Callable[[Restored], Layers] = attrgetter("image", "alpha"),
) -> EncodedSegment:  # fmt: skip
    """Restores the frames of one segment and encodes them into `path`, in a thread behind the networks.

    Args:
        context: of the frames before; gets those of the segment.
        held: the faces of the frame before, whose strengths hold on.
        layers_of: what is encoded of each restored frame: a picture, and its transparency where it has some.

    Raises:
        GfpError: as `restore_clip`.
    """
    meter = FlickerMeter()
    faces: Counter[str] = Counter()  # by status
    failed_at: list[float] = []
    n_frames, holding = 0, list(held)
    with encode_segment(path, clip.encoder) as segment:

        def encode(pair: tuple[TrackedFrame, Restored]) -> Restored:
            each, result = pair
            duration = each.frame.duration or 1 / clip.info.rate
            image, alpha = layers_of(result)
            segment.write(TimedImage(image, time_of(each.frame), duration, alpha))
            save_frame(result, clip)
            meter.add(each, result.image)
            return result

        results = restore_frames(restorer, tracked, clip.options.smooth, holding)
        for result in map_ahead(encode, results, workers=1, depth=MAX_RESTORED):
            own = Counter(outcome.status for outcome in result.outcomes)
            faces.update(own)
            failed_at += [float(time_of(result.frame))] if own["failed"] else []
            n_frames += 1
            context.append((time_of(result.frame), result.frame.index))
            count(1, own["restored"])
    if segment.first is None:
        raise InputError(f"{clip.info.path}: no frame could be decoded")
    return EncodedSegment(
        file=path.name, sha256=sha256_of(path), first=segment.first, last=context[-1][0], end=segment.end,
        delay=segment.delay, context_start=context[0][0], context_index=context[0][1], n_frames=n_frames,
        n_faces=faces["restored"], n_failed=faces["failed"], flicker=meter.total, n_pairs=meter.n_pairs,
        n_kept=faces["kept"], n_unchanged=faces["unchanged"], failed_at=tuple(failed_at),
        held=tuple(holding),
    )  # fmt: skip


def save_frame(result: Restored, clip: Clip) -> None:
    """Writes the restored frame as PNG, where `--frames-dir` asks for it. Raises OutputError."""
    if clip.options.frames_dir:
        path = Path(clip.options.frames_dir) / clip.target.stem / f"{result.frame.index + 1:06d}.png"
        layers = [result.image] if result.alpha is None else [result.image, result.alpha]
        write_bytes(path, cv2.imencode(".png", np.dstack(layers).astype(result.image.dtype))[1].tobytes())


def finish_clip(clip: Clip, workspace: ClipWorkspace, record_output: RecordOutput) -> ClipResult:
    """Makes the finished file from all segments and publishes it. Raises GfpError."""
    segments = workspace.segments
    if not segments:
        raise InputError(f"{clip.info.path}: no frame between --start and --end")
    trim = trim_of(clip, segments)
    joined = workspace.joined
    if joined is None:
        joined = join(clip, segments, workspace.folder, trim)
        workspace.keep_joined(joined)
    n_pairs, n_frames = sum(each.n_pairs for each in segments), sum(each.n_frames for each in segments)
    n_faces = sum(each.n_faces for each in segments)
    size, notes = publish(clip, joined, trim, n_faces, record_output)
    if not clip.options.start and not clip.options.end and n_frames < clip.info.n_frames:
        notes.append(f"{clip.info.n_frames - n_frames} of its {clip.info.n_frames} packets gave no frame")
    n_kept, n_unchanged = sum(each.n_kept for each in segments), sum(each.n_unchanged for each in segments)
    if n_kept:
        notes.append(f"{n_kept} faces, over all frames, stay as they are: restored, they would be other people")
    if n_unchanged:
        notes.append(f"{n_unchanged} faces, over all frames, are left unchanged (--strength)")
    return ClipResult(
        n_frames=n_frames,
        n_faces=n_faces,
        n_failed=sum(each.n_failed for each in segments),
        n_left=n_kept + n_unchanged,
        flicker=sum(each.flicker for each in segments) / n_pairs if n_pairs else None,
        size=size,
        notes=(*notes_of(clip), *notes),
        failed_at=tuple(at - float(clip.info.start) for each in segments for at in each.failed_at),
    )


def trim_of(clip: Clip, segments: Sequence[EncodedSegment]) -> Trim:
    """Which part of the source the finished file holds; an animation has no time before its first frame."""
    is_moved = clip.options.start or clip.target.suffix.lower() in ANIMATIONS
    return Trim(segments[0].first if is_moved else Fraction(0), clip.stop)


def join(clip: Clip, segments: Sequence[EncodedSegment], folder: Path, trim: Trim) -> Path:
    """The file of all segments in `folder`. Raises OutputError: it cannot be written, or frames are missing."""
    joined = folder / f"{JOINED}{clip.encoder.suffix}"
    join_segments(segments, folder, joined, clip.encoder, trim.zero)
    check_times(segment_times(segments, folder, trim.zero), sum(each.n_frames for each in segments), joined)
    return joined


def publish(
    clip: Clip, joined: Path, trim: Trim, n_faces: int, record_output: RecordOutput = lambda digest: None
) -> tuple[tuple[int, int], list[str]]:
    """Adds to the joined frames what else the source holds, and gives the finished file its name.

    Args:
        n_faces: faces drawn in all frames, which the label tells.

    Returns:
        The file's (height, width), and a line for each stream of the source that is not copied and for times that came
        out otherwise.

    Raises:
        OutputError: something cannot be written, or frames are missing when it is read back.
    """
    whole = joined.with_name(f"whole{clip.target.suffix}")
    if clip.target.suffix.lower() in ANIMATIONS:
        notes = [*notes_of_animation(clip.info, clip.target), *write_animation(joined, clip.info, whole)]
        notes += [] if clip.label is None else [f"{clip.target.suffix[1:].upper()} animations hold no label"]
    else:
        mapped, notes = plan_streams(clip.info, clip.target, clip.options.audio)
        label, is_stripped = counted_label(clip, n_faces), clip.options.strip
        tags = label_tags(label, CONTAINERS[clip.target.suffix.lower()])
        mux(joined, clip.encoder, clip.info, mapped, trim, whole, strip=is_stripped, tags=tags)
        write_label(whole, label, None if is_stripped or clip.info.is_pictures else xmp_in(clip.info.path))
        meant = shown_times(joined)[0]
        notes += check_times(meant, len(meant), whole)
    size = stored_size(joined)
    pending = prepare_file(whole, clip.target)
    with os_errors_as(OutputError, clip.target):
        record_output(sha256_of(whole))
    pending.publish()
    return size, notes


def counted_label(clip: Clip, n_faces: int) -> Label | None:
    """What the finished file says of itself."""
    if clip.label is None or not clip.label.draws_faces:
        return clip.label
    return replace(clip.label, n_faces=n_faces)


def notes_of(clip: Clip) -> list[str]:
    """What of the source is changed, a line each."""
    info, notes = clip.info, []
    if info.is_interlaced:
        notes.append("it is interlaced: each pair of fields becomes one whole frame (bwdif)")
    if info.turn != UPRIGHT:
        notes.append("its frames are stored turned: they are written upright")
    if info.has_alpha and not clip.encoder.has_alpha:
        notes.append("its transparency is lost: .mov with --codec prores, .webm or .mkv with --codec vp9 keep it")
    notes += _notes_of_format(clip)
    notes += [*_notes_of_damage(info), *_notes_of_numbers(clip.pictures)]
    if clip.options.smooth == 0 and clip.detect_every > 1:
        notes.append(f"faces are detected in every {clip.detect_every}th frame; between them they are interpolated")
    return notes


def _notes_of_format(clip: Clip) -> list[str]:
    """What players of h264 can show."""
    made, asked = clip.encoder.pix_fmt, clip.options.pix_fmt
    if clip.encoder.stream != "h264" or asked != "auto":
        return []
    if made != "yuv420p":
        return [f"h264 with {made} plays in few players: --pix-fmt yuv420p plays everywhere"]
    if not clip.info.is_rgb and is_richer(clip.info.pix_fmt, made):
        return [f"its {clip.info.pix_fmt} becomes yuv420p, which players of h264 know: --pix-fmt chooses another"]
    return []


def listed(words: Sequence[str]) -> str:
    """The first places in a note, and how many more there are."""
    more = f" and {len(words) - MAX_TOLD} more" if len(words) > MAX_TOLD else ""
    return ", ".join(words[:MAX_TOLD]) + more


def _notes_of_damage(info: VideoInfo) -> list[str]:
    """Where packets of a recording were lost and where its clock jumps, from the clip's first frame on."""
    notes = []
    if info.broken:
        told = listed([f"{float(at - info.start):.2f} s" for at in info.broken])
        notes.append(f"packets were lost: frames may be damaged at {told}")
    if info.gaps:
        told = listed([f"{float(gap.by):.2f} s at {float(gap.at - info.start):.2f} s" for gap in info.gaps])
        notes.append(f"frames are missing: {told}; the frame before stays")
    if info.timeline.jumps:
        told = listed([f"{float(jump.at - info.start):.2f} s" for jump in info.timeline.jumps])
        notes.append(f"its clock jumps at {told}: the gap is closed")
    return notes


def _notes_of_numbers(pictures: Sequence[Path]) -> list[str]:
    """Whether numbers are missing in the names of a folder's pictures."""
    numbers = [int(found[-1]) for path in pictures if (found := re.findall(r"\d+", path.stem))]
    missing = numbers[-1] - numbers[0] + 1 - len(numbers) if numbers else 0
    if not 0 < missing <= len(numbers) == len(pictures):  # else the numbers do not count frames
        return []
    first = next(one + 1 for one, other in pairwise(numbers) if other > one + 1)
    return [f"{missing} numbers of its pictures are missing, from {first} on: no gap is left for them"]
