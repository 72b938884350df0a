"""Clips to frames and back: times, turns, depth, tags and everything that is carried over."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from gfpcli.clip.encode import Picture, available, choose_encoder, choose_pix_fmt, segment_writer
from gfpcli.clip.mux import Kept, Segment, join_segments, mux, plan_streams
from gfpcli.clip.pixels import Color, from_bgr, to_bgr
from gfpcli.clip.read import OtherStream, probe, read_frames
from gfpcli.errors import InputError, OutputError, UsageError
from gfpcli.options import VideoOptions
from tests.clips import faceless, ffmpeg, sound_of, times_of, write_clip

FAST = VideoOptions(preset="ultrafast")
UNEVEN = [0, 512, 1536, 2048, 4096, 4608, 5120, 5700, 9000, 9512, 10024, 12000]  # ticks


def through(source: Path, target: Path, options: VideoOptions = FAST, *, n_stretch: int = 5) -> Path:
    """A clip decoded, encoded in stretches of `n_stretch` frames, joined, and muxed with the rest of its source."""
    info = probe(source)
    encoder = choose_encoder(options, info, target)
    frames = list(read_frames(info))
    segments = []
    for i in range(0, len(frames), n_stretch):
        path = target.with_name(f"part{i}{encoder.suffix}")
        with segment_writer(path, encoder) as (write, written):
            for frame in frames[i : i + n_stretch]:
                write(Picture(frame.image, frame.pts, frame.duration))
        segments.append(Segment(path, written.first, written.end, written.delay))
    joined = target.with_name(f"joined{encoder.suffix}")
    join_segments(segments, joined, encoder, Fraction(0))
    carried, _ = plan_streams(info, target)
    mux(joined, encoder, info, carried, Kept(), target, strip=options.strip)
    return target


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_uneven_times_and_sound_are_exact(tmp_path: Path, suffix: str) -> None:
    source = write_clip(tmp_path / f"in{suffix}", faceless(12), ticks=UNEVEN, tone=True)
    out = through(source, tmp_path / f"out{suffix}", VideoOptions(preset="medium"))
    assert times_of(out) == times_of(source)
    assert times_of(out)[:-1] == [tick * Fraction(1, 12800) for tick in UNEVEN]
    assert sound_of(out) == sound_of(source) and len(sound_of(out)[0]) > 40


def test_a_clip_that_starts_late_keeps_its_start(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", faceless(7), ticks=[7000 + 512 * i for i in range(7)], tone=True)
    out = through(source, tmp_path / "out.mp4", VideoOptions(preset="medium"), n_stretch=3)
    assert times_of(out) == times_of(source) and times_of(out)[0] > 0.5
    assert sound_of(out) == sound_of(source)


def test_a_turned_clip_comes_out_upright(tmp_path: Path) -> None:
    write_clip(tmp_path / "flat.mp4", faceless(3, 48, 96))
    for angle, red in ((90, (-1, 0)), (-90, (0, -1)), (180, (-1, -1))):
        source = tmp_path / f"turned{angle}.mp4"
        ffmpeg("-display_rotation", angle, "-i", tmp_path / "flat.mp4", "-c", "copy", source)
        image = next(read_frames(probe(source))).image
        assert image.shape == ((96, 48, 3) if angle != 180 else (48, 96, 3))
        row, column = red
        assert image[row, column, 2] > 200 > 60 > image[row, column, 0], angle
        out = through(source, tmp_path / f"out{angle}.mp4")
        with av.open(str(out)) as container:
            frame = next(container.decode(video=0))
            assert frame.rotation == 0 and (frame.height, frame.width) == image.shape[:2]


def test_tags_aspect_and_depth_are_kept(tmp_path: Path) -> None:
    source = write_clip(
        tmp_path / "in.mp4", faceless(3), codec="libx265", pix_fmt="yuv420p10le", color=9, transfer=14,
        aspect=Fraction(4, 3), options={"x265-params": "log-level=none", "preset": "ultrafast"},
    )  # fmt: skip
    info = probe(source)
    assert next(read_frames(info)).image.dtype == np.uint16
    assert (info.color, info.pixel_aspect) == (Color(1, 9, 14, 9), Fraction(4, 3))
    for target in ("out.mp4", "out.mkv"):
        made = probe(through(source, tmp_path / target))
        assert (made.codec, made.pix_fmt) == ("hevc", "yuv420p10le")
        assert (made.color, made.pixel_aspect) == (info.color, info.pixel_aspect)


def test_pixels_that_are_not_square_reach_the_frame(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", faceless(2), aspect=Fraction(1, 2))
    assert next(read_frames(probe(source))).pixel_aspect == 0.5


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("span", [1, 2])
def test_colours_do_not_drift(smooth_image: object, matrix: int, span: int) -> None:
    image = smooth_image(64, 96)  # type: ignore[operator]
    color = Color(span, 1, 1, matrix)
    for given, step in ((image, 1), (image.astype(np.uint16) * 257, 257)):
        back = to_bgr(from_bgr(given, "yuv444p10le", color), is_deep=step > 1)
        off = back.astype(float) - given
        assert abs(off.mean()) < 0.3 * step and np.abs(off).mean() < 0.7 * step


def test_odd_sizes(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", faceless(3, 65, 81), pix_fmt="yuv444p")
    assert probe(through(source, tmp_path / "same.mp4")).size == (65, 81)
    padded = probe(through(source, tmp_path / "even.mp4", replace(FAST, pix_fmt="yuv420p")))
    assert (padded.size, padded.pix_fmt) == ((66, 82), "yuv420p")


def test_interlaced_fields_become_whole_frames_at_the_same_times(tmp_path: Path) -> None:
    write_clip(tmp_path / "flat.mp4", faceless(10))
    source = tmp_path / "in.mp4"
    ffmpeg("-i", tmp_path / "flat.mp4", "-vf", "setfield=tff", "-c:v", "libx264", "-flags", "+ilme+ildct", source)
    info = probe(source)
    assert info.is_interlaced
    times = times_of(source)[:-1]
    assert [frame.pts for frame in read_frames(info)] == times
    made = probe(through(source, tmp_path / "out.mp4"))
    assert not made.is_interlaced and made.n_frames == len(times)


def test_a_frame_can_be_sought(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", faceless(200, 32, 32), options={"g": "25", "preset": "veryfast"})
    info = probe(source)
    whole = list(read_frames(info))
    part = list(read_frames(info, start=Fraction(7), end=Fraction(15, 2)))
    assert [frame.pts for frame in part] == [frame.pts for frame in whole[175:188]]
    assert all((a.image == b.image).all() for a, b in zip(part, whole[175:188], strict=True))


def test_what_is_no_whole_video_is_refused(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mp4", faceless(60), tone=True, options={"crf": "1", "preset": "veryfast"})
    fast = tmp_path / "fast.mp4"
    ffmpeg("-i", whole, "-c", "copy", "-movflags", "+faststart", fast)
    (tmp_path / "cut.mp4").write_bytes(fast.read_bytes()[: fast.stat().st_size * 6 // 10])
    (tmp_path / "headless.mp4").write_bytes(whole.read_bytes()[:5000])
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("not a video")
    ffmpeg("-i", whole, "-vn", "-c", "copy", tmp_path / "sound.m4a")
    hdr = write_clip(tmp_path / "hdr.mp4", faceless(2), color=9, transfer=16)
    for name, told in (
        ("cut.mp4", "cut short"), ("headless.mp4", "not a video"), ("empty.mp4", "not a video"),
        ("text.mp4", "not a video"), ("sound.m4a", "no video stream"), ("absent.mp4", "no such file"),
        (hdr.name, r"HDR \(PQ\)"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=told) as caught:
            probe(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert len(list(read_frames(probe(tmp_path / "cut.mp4", wanted_s=0.8), end=Fraction(4, 5)))) == 20


def test_the_encoder_fits_the_flags_the_input_and_the_name(tmp_path: Path) -> None:
    info = probe(write_clip(tmp_path / "in.mp4", faceless(2)))
    named = {
        (suffix, source): choose_encoder(VideoOptions(), replace(info, codec=source), tmp_path / f"out{suffix}").stream
        for suffix in (".mp4", ".webm", ".mov") for source in ("h264", "hevc", "vp9", "mpeg4", "prores")
    }  # fmt: skip
    assert named == {
        (".mp4", "h264"): "h264", (".mp4", "hevc"): "hevc", (".mp4", "vp9"): "vp9", (".mp4", "mpeg4"): "h264",
        (".mp4", "prores"): "h264", (".webm", "h264"): "vp9", (".webm", "hevc"): "vp9", (".webm", "vp9"): "vp9",
        (".webm", "mpeg4"): "vp9", (".webm", "prores"): "vp9", (".mov", "h264"): "h264", (".mov", "hevc"): "hevc",
        (".mov", "vp9"): "vp9", (".mov", "mpeg4"): "h264", (".mov", "prores"): "prores",
    }  # fmt: skip
    for options, name, kind, told in (
        (VideoOptions(codec="h264"), "out.webm", UsageError, "choose --codec av1, vp9"),
        (VideoOptions(), "out.xyz", UsageError, ".mkv"),
        (VideoOptions(codec="h264", pix_fmt="rgb8"), "out.mp4", UsageError, "yuv420p"),
        (VideoOptions(codec="h264", preset="warp"), "out.mp4", OutputError, "does not start .*preset=warp"),
        (VideoOptions(codec="h264_vaapi"), "out.mp4", OutputError, "h264"),
    ):
        with pytest.raises(kind, match=told):
            choose_encoder(options, info, tmp_path / name)
    assert {"h264", "h265", "av1", "vp9", "prores"} <= set(available())


@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "vp9", "prores"])
def test_each_codec_keeps_times(tmp_path: Path, codec: str) -> None:
    source = write_clip(tmp_path / "in.mp4", faceless(12, 64, 96), ticks=UNEVEN)
    suffix = ".mov" if codec == "prores" else ".mp4"
    presets = {"h264": "veryfast", "h265": "ultrafast", "av1": "12", "vp9": "8", "prores": ""}
    out = through(source, tmp_path / f"out{suffix}", VideoOptions(codec=codec, preset=presets[codec]))
    assert times_of(out)[:-1] == times_of(source)[:-1]


def test_the_nearest_format_is_chosen() -> None:
    x264 = ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"]
    assert [choose_pix_fmt(each, x264) for each in ("yuvj422p", "bgra", "yuv444p12le", "rgb48le", "yuv411p")] == [
        "yuv422p", "yuv420p", "yuv444p10le", "yuv420p10le", "yuv420p",
    ]  # fmt: skip
    assert choose_pix_fmt("yuv444p12le", ["yuv420p"]) == "yuv420p"


def test_streams_that_do_not_fit_are_told(tmp_path: Path) -> None:
    info = probe(write_clip(tmp_path / "in.mp4", faceless(2)))
    others = (
        OtherStream(1, "audio", "aac"), OtherStream(2, "audio", "wmav2"), OtherStream(3, "subtitle", "subrip"),
        OtherStream(4, "attachment", "ttf"), OtherStream(5, "subtitle", "hdmv_pgs_subtitle"),
    )  # fmt: skip
    carried, notes = plan_streams(replace(info, others=others), tmp_path / "out.mp4")
    assert [(each.stream.index, each.codec) for each in carried] == [(1, "copy"), (2, "aac"), (3, "mov_text")]
    assert len(notes) == 4 and ".mkv can hold it" in notes[-1]
    carried, notes = plan_streams(replace(info, others=others), tmp_path / "out.mkv")
    assert [each.codec for each in carried] == ["copy", "flac", "copy", "copy", "copy"] and len(notes) == 1
