"""Segments joined and muxed: times, sound, tags and what else the source holds."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from gfpcli.clip.mux import advance_timecode, plan_streams
from gfpcli.clip.pixels import Color
from gfpcli.clip.probe import OtherStream, probe
from gfpcli.clip.read import read_frames
from gfpcli.options import VideoOptions
from tests.clip.reencode import reencode
from tests.clips import faceless, ffmpeg, sound_of, times_of, write_clip

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


@pytest.mark.parametrize("codec", ["pcm_s16le", "libvorbis"])
def test_sound_that_players_do_not_know_in_mp4_becomes_aac(tmp_path: Path, codec: str) -> None:
    plain = write_clip(tmp_path / "plain.mp4", faceless(12), tone=True)
    source = tmp_path / "in.mkv"
    ffmpeg("-i", plain, "-c:v", "copy", "-c:a", codec, "-ac", 2, source)
    info = probe(source)
    mapped, notes = plan_streams(info, tmp_path / "out.mp4")
    assert [each.codec for each in mapped] == ["aac"] and "--audio copy keeps it" in notes[0]
    for name, audio in (("out.mp4", "copy"), ("out.mkv", "auto")):
        assert [each.codec for each in plan_streams(info, tmp_path / name, audio)[0]] == ["copy"]
    with av.open(str(reencode(source, tmp_path / "out.mp4"))) as container:
        assert container.streams.audio[0].codec_context.name == "aac"


def test_a_cover_of_matroska_stays_an_attachment(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "cover.jpg"), faceless(1)[0])
    plain = write_clip(tmp_path / "plain.mp4", faceless(4), tone=True)
    source, again = tmp_path / "in.mkv", tmp_path / "again.mkv"
    ffmpeg("-i", plain, "-c", "copy", "-attach", tmp_path / "cover.jpg", "-metadata:s:2", "mimetype=image/jpeg", source)
    assert plan_streams(probe(source), tmp_path / "out.mkv")[1] == []
    out = reencode(source, tmp_path / "out.mkv")
    data = out.read_bytes()
    assert (tmp_path / "cover.jpg").read_bytes() in data
    with av.open(str(out)) as container:
        assert [int(each.disposition) & 0x400 for each in container.streams.video] == [0, 0x400]
        assert container.streams.video[1].metadata["mimetype"] == "image/jpeg"
    assert plan_streams(probe(reencode(out, again)), again)[1] == []


@pytest.mark.parametrize(
    ("timecode", "rate", "seconds", "later"),
    [
        ("01:00:00:00", Fraction(25), 1, "01:00:01:00"),
        ("00:00:59;28", Fraction(30000, 1001), Fraction(2002, 30000), "00:01:00;02"),
        ("00:09:59;29", Fraction(30000, 1001), Fraction(1001, 30000), "00:10:00;00"),
        ("00:01:00;02", Fraction(30000, 1001), Fraction(1001, 30000), "00:01:00;03"),
        ("23:59:59:23", Fraction(24000, 1001), Fraction(1001, 24000), "00:00:00:00"),
    ],
)
def test_a_timecode_goes_on(timecode: str, rate: Fraction, seconds: Fraction, later: str) -> None:
    assert advance_timecode(timecode, rate, Fraction(seconds)) == later


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
def test_a_cut_moves_the_timecode(tmp_path: Path, suffix: str) -> None:
    plain = write_clip(tmp_path / "plain.mp4", faceless(50))
    source = tmp_path / "in.mov"
    ffmpeg("-i", plain, "-c", "copy", "-timecode", "01:00:00:00", source)
    assert plan_streams(probe(source), tmp_path / f"out{suffix}") == ([], [])  # it is kept: nothing to tell
    for start, timecode in ((0, "01:00:00:00"), (1, "01:00:01:00")):
        out = reencode(source, tmp_path / f"out{suffix}", VideoOptions(preset="ultrafast", start=start))
        with av.open(str(out)) as container:
            words = {key.lower(): value for key, value in container.streams.video[0].metadata.items()}
        assert words["timecode"] == timecode


def test_subtitles_and_chapters_end_with_the_cut(tmp_path: Path) -> None:
    plain = write_clip(tmp_path / "plain.mp4", faceless(75))
    (tmp_path / "s.srt").write_text("1\n00:00:00,500 --> 00:00:02,900\nhello\n\n2\n00:00:02,500 --> 00:00:02,900\nbye")
    (tmp_path / "m.txt").write_text(
        ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1500\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=1500\nEND=3000\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=2800\nEND=3000\n"
    )
    for suffix, start, n_chapters, first in ((".mkv", 0, 2, 0.5), (".mp4", 0, 2, 0.5), (".mkv", 0.4, 2, 0.1)):
        source = tmp_path / f"in{suffix}"
        codec = "mov_text" if suffix == ".mp4" else "srt"
        words = ("-map", 0, "-map", 1, "-map_chapters", 2, "-c:v", "copy", "-c:s", codec)
        ffmpeg("-i", plain, "-i", tmp_path / "s.srt", "-i", tmp_path / "m.txt", *words, source)
        out = reencode(source, tmp_path / f"out{suffix}", VideoOptions(preset="ultrafast", start=start, end=2.0))
        with av.open(str(out)) as container:
            ends = [float(each["end"] * each["time_base"]) for each in container.chapters()]
            packets = [each for each in container.demux(subtitles=0) if each.size > 2]
        spans = [(float(p.pts * p.time_base), float((p.pts + p.duration) * p.time_base)) for p in packets]
        assert len(ends) == n_chapters and max(ends) <= 2.001 - start
        assert len(spans) == 1 and abs(spans[0][0] - first) < 0.02 and abs(spans[0][1] - (2 - start)) < 0.05


@pytest.mark.parametrize("tag", ["title=x", "com.apple.quicktime.make=Maker"])
def test_a_date_and_free_tags_pass_twice(tmp_path: Path, tag: str) -> None:
    source = tmp_path / "in.mov"
    words = ("-metadata", "creation_time=2020-01-02T03:04:05Z", "-metadata", tag, "-movflags", "use_metadata_tags")
    ffmpeg("-i", write_clip(tmp_path / "plain.mp4", faceless(3)), "-c", "copy", *words, source)
    twice = reencode(reencode(source, tmp_path / "once.mp4"), tmp_path / "twice.mp4")
    with av.open(str(twice)) as container:
        tags = dict(container.metadata)
    key, value = tag.split("=")
    date, *again = tags["creation_time"].split(";")  # newer readers join the header's date with the free tag's
    assert date.rstrip("0Z.") == "2020-01-02T03:04:05" and len(again) < 2 and tags[key] == value
    assert tags["major_brand"] == "isom"


def test_a_track_of_positions_is_kept_where_it_fits_and_else_told(tmp_path: Path) -> None:
    (tmp_path / "gps.bin").write_bytes(bytes(range(256)) * 40)
    source = tmp_path / "in.mov"
    words = ("-map", 0, "-map", 1, "-c", "copy", "-tag:d", "gpmd")
    plain = write_clip(tmp_path / "plain.mp4", faceless(5))
    ffmpeg("-i", plain, "-f", "data", "-i", tmp_path / "gps.bin", *words, source)
    for suffix in (".mov", ".mp4"):
        assert plan_streams(probe(source), tmp_path / f"out{suffix}")[1] == []
        for name, path in (("a", source), ("b", reencode(source, tmp_path / f"out{suffix}"))):
            ffmpeg("-i", path, "-map", "0:d", "-c", "copy", "-f", "data", tmp_path / name)
        kept = (tmp_path / "b").read_bytes()
        assert kept == (tmp_path / "a").read_bytes() and len(kept) > 1000, (len(kept), (tmp_path / "a").stat().st_size)
    (note,) = plan_streams(probe(source), tmp_path / "out.mkv")[1]
    assert note == "data stream 1 (GoPro MET) does not fit into .mkv and is left out; .mov can hold it"
