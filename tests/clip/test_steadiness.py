"""Steadiness of clips whose figures are known."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from gfpcli.cli.app import app
from gfpcli.clip.steadiness import SteadinessMeter
from gfpcli.clip.track import TrackedFrame
from gfpcli.pipeline.align import TEMPLATE_512
from gfpcli.types import Face, Frame, Image
from tests.clips import faceless, talking, write_clip


def face(x: float = 0) -> Face:
    return Face(np.array([20.0 + x, 20, 180 + x, 180]), TEMPLATE_512 * 0.39 + (x, 0), 0.9)


def measured(images: list[Image], restored: list[Image], shakes: list[float]) -> SteadinessMeter:
    """Faces of the reference stand still; those of the restored clip are off by `shakes`."""
    meter = SteadinessMeter()
    for i, (before, after, shake) in enumerate(zip(images, restored, shakes, strict=True)):
        meter.add(TrackedFrame(Frame(i, before, ""), (face(),), False, (face(),)), after, (face(shake),))
    return meter


def test_what_stands_still_has_no_error_and_what_is_the_same_has_the_same() -> None:
    still = [talking(1)[0]] * 5
    result = measured(still, still, [0] * 5).result()
    assert result.flicker == result.warping == result.jitter == (0, 0) and (result.n_frames, result.n_faces) == (5, 5)
    moving = talking(5)
    same = measured(moving, moving, [0] * 5).result()
    assert all(pair and pair[0] == pair[1] > 0 for pair in (same.flicker, same.warping, same.detail))


def test_a_known_flicker_and_a_known_shake_are_found() -> None:
    still = [np.clip(talking(1)[0], 20, 220)] * 6
    flashed = [np.asarray(each + 6 * (i % 2), np.uint8) for i, each in enumerate(still)]
    result = measured(still, flashed, [0, 1, 0, 1, 0, 1]).result()
    assert result.flicker == (pytest.approx(6, abs=0.01), 0) and result.warping == (pytest.approx(6, abs=0.01), 0)
    eye_distance = np.hypot(*(face().landmarks[1] - face().landmarks[0]))
    assert result.jitter == (pytest.approx(100 * 2 / eye_distance), 0)


def test_movement_is_no_warping_error_and_blur_is_lost_detail() -> None:
    photo = cv2.GaussianBlur(talking(1)[0], (0, 0), 2)
    moving = [np.asarray(np.roll(photo, 2 * i, axis=1), np.uint8) for i in range(5)]
    result = measured(moving, [np.asarray(cv2.GaussianBlur(each, (0, 0), 2), np.uint8) for each in moving], [0] * 5)
    measures = result.result()
    assert measures.warping and measures.flicker and measures.warping[1] < 0.2 * measures.flicker[1]
    assert measures.detail and measures.detail[0] < 0.7 * measures.detail[1]


def gfp_eval(*words: object) -> Result:
    return CliRunner().invoke(app, ["eval", "--video", *map(str, words)])


def test_two_clips_by_the_command(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", talking(4))
    large = write_clip(tmp_path / "large.mp4", [np.asarray(cv2.resize(each, (400, 400))) for each in talking(4)])
    done = gfp_eval(large, clip)
    assert done.exit_code == 0 and "warping error" in done.stdout and "4 frames" in done.stdout, done.stderr
    same = gfp_eval(clip, clip, "--json", "-")
    assert '"warping": {"restored"' in same.stdout


def test_clips_that_do_not_match_are_one_line(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", talking(4))
    short, wide = write_clip(tmp_path / "b.mp4", talking(3)), write_clip(tmp_path / "c.mp4", faceless(4, 100, 200))
    for words, told in (
        ((short, clip), f"{clip}: has 1 frame more than {short}"),
        ((clip, short), f"{clip}: has 1 frame more than {short}"),
        ((wide, clip), f"{wide}: not the shape of {clip} (200x100 and 200x200)"),
        ((wide, wide), f"{wide}: no face was found"),
        ((tmp_path, clip), "is a folder"),
    ):
        done = gfp_eval(*words)
        assert done.exit_code == 1 and told in done.stderr.replace("\n", ""), done.stderr
