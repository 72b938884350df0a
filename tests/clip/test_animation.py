"""GIF and WebP animations as outputs and as inputs."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gfpcli.clip.animation
from gfpcli.clip.animation import notes_of_animation, write_animation
from gfpcli.clip.clip import open_clip
from gfpcli.clip.encode import choose_encoder
from gfpcli.clip.probe import probe
from gfpcli.errors import OutputError, UsageError
from gfpcli.files.jobs import VideoJob
from gfpcli.options import VideoOptions
from tests.clip.reencode import reencode
from tests.clips import faceless, ffmpeg, write_clip

PLAIN = VideoOptions()
DELAYS = [40, 80, 120, 40, 200, 40, 400]  # ms


def animation(path: Path, *, loop: int, alpha: int = 255) -> Path:
    """Frames of the delays above, the left half of each with that alpha."""
    pictures = []
    for frame in faceless(len(DELAYS), 64, 64):
        rgba = np.dstack([frame[..., ::-1], np.full(frame.shape[:2], 255, np.uint8)])
        rgba[:, :32, 3] = alpha
        pictures.append(Image.fromarray(rgba if alpha < 255 else rgba[..., :3].copy()))
    more = {"lossless": True} if path.suffix == ".webp" else {"disposal": 2}  # lossy, Pillow makes one of two frames
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=DELAYS, loop=loop, **more)
    return path


def shown(path: Path) -> tuple[list[float], list[np.ndarray], int | None]:
    """Delays, pictures (RGBA) and loop count as Pillow reads them."""
    delays, pictures = [], []
    with Image.open(path) as picture:
        for i in range(picture.n_frames):
            picture.seek(i)
            pictures.append(np.asarray(picture.convert("RGBA")))
            delays.append(picture.info["duration"])
        return delays, pictures, picture.info.get("loop")


@pytest.mark.parametrize("made", [".gif", ".webp"])
@pytest.mark.parametrize("source", [".gif", ".webp"])
def test_delays_loops_and_transparency_stay(source: str, made: str, tmp_path: Path) -> None:
    given = animation(tmp_path / f"in{source}", loop=3, alpha=0)
    out = reencode(given, tmp_path / f"out{made}", PLAIN, n_segment=3)
    delays, pictures, loop = shown(out)
    assert delays == DELAYS
    assert loop == 3 + (source == ".gif") - (made == ".gif")  # GIF counts how often it is repeated
    assert all((each[:, :30, 3] == 0).all() and (each[:, 34:, 3] == 255).all() for each in pictures)
    again = open_clip(VideoJob(out, out), PLAIN)
    frames = list(again.decode())
    assert [float(frame.pts or 0) for frame in frames] == [each / 1000 for each in [0, *accumulate(DELAYS[:-1])]]
    assert [float(frame.duration or 0) * 1000 for frame in frames] == pytest.approx(DELAYS)
    assert frames[0].alpha is not None and again.info.has_alpha
    error = np.abs(frames[2].image[:, 36:].astype(float) - faceless(3, 64, 64)[2][:, 36:]).mean()
    assert error < (4 if made == ".webp" else 9), error


def test_an_opaque_clip_becomes_an_opaque_animation_for_ever(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", faceless(10, 64, 64), tone=True)
    for suffix in (".gif", ".webp"):
        out = reencode(source, tmp_path / f"out{suffix}", PLAIN)
        delays, pictures, loop = shown(out)
        assert (delays, loop) == ([40] * 10, 0) and all((each[..., 3] == 255).all() for each in pictures)
        told = notes_of_animation(probe(source), out)
        assert told[0] == f"audio stream 1 (aac) is left out: {suffix} holds pictures only"
        assert any("256 colours" in line for line in told) == (suffix == ".gif")
        assert not open_clip(VideoJob(out, out), PLAIN).info.has_alpha
        part = reencode(source, tmp_path / f"part{suffix}", replace(PLAIN, start=0.2))
        assert shown(part)[0] == [40] * 5


def test_a_gif_of_more_than_50_frames_a_second_leaves_some_out_and_tells_so(tmp_path: Path) -> None:
    ticks = [round(12800 * i / 60) for i in range(60)]
    source = write_clip(tmp_path / "in.mp4", faceless(60, 64, 64), ticks=ticks)
    reencode(source, tmp_path / "out.webp", PLAIN)
    assert len(shown(tmp_path / "out.webp")[0]) == 60
    info = open_clip(VideoJob(source, source), PLAIN).info
    (note,) = write_animation(tmp_path / "joined.mov", info, tmp_path / "out.gif")
    delays = shown(tmp_path / "out.gif")[0]
    assert note == f"{60 - len(delays)} of 60 frames are left out: a .gif shows 50 a second"
    assert min(delays) >= 20 and abs(sum(delays) - 1000) <= 20 and len(delays) >= 29


def test_an_animation_that_lacks_frames_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_clip(tmp_path / "in.mp4", faceless(10, 64, 64))
    true = gfpcli.clip.animation.run_ffmpeg

    def cut(command: list[str], target: Path) -> None:
        true([*command[:-1], "-t", "0.3", command[-1]], target)

    monkeypatch.setattr(gfpcli.clip.animation, "run_ffmpeg", cut)
    with pytest.raises(OutputError, match=r"read back, it shows \d of 10 frames"):
        reencode(source, tmp_path / "out.gif", PLAIN)


def test_settings_of_films_are_refused(tmp_path: Path) -> None:
    info = probe(write_clip(tmp_path / "in.mp4", faceless(2, 64, 64)))
    for options in (VideoOptions(codec="h264"), VideoOptions(crf=3), VideoOptions(preset="fast")):
        with pytest.raises(UsageError, match="an animation has none: leave it out"):
            choose_encoder(options, info, tmp_path / "out.gif")


def test_a_still_webp_is_a_picture_and_a_gif_without_a_loop_plays_once(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", faceless(5, 64, 64))
    ffmpeg("-i", source, "-loop", -1, tmp_path / "once.gif")
    assert probe(tmp_path / "once.gif").n_plays == 1
    assert shown(reencode(tmp_path / "once.gif", tmp_path / "out.gif", PLAIN))[2] is None
    assert shown(reencode(tmp_path / "once.gif", tmp_path / "out.webp", PLAIN))[2] == 1
    end = open_clip(VideoJob(tmp_path / "out.webp", tmp_path / "x.mp4"), PLAIN).info.end
    assert end == Fraction(1, 5)
