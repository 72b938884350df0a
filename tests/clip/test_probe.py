"""What is known of a file, and which files are refused."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from gfpcli.clip.probe import probe
from gfpcli.clip.read import read_frames
from gfpcli.errors import InputError
from tests.clips import faceless, ffmpeg, write_clip


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


def test_turned_pixels_that_are_not_square_are_turned_too(tmp_path: Path) -> None:
    flat = write_clip(tmp_path / "flat.mp4", faceless(2, 48, 96), aspect=Fraction(2, 1))
    ffmpeg("-display_rotation", 90, "-i", flat, "-c", "copy", tmp_path / "turned.mp4")
    info = probe(tmp_path / "turned.mp4")
    assert (info.size, info.pixel_aspect) == ((96, 48), Fraction(1, 2))
    assert next(read_frames(info)).pixel_aspect == 0.5


def test_a_raw_stream_has_the_rate_of_its_header(tmp_path: Path) -> None:
    source = tmp_path / "in.h264"
    ffmpeg("-i", write_clip(tmp_path / "in.mp4", faceless(50)), "-r", 50, "-c:v", "libx264", source)
    info = probe(source)
    assert (info.rate, info.end - info.start) == (50, Fraction(info.n_frames, 50))
    times = [frame.pts for frame in read_frames(info)]
    assert times == [Fraction(i, 50) for i in range(info.n_frames)]


def test_the_last_delay_of_a_gif_counts(tmp_path: Path) -> None:
    source = tmp_path / "in.gif"
    ffmpeg("-i", write_clip(tmp_path / "in.mp4", faceless(5)), "-final_delay", 70, source)
    frames = list(read_frames(probe(source)))
    assert [float(frame.duration or 0) for frame in frames] == [0.04] * 4 + [0.7]


def test_a_picture_is_named_as_one(tmp_path: Path) -> None:
    for suffix in (".jpg", ".png", ".webp", ".tif"):
        cv2.imwrite(str(tmp_path / f"in{suffix}"), faceless(1)[0])
        with pytest.raises(InputError, match="a picture, not a video: gfp restore takes it"):
            probe(tmp_path / f"in{suffix}")


def test_transparency_is_told_where_there_is_some(tmp_path: Path) -> None:
    opaque = write_clip(tmp_path / "in.mp4", faceless(3, 64, 64))
    ffmpeg("-i", opaque, tmp_path / "opaque.gif")
    clear = ("-vf", "format=rgba,colorchannelmixer=aa=0.5")
    pixels = np.full((64, 64, 4), 255, np.uint8)
    pixels[:20] = 0
    Image.fromarray(pixels).save(tmp_path / "clear.gif")
    ffmpeg("-i", opaque, *clear, "-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", tmp_path / "clear.webm")
    words = ("-c:v", "prores_ks", "-profile:v", 4, "-pix_fmt", "yuva444p10le")
    ffmpeg("-i", opaque, *clear, *words, tmp_path / "clear.mov")
    names = ("in.mp4", "opaque.gif", "clear.gif", "clear.webm", "clear.mov")
    assert [probe(tmp_path / name).has_alpha for name in names] == [False, False, True, True, True]


def test_a_tag_that_is_no_text_is_shown_as_far_as_it_is(tmp_path: Path) -> None:
    path, name = tmp_path / "a.mkv", "Jos\u00e9"
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=64x64:rate=5:duration=1", "-metadata", f"title={name}", path)
    path.write_bytes(path.read_bytes().replace(name.encode(), b"Jos\xe9!"))  # as Latin-1
    assert dict(probe(path).tags)["title"] == "Jos\ufffd!"
