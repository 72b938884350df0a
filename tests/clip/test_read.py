"""Frames of a clip: times, turns, fields, seeking."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av

from gfpcli.clip.probe import probe
from gfpcli.clip.read import read_frames
from tests.clip.reencode import reencode
from tests.clips import faceless, ffmpeg, times_of, write_clip


def test_a_turned_clip_comes_out_upright(tmp_path: Path) -> None:
    write_clip(tmp_path / "flat.mp4", faceless(3, 48, 96))
    for angle, red in ((90, (-1, 0)), (-90, (0, -1)), (180, (-1, -1))):
        source = tmp_path / f"turned{angle}.mp4"
        ffmpeg("-display_rotation", angle, "-i", tmp_path / "flat.mp4", "-c", "copy", source)
        image = next(read_frames(probe(source))).image
        assert image.shape == ((96, 48, 3) if angle != 180 else (48, 96, 3))
        row, column = red
        assert image[row, column, 2] > 200 > 60 > image[row, column, 0], angle
        out = reencode(source, tmp_path / f"out{angle}.mp4")
        with av.open(str(out)) as container:
            frame = next(container.decode(video=0))
            assert frame.rotation == 0 and (frame.height, frame.width) == image.shape[:2]


def test_pixels_that_are_not_square_reach_the_frame(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", faceless(2), aspect=Fraction(1, 2))
    assert next(read_frames(probe(source))).pixel_aspect == 0.5


def test_interlaced_fields_become_whole_frames_at_the_same_times(tmp_path: Path) -> None:
    write_clip(tmp_path / "flat.mp4", faceless(10))
    source = tmp_path / "in.mp4"
    ffmpeg("-i", tmp_path / "flat.mp4", "-vf", "setfield=tff", "-c:v", "libx264", "-flags", "+ilme+ildct", source)
    info = probe(source)
    assert info.is_interlaced
    times = times_of(source)[:-1]
    assert [frame.pts for frame in read_frames(info)] == times
    made = probe(reencode(source, tmp_path / "out.mp4"))
    assert not made.is_interlaced and made.n_frames == len(times)


def test_a_frame_can_be_sought(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", faceless(200, 32, 32), options={"g": "25", "preset": "veryfast"})
    info = probe(source)
    whole = list(read_frames(info))
    part = list(read_frames(info, start=Fraction(7), end=Fraction(15, 2)))
    assert [frame.pts for frame in part] == [frame.pts for frame in whole[175:188]]
    assert all((a.image == b.image).all() for a, b in zip(part, whole[175:188], strict=True))
