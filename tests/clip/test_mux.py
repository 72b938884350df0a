"""Segments joined and muxed: times, sound, tags and what else the source holds."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from gfpcli.clip.mux import plan_streams
from gfpcli.clip.pixels import Color
from gfpcli.clip.probe import OtherStream, probe
from gfpcli.clip.read import read_frames
from gfpcli.options import VideoOptions
from tests.clip.reencode import reencode
from tests.clips import faceless, sound_of, times_of, write_clip

UNEVEN = [0, 512, 1536, 2048, 4096, 4608, 5120, 5700, 9000, 9512, 10024, 12000]  # ticks


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_uneven_times_and_sound_are_exact(tmp_path: Path, suffix: str) -> None:
    source = write_clip(tmp_path / f"in{suffix}", faceless(12), ticks=UNEVEN, tone=True)
    out = reencode(source, tmp_path / f"out{suffix}", VideoOptions(preset="medium"))
    assert times_of(out) == times_of(source)
    assert times_of(out)[:-1] == [tick * Fraction(1, 12800) for tick in UNEVEN]
    assert sound_of(out) == sound_of(source) and len(sound_of(out)[0]) > 40


def test_a_clip_that_starts_late_keeps_its_start(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", faceless(7), ticks=[7000 + 512 * i for i in range(7)], tone=True)
    out = reencode(source, tmp_path / "out.mp4", VideoOptions(preset="medium"), n_segment=3)
    assert times_of(out) == times_of(source) and times_of(out)[0] > 0.5
    assert sound_of(out) == sound_of(source)


def test_tags_aspect_and_depth_are_kept(tmp_path: Path) -> None:
    source = write_clip(
        tmp_path / "in.mp4", faceless(3), codec="libx265", pix_fmt="yuv420p10le", color=9, transfer=14,
        aspect=Fraction(4, 3), options={"x265-params": "log-level=none", "preset": "ultrafast"},
    )  # fmt: skip
    info = probe(source)
    assert next(read_frames(info)).image.dtype == np.uint16
    assert (info.color, info.pixel_aspect) == (Color(1, 9, 14, 9), Fraction(4, 3))
    for target in ("out.mp4", "out.mkv"):
        made = probe(reencode(source, tmp_path / target))
        assert (made.codec, made.pix_fmt) == ("hevc", "yuv420p10le")
        assert (made.color, made.pixel_aspect) == (info.color, info.pixel_aspect)


@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "vp9", "prores"])
def test_each_codec_keeps_times(tmp_path: Path, codec: str) -> None:
    source = write_clip(tmp_path / "in.mp4", faceless(12, 64, 96), ticks=UNEVEN)
    suffix = ".mov" if codec == "prores" else ".mp4"
    presets = {"h264": "veryfast", "h265": "ultrafast", "av1": "12", "vp9": "8", "prores": ""}
    out = reencode(source, tmp_path / f"out{suffix}", VideoOptions(codec=codec, preset=presets[codec]))
    assert times_of(out)[:-1] == times_of(source)[:-1]


def test_streams_that_do_not_fit_are_told(tmp_path: Path) -> None:
    info = probe(write_clip(tmp_path / "in.mp4", faceless(2)))
    others = (
        OtherStream(1, "audio", "aac"), OtherStream(2, "audio", "wmav2"), OtherStream(3, "subtitle", "subrip"),
        OtherStream(4, "attachment", "ttf"), OtherStream(5, "subtitle", "hdmv_pgs_subtitle"),
    )  # fmt: skip
    mapped, notes = plan_streams(replace(info, others=others), tmp_path / "out.mp4")
    assert [(each.stream.index, each.codec) for each in mapped] == [(1, "copy"), (2, "aac"), (3, "mov_text")]
    assert len(notes) == 4 and ".mkv can hold it" in notes[-1]
    mapped, notes = plan_streams(replace(info, others=others), tmp_path / "out.mkv")
    assert [each.codec for each in mapped] == ["copy", "flac", "copy", "copy", "copy"] and len(notes) == 1
