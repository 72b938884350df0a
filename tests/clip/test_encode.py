"""Which encoder and pixel format are chosen, and sizes that the format does not hold."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from gfpcli.clip.clip import Clip, notes_of
from gfpcli.clip.encode import TimedImage, available, choose_encoder, choose_pix_fmt, encode_segment
from gfpcli.clip.probe import probe
from gfpcli.clip.read import read_frames
from gfpcli.errors import OutputError, UsageError
from gfpcli.options import VideoOptions
from tests.clip.reencode import FAST, reencode
from tests.clips import faceless, ffmpeg, talking, write_clip


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
        (".mov", "vp9"): "h264", (".mov", "mpeg4"): "h264", (".mov", "prores"): "prores",
    }  # fmt: skip
    for options, name, kind, told in (
        (VideoOptions(codec="h264"), "out.webm", UsageError, "choose --codec av1, vp9"),
        (VideoOptions(), "out.xyz", UsageError, ".mkv"),
        (VideoOptions(codec="h264", pix_fmt="rgb8"), "out.mp4", UsageError, "yuv420p"),
        (VideoOptions(codec="h264", preset="warp"), "out.mp4", UsageError, "libx264 takes ultrafast, .*placebo"),
        (VideoOptions(codec="h264", crf=60), "out.mp4", UsageError, "takes 0 to 51"),
        (VideoOptions(codec="vp9", preset="slow"), "out.mp4", UsageError, r"takes -8 to 8 \(faster\)"),
        (VideoOptions(codec="prores", preset="slow"), "out.mov", UsageError, "has no such setting"),
        (VideoOptions(codec="h264_nvenc"), "out.mp4", OutputError, "needs its graphics card .*--codec h264 needs none"),
    ):
        with pytest.raises(kind, match=told):
            choose_encoder(options, info, tmp_path / name)
    assert {"h264", "h265", "av1", "vp9", "prores"} <= set(available())


def test_the_nearest_format_is_chosen() -> None:
    x264 = ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"]
    assert [choose_pix_fmt(each, x264) for each in ("yuvj422p", "bgra", "yuv444p12le", "rgb48le", "yuv411p")] == [
        "yuv422p", "yuv420p", "yuv444p10le", "yuv420p10le", "yuv420p",
    ]  # fmt: skip
    assert choose_pix_fmt("yuv444p12le", ["yuv420p"]) == "yuv420p"


def test_odd_sizes(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", faceless(3, 65, 81), pix_fmt="yuv444p")
    assert probe(reencode(source, tmp_path / "same.mp4")).size == (65, 81)
    padded = probe(reencode(source, tmp_path / "even.mp4", replace(FAST, pix_fmt="yuv420p")))
    assert (padded.size, padded.pix_fmt) == ((66, 82), "yuv420p")


ENCODED = """
import sys, hashlib
from fractions import Fraction
from pathlib import Path
from gfpcli.clip.encode import TimedImage, choose_encoder, encode_segment
from gfpcli.clip.probe import probe
from gfpcli.clip.read import read_frames
from gfpcli.options import VideoOptions

info = probe(Path(sys.argv[1]))
out = Path(sys.argv[2])
with encode_segment(out, choose_encoder(VideoOptions(), info, out)) as made:
    for frame in read_frames(info):
        made.write(TimedImage(frame.image, frame.pts, Fraction(1, 25)))
print(hashlib.sha256(out.read_bytes()).hexdigest())
"""


def test_the_same_frames_give_the_same_bytes_whatever_the_memory_held(tmp_path: Path) -> None:
    frames = [cv2.resize(frame, (240, 136)) for frame in talking(40)]
    source = write_clip(tmp_path / "in.mp4", frames)
    digests = set()
    for fill in ("85", "170"):  # with which the system's allocator fills new memory
        words = [sys.executable, "-c", ENCODED, str(source), str(tmp_path / f"{fill}.mp4")]
        env = {**os.environ, "MALLOC_PERTURB_": fill, "MALLOC_MMAP_THRESHOLD_": "1000000000"}
        digests.add(subprocess.run(words, env=env, check=True, capture_output=True, text=True).stdout)
    assert len(digests) == 1


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm"])
def test_the_same_clip_gives_the_same_file(tmp_path: Path, suffix: str) -> None:
    source = write_clip(tmp_path / "in.mp4", faceless(12, 72, 80), tone=True)
    options = replace(FAST, preset="8") if suffix == ".webm" else FAST
    one, two = (reencode(source, tmp_path / f"{name}{suffix}", options).read_bytes() for name in ("one", "two"))
    assert one == two


def test_h264_is_made_so_that_players_show_it(tmp_path: Path) -> None:
    info = probe(write_clip(tmp_path / "in.mp4", faceless(2)))
    for codec, pix_fmt, made, told in (
        ("prores", "yuv422p10le", "yuv420p", "its yuv422p10le becomes yuv420p"),
        ("mpeg4", "yuv444p", "yuv420p", "--pix-fmt chooses another"),
        ("h264", "yuv444p", "yuv444p", "plays in few players: --pix-fmt yuv420p"),
        ("h264", "yuv420p", "yuv420p", ""),
        ("mjpeg", "yuvj420p", "yuv420p", ""),
        ("gif", "bgra", "yuv420p", ""),
    ):
        changed = replace(info, codec=codec, pix_fmt=pix_fmt)
        clip = Clip(changed, (), choose_encoder(VideoOptions(), changed, tmp_path / "o.mp4"), VideoOptions(), tmp_path)
        notes = "; ".join(notes_of(clip))
        assert clip.encoder.pix_fmt == made and told in notes and bool(notes) == bool(told), (codec, pix_fmt, notes)


@pytest.mark.parametrize(("codec", "pix_fmt"), [("libx264", "yuv420p"), ("libx264rgb", "rgb24")])
def test_a_patch_keeps_its_colour_read_by_the_tag(codec: str, pix_fmt: str, tmp_path: Path) -> None:
    """The source has no tag; enlarged to HD the output has one, by which players read the same green."""
    green = np.full((360, 640, 3), (60, 187, 70), np.uint8)
    source = tmp_path / "in.mp4"
    cv2.imwrite(str(tmp_path / "in.png"), green)
    words = ("-vf", "scale=out_color_matrix=bt601", "-pix_fmt", pix_fmt, "-crf", 1)
    ffmpeg("-loop", 1, "-t", 0.2, "-i", tmp_path / "in.png", "-c:v", codec, *words, source)
    info = probe(source)
    for scale in (1.0, 2.0):
        encoder = choose_encoder(replace(FAST, scale=scale, crf=1), info, tmp_path / "out.mp4")
        out = tmp_path / f"out{scale}.mp4"
        with encode_segment(out, encoder) as made:
            for frame in read_frames(info):
                image = cv2.resize(frame.image, None, fx=scale, fy=scale)
                made.write(TimedImage(image, frame.pts or Fraction(0), Fraction(1, 25)))
        with av.open(str(out)) as container:
            picture = next(container.decode(video=0))
        tag = int(picture.colorspace)
        matrix = tag if tag != 2 else 1 if scale == 2 else 6  # as players do
        shown = picture.reformat(format="bgr24", src_colorspace=matrix).to_ndarray()
        assert np.abs(shown.astype(int) - green[0, 0]).max() < 3, (scale, tag)
        assert tag != 0
