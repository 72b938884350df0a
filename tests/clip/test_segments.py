"""Where segments end, and the workspace that keeps them."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from gfpcli.clip import segments
from gfpcli.clip.segments import (
    SEGMENTS,
    ClipWorkspace,
    EncodedSegment,
    ResumePoint,
    SegmentPlan,
    split_segments,
    time_of,
    unfinished,
)
from gfpcli.clip.track import DetectedFrame
from gfpcli.errors import OutputError
from gfpcli.types import Frame
from tests.clip.reencode import segment_of

BLANK = np.zeros((2, 2, 3), np.uint8)


def frames(n_frames: int, cuts: tuple[int, ...] = ()) -> list[DetectedFrame]:
    return [DetectedFrame(Frame(i, BLANK, "", pts=Fraction(i)), None, i in cuts) for i in range(n_frames)]


def made(workspace: ClipWorkspace, number: int, data: bytes = b"data") -> EncodedSegment:
    path = workspace.path_of(number, ".mp4")
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    return segment_of(path.name, Fraction(1, 3), Fraction(7, 25), sha256=sha256, n_frames=5, flicker=0.1)


def test_a_segment_ends_at_a_cut_after_two_seconds_and_otherwise_after_six() -> None:
    split = [[each.frame.index for each in group] for _, group in split_segments(iter(frames(16, (1, 3))), 4)]
    assert split == [[0, 1, 2], [3, 4, 5, 6, 7, 8], [9, 10, 11, 12, 13, 14], [15]]
    assert [number for number, group in split_segments(iter(frames(16)), 4) if list(group)] == [4, 5, 6]


def test_a_segment_has_no_more_frames_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "MAX_FRAMES", 4)
    assert [len(list(group)) for _, group in split_segments(iter(frames(10)), 0)] == [4, 4, 2]


def test_finished_frames_become_the_context_of_the_next() -> None:
    context: deque[tuple[Fraction, int]] = deque(maxlen=2)
    left = unfinished(iter(frames(6)), ResumePoint(Fraction(0), 0, after=Fraction(3)), context)
    assert [each.frame.index for each in left] == [4, 5] and list(context) == [(2, 2), (3, 3)]
    assert len(list(unfinished(iter(frames(3)), ResumePoint(Fraction(0), 0), context))) == 3


def test_finished_segments_are_found_again_and_nothing_else(tmp_path: Path) -> None:
    workspace = ClipWorkspace(tmp_path / "out.mp4", "key", is_fresh=False)
    kept = [made(workspace, number) for number in (0, 1, 3)]
    for segment in kept:
        workspace.add(segment)
    (workspace.folder / "000004.mp4").write_bytes(b"half")
    again = ClipWorkspace(tmp_path / "out.mp4", "key", is_fresh=False)
    assert again.segments == kept[:2] and again.find(3) == kept[2] and again.find(2) is None
    assert sorted(path.name for path in again.folder.iterdir()) == ["000000.mp4", "000001.mp4", "000003.mp4", SEGMENTS]
    assert kept[1].resume == ResumePoint(Fraction(1, 3), 0, Fraction(7, 25))


@pytest.mark.parametrize("damage", ["file", "line", "other key", "fresh"])
def test_a_damaged_segment_and_those_of_other_settings_are_made_again(tmp_path: Path, damage: str) -> None:
    workspace = ClipWorkspace(tmp_path / "out.mp4", "key", is_fresh=False)
    workspace.add(made(workspace, 0))
    if damage == "file":
        (workspace.folder / "000000.mp4").write_bytes(b"damaged")
    if damage == "line":
        path = workspace.folder / SEGMENTS
        path.write_text(path.read_text()[:-9] + "\n[]\n{}\nnull\n")
    key = "another" if damage == "other key" else "key"
    again = ClipWorkspace(tmp_path / "out.mp4", key, is_fresh=damage == "fresh")
    assert again.segments == [] and [path.name for path in again.folder.iterdir()] == [SEGMENTS]


def test_a_workers_segment_takes_its_place(tmp_path: Path) -> None:
    workspace = ClipWorkspace(tmp_path / "out.mp4", "key", is_fresh=False)
    (workspace.folder / "000000-worker.mp4").write_bytes(b"data")
    received = workspace.receive(segment_of("000000-worker.mp4", Fraction(0), Fraction(1)), 0)
    assert received.file == "000000.mp4" and workspace.segments == [received]
    with pytest.raises(OutputError, match="storage that all machines share"):
        workspace.receive(segment_of("000001-absent.mp4", Fraction(0), Fraction(1)), 1)


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".out.mp4.gfp").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="is a link"):
        ClipWorkspace(tmp_path / "out.mp4", "key", is_fresh=False)


def test_a_segment_is_cut_at_its_exact_second() -> None:
    """A cut ends a segment from the very second on that it may, not before; times need not begin at 0."""

    def numbers(times: list[Fraction], cuts: set[int]) -> list[int]:
        shown = [DetectedFrame(Frame(i, BLANK, "", pts=at), None, i in cuts) for i, at in enumerate(times)]
        return [number for number, group in split_segments(iter(shown), 7) for _ in group]

    late = Fraction(1000)
    assert numbers([late, late + Fraction(199, 100), late + 2], {1}) == [7, 7, 7]
    assert numbers([late, late + 1, late + 2, late + 3], {2}) == [7, 7, 8, 8]
    assert numbers([late, late + Fraction(599, 100), late + 6, late + 11], set()) == [7, 7, 8, 8]
    assert segments.MAX_FRAMES == 300 and numbers([late] * 301, set()) == [7] * 300 + [8]


def test_a_plan_fits_the_segment_of_its_frames_only() -> None:
    plan = SegmentPlan(3, ResumePoint(Fraction(0), 0), Fraction(2), 50)
    segment = segment_of("000003.mp4", Fraction(0), Fraction(51, 25), last=Fraction(2), n_frames=50)
    assert plan.fits(segment) and segment.number == 3
    assert not plan.fits(replace(segment, n_frames=49)) and not plan.fits(replace(segment, last=Fraction(3)))


def test_a_workspace_is_a_hidden_folder_beside_the_output_for_its_owner(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out.mp4"
    workspace = ClipWorkspace(target, "key", is_fresh=False)
    assert workspace.folder == tmp_path / "deep" / ".out.mp4.gfp"
    assert workspace.folder.stat().st_mode & 0o777 == 0o700
    assert workspace.path_of(7, ".mkv") == workspace.folder / "000007.mkv"
    assert (workspace.folder / SEGMENTS).read_text() == "key\n"
    (workspace.folder / "folder").mkdir()
    again = ClipWorkspace(target, "key", is_fresh=False)
    assert (again.folder / "folder").is_dir(), "only files are left-overs"
    again.clear()
    assert not workspace.folder.exists() and target.parent.exists()
    again.clear()


def test_a_list_that_cannot_be_read_or_written_is_told(tmp_path: Path) -> None:
    (tmp_path / ".out.mp4.gfp").write_text("a file")
    with pytest.raises(OutputError, match=r"\.out\.mp4\.gfp"):
        ClipWorkspace(tmp_path / "out.mp4", "key", is_fresh=False)


def test_every_fact_of_a_segment_is_read_back(tmp_path: Path) -> None:
    workspace = ClipWorkspace(tmp_path / "out.mp4", "key", is_fresh=False)
    facts = {"delay": 2, "n_frames": 50, "n_faces": 60, "n_failed": 3, "flicker": 1.25, "n_pairs": 58}
    segment = replace(
        made(workspace, 0), last=Fraction(5, 3), context_start=Fraction(-1, 7), context_index=41, **facts
    )  # fmt: skip
    workspace.add(segment)
    assert ClipWorkspace(tmp_path / "out.mp4", "key", is_fresh=False).segments == [segment]
    assert segment.resume == ResumePoint(Fraction(-1, 7), 41, Fraction(5, 3))


def test_a_frame_without_a_time_is_at_the_begin() -> None:
    assert time_of(Frame(3, BLANK, "")) == 0 and time_of(Frame(3, BLANK, "", pts=Fraction(1, 3))) == Fraction(1, 3)


def test_a_joined_clip_stands_for_its_segments_whose_files_are_gone(tmp_path: Path) -> None:
    workspace = ClipWorkspace(tmp_path / "out.mp4", "key", is_fresh=False)
    parts = [made(workspace, number) for number in range(3)]
    for part in parts:
        workspace.add(part)
    joined = workspace.folder / "joined.mp4"
    joined.write_bytes(b"all of them")
    workspace.keep_joined(joined)
    assert sorted(path.name for path in workspace.folder.iterdir()) == ["joined.mp4", SEGMENTS]
    for _ in range(2):
        again = ClipWorkspace(tmp_path / "out.mp4", "key", is_fresh=False)
        assert again.segments == parts and again.joined == joined
    joined.write_bytes(b"damaged")
    damaged = ClipWorkspace(tmp_path / "out.mp4", "key", is_fresh=False)
    assert damaged.segments == [] and damaged.joined is None
