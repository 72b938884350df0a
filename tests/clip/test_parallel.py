"""A clip whose segments are each restored alone, the last first, is the clip of one run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import gfpcli.clip.clip
import gfpcli.clip.segments
from gfpcli.clip.carry import held_before, unfinished_of
from gfpcli.clip.clip import Clip, ClipResult, finish_clip, open_clip, restore_clip
from gfpcli.clip.parallel import plan_segments, restore_alone
from gfpcli.clip.probe import VideoInfo
from gfpcli.clip.segments import ClipWorkspace
from gfpcli.files.jobs import VideoJob
from gfpcli.model.gfpgan import GFPGANClean
from gfpcli.options import VideoOptions
from gfpcli.pipeline.restorer import Restorer
from gfpcli.types import Frame
from gfpcli.weights.build import load_restorer
from gfpcli.weights.choose import choose_parts
from tests.clips import talking, write_clip
from tests.nets import narrow_face_net

OPTIONS = VideoOptions(
    model="compact", detector="builtin", mask="soft", preset="ultrafast", device="cpu", offline=True, batch_size=4,
    strength="1",
)


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return load_restorer(OPTIONS, choose_parts(OPTIONS, warn=lambda line: None))


@pytest.fixture(scope="module")
def gan_restorer(restorer: Restorer) -> Restorer:
    """With a narrow GFP-GAN network, whose latents are averaged."""
    net = narrow_face_net(GFPGANClean)
    return replace(restorer, model=net, coder=net.coder)


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gfpcli.clip.segments, "SHORTEST", Fraction(1, 5))
    monkeypatch.setattr(gfpcli.clip.segments, "LONGEST", Fraction(2, 5))


def opened(source: Path, target: Path, **changes: object) -> tuple[Clip, ClipWorkspace]:
    clip = open_clip(VideoJob(source, target), replace(OPTIONS, **changes))  # type: ignore[arg-type]
    return clip, ClipWorkspace(target, "key", is_fresh=False)


def at_once(source: Path, target: Path, restorer: Restorer, **changes: object) -> tuple[ClipResult, ClipWorkspace]:
    clip, workspace = opened(source, target, **changes)
    return restore_clip(clip, restorer, workspace, lambda *_: None, lambda _: None), workspace


def apart(source: Path, target: Path, restorer: Restorer, **changes: object) -> tuple[ClipResult, ClipWorkspace]:
    clip, workspace = opened(source, target, **changes)
    plans = list(plan_segments(clip, None, 0))
    for plan in reversed(plans):
        own = workspace.folder / f"{plan.number:06d}-worker{clip.encoder.suffix}"
        begin = max((each.number for each in plans[: plan.number + 1] if each.is_cut), default=0)
        earlier, before = unfinished_of(plans[begin : plan.number], (), workspace)
        held = held_before(clip, restorer, earlier, before, workspace.folder)
        assert plan.fits(workspace.receive(restore_alone(clip, restorer, plan, own, held), plan.number))
    return finish_clip(clip, workspace, lambda _: None), workspace


def test_segments_made_last_first_give_the_same_bytes(restorer: Restorer, tmp_path: Path) -> None:
    """Uneven times; the first cut ends a segment, the second comes too soon to end one, the others end by their length.

    The last shot goes over boundaries that are no cuts, across which faces are tracked.
    """
    ticks = np.cumsum([512 * (1 + (i % 5 == 1)) for i in range(29)]).tolist()
    flipped = [np.ascontiguousarray(frame[::-1, :, ::-1]) for frame in talking(3)]
    source = write_clip(tmp_path / "in.mp4", [*talking(6), *flipped, *talking(20)], ticks=ticks, tone=True)
    once, one = at_once(source, tmp_path / "once.mp4", restorer)
    done, many = apart(source, tmp_path / "apart.mp4", restorer)
    assert len(one.segments) >= 4 and one.segments == many.segments and one.segments[0].n_frames == 6
    assert once == done and done.n_faces >= 24
    assert (tmp_path / "once.mp4").read_bytes() == (tmp_path / "apart.mp4").read_bytes()
    clip, _ = opened(source, tmp_path / "later.mp4")
    planned = list(plan_segments(clip, None, 0))
    for number in range(1, len(planned)):
        assert list(plan_segments(clip, one.segments[number - 1], number)) == planned[number:]


def test_averaged_latents_are_the_same_in_segments_made_alone(gan_restorer: Restorer, tmp_path: Path) -> None:
    flipped = [np.ascontiguousarray(frame[:, ::-1]) for frame in talking(16)]
    source = write_clip(tmp_path / "in.mp4", [*talking(6), *flipped])
    once, one = at_once(source, tmp_path / "once.mp4", gan_restorer)
    done, many = apart(source, tmp_path / "apart.mp4", gan_restorer)
    assert once == done and len(one.segments) >= 2 and one.segments == many.segments
    assert (tmp_path / "once.mp4").read_bytes() == (tmp_path / "apart.mp4").read_bytes()
    at_once(source, tmp_path / "bare.mp4", replace(gan_restorer, coder=None))
    assert (tmp_path / "once.mp4").read_bytes() != (tmp_path / "bare.mp4").read_bytes()  # they were averaged
    switched_off = [tmp_path / f"off-{i}.mp4" for i in range(2)]
    at_once(source, switched_off[0], gan_restorer, smooth=0)
    at_once(source, switched_off[1], replace(gan_restorer, coder=None), smooth=0)
    assert switched_off[0].read_bytes() == switched_off[1].read_bytes()


@pytest.mark.parametrize("has_coder", [False, True])
def test_a_face_keeps_its_strength_over_the_segments_of_a_shot(
    restorer: Restorer, gan_restorer: Restorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_coder: bool
) -> None:
    """It grows blurrier, so that each segment alone would choose another strength; another fades in."""
    monkeypatch.setattr(gfpcli.clip.segments, "LONGEST", Fraction(1, 5))
    shot = [cv2.GaussianBlur(frame, (0, 0), 0.8 + 0.15 * i) for i, frame in enumerate(talking(16))]
    faded = [np.clip(i / 8, 0, 1) * frame for i, frame in enumerate(shot)]  # too slowly for a cut
    wide = [np.hstack(pair).astype(np.uint8) for pair in zip(shot, faded, strict=True)]
    source = write_clip(tmp_path / "in.mp4", wide)
    guard = replace(restorer.guard, strength=None)
    if has_coder:  # its faces are nobody's: the guard takes more of one than of the other
        guard = replace(guard, strength=1.0, limits=((0.0, 0.83),))
    judging = replace(gan_restorer if has_coder else restorer, guard=guard)
    _, one = at_once(source, tmp_path / "once.mp4", judging)
    held = [each for segment in one.segments for each in segment.held]
    (left,) = {each.decision for each in held if each.box[0] < 200}
    (right,) = {each.decision for each in held if each.box[0] > 200}
    assert len(one.segments) == 4 and len(held) >= 7 and left != right
    _, many = apart(source, tmp_path / "apart.mp4", judging)
    assert one.segments == many.segments
    assert (tmp_path / "once.mp4").read_bytes() == (tmp_path / "apart.mp4").read_bytes()
    clip, workspace = opened(source, tmp_path / "anew.mp4")
    last = list(plan_segments(clip, None, 0))[-1]
    anew = restore_alone(clip, judging, last, workspace.folder / "anew.mp4")
    assert has_coder or not {each.decision for each in anew.held} & {left, right}, "alone it would choose others"


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        ("cuts_audio_640x360_2997.mp4", 2.3, 2.9),
        ("vfr_audio_512.mp4", 0.3, 1.1),
        ("odd/interlaced_tff.mp4", 0, 0.9),
    ],
)
def test_real_clips_too(
    shared_data: Path, restorer: Restorer, tmp_path: Path, name: str, start: float, end: float
) -> None:
    source = shared_data / "video" / name
    once, one = at_once(source, tmp_path / "once.mp4", restorer, start=start, end=end)
    done, many = apart(source, tmp_path / "apart.mp4", restorer, start=start, end=end)
    assert once == done and len(one.segments) > 1 and one.segments == many.segments
    assert (tmp_path / "once.mp4").read_bytes() == (tmp_path / "apart.mp4").read_bytes()


def test_a_file_that_loses_a_frame_in_a_jump_is_read_from_its_start(
    restorer: Restorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_clip(tmp_path / "in.mp4", talking(26))
    _, one = at_once(source, tmp_path / "once.mp4", restorer)
    true = gfpcli.clip.clip.read_frames

    def torn(info: VideoInfo, *, start: Fraction, **rest: Any) -> Iterator[Frame]:
        for i, frame in enumerate(true(info, start=start, **rest)):
            if i != 12 or start == info.start or not info.can_seek:
                yield frame

    monkeypatch.setattr(gfpcli.clip.clip, "read_frames", torn)
    _, many = apart(source, tmp_path / "apart.mp4", restorer)
    assert len(one.segments) == 3 and one.segments == many.segments
