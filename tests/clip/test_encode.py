"""Which encoder and pixel format are chosen, and sizes that the format does not hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gfpcli.clip.encode import available, choose_encoder, choose_pix_fmt
from gfpcli.clip.probe import probe
from gfpcli.errors import OutputError, UsageError
from gfpcli.options import VideoOptions
from tests.clip.reencode import FAST, reencode
from tests.clips import faceless, write_clip


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
        (VideoOptions(codec="h264", preset="warp"), "out.mp4", OutputError, "does not start .*preset=warp"),
        (VideoOptions(codec="h264_vaapi"), "out.mp4", OutputError, "h264"),
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
