"""A clip decoded, encoded in segments, joined and muxed, without any network."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from gfpcli.clip.clip import Clip
from gfpcli.clip.encode import TimedImage, choose_encoder, encode_segment
from gfpcli.clip.mux import Trim, check_times, join_segments, mux, plan_streams
from gfpcli.clip.probe import probe
from gfpcli.clip.read import read_frames
from gfpcli.clip.segments import EncodedSegment
from gfpcli.options import VideoOptions

FAST = VideoOptions(preset="ultrafast")


def reencode(source: Path, target: Path, options: VideoOptions = FAST, *, n_segment: int = 5) -> Path:
    """In segments of `n_segment` frames, with the other streams of the source, from `--start` to `--end`."""
    info = probe(source)
    clip = Clip(info, (), choose_encoder(options, info, target), options, target)
    encoder = clip.encoder
    frames = list(read_frames(info, start=clip.begin, end=clip.stop))
    segments = []
    for i in range(0, len(frames), n_segment):
        path = target.with_name(f"segment{i}{encoder.suffix}")
        with encode_segment(path, encoder) as made:
            for frame in frames[i : i + n_segment]:
                made.write(TimedImage(frame.image, frame.pts, frame.duration or 1 / info.rate))
        n_frames = len(frames[i : i + n_segment])
        segments.append(segment_of(path.name, made.first, made.end, made.delay, n_frames=n_frames))
    joined = target.with_name(f"joined{encoder.suffix}")
    trim = Trim(segments[0].first if options.start else Fraction(0), clip.stop)
    join_segments(segments, target.parent, joined, encoder, trim.zero)
    mapped, _ = plan_streams(info, target)
    mux(joined, encoder, info, mapped, trim, target, strip=options.strip)
    assert check_times(segments, target.parent, trim.zero, target) == []
    return target


def segment_of(file: str, first: Fraction, end: Fraction, delay: int = 0, **facts: object) -> EncodedSegment:
    """A segment of which a test says only what it needs."""
    rest = {
        "sha256": "", "last": end, "context_start": first, "context_index": 0, "n_frames": 1, "n_faces": 0,
        "n_failed": 0, "flicker": 0.0, "n_pairs": 0, **facts,
    }  # fmt: skip
    return EncodedSegment(file=file, first=first, end=end, delay=delay, **rest)  # type: ignore[arg-type]
