"""A clip whose segments are each restored alone, the last first, is the clip of one run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gfpcli.clip.clip
import gfpcli.clip.segments
from gfpcli.clip.clip import Clip, ClipResult, finish_clip, open_clip, restore_clip
from gfpcli.clip.parallel import plan_segments, restore_alone
from gfpcli.clip.probe import VideoInfo
from gfpcli.clip.segments import ClipWorkspace
from gfpcli.files.jobs import VideoJob
from gfpcli.options import VideoOptions
from gfpcli.pipeline.restorer import Restorer
from gfpcli.types import Frame
from gfpcli.weights.build import load_restorer
from gfpcli.weights.choose import choose_parts
from tests.clips import talking, write_clip

OPTIONS = VideoOptions(
    model="compact", detector="builtin", mask="soft", preset="ultrafast", device="cpu", offline=True, batch_size=4,
    strength="1",
)


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return load_restorer(OPTIONS, choose_parts(OPTIONS, warn=lambda line: None))


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
    for plan in reversed(list(plan_segments(clip, None, 0))):
        own = workspace.folder / f"{plan.number:06d}-worker{clip.encoder.suffix}"
        assert plan.fits(workspace.receive(restore_alone(clip, restorer, plan, own), plan.number))
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
