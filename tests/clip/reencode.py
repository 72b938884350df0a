"""A clip decoded, encoded in segments, joined and muxed, without any network."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from gfpcli.clip.clip import join, open_clip, publish, trim_of
from gfpcli.clip.encode import TimedImage, encode_segment
from gfpcli.clip.segments import EncodedSegment
from gfpcli.files.jobs import VideoJob
from gfpcli.options import VideoOptions

FAST = VideoOptions(preset="ultrafast")


def reencode(source: Path, target: Path, options: VideoOptions = FAST, *, n_segment: int = 5) -> Path:
    """In segments of `n_segment` frames, with the other streams of the source, from `--start` to `--end`."""
    clip = open_clip(VideoJob(source, target), options)
    encoder, info = clip.encoder, clip.info
    frames = list(clip.decode())
    segments = []
    for i in range(0, len(frames), n_segment):
        path = target.with_name(f"segment{i}{encoder.suffix}")
        with encode_segment(path, encoder) as made:
            for frame in frames[i : i + n_segment]:
                made.write(TimedImage(frame.image, frame.pts, frame.duration or 1 / info.rate, frame.alpha))
        n_frames = len(frames[i : i + n_segment])
        segments.append(segment_of(path.name, made.first, made.end, made.delay, n_frames=n_frames))
    trim = trim_of(clip, segments)
    _, notes = publish(clip, join(clip, segments, target.parent, trim), trim, 0)
    assert not [note for note in notes if "read back" in note]
    return target


def segment_of(file: str, first: Fraction, end: Fraction, delay: int = 0, **facts: object) -> EncodedSegment:
    """A segment of which a test says only what it needs."""
    rest = {
        "sha256": "", "last": end, "context_start": first, "context_index": 0, "n_frames": 1, "n_faces": 0,
        "n_failed": 0, "flicker": 0.0, "n_pairs": 0, **facts,
    }  # fmt: skip
    return EncodedSegment(file=file, first=first, end=end, delay=delay, **rest)  # type: ignore[arg-type]
