"""Faces followed between looks of the detector: when it looks, who is found, and that only near frames count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from gfpcli.clip.clip import open_clip, track_clip
from gfpcli.clip.follow import DOUBTED, follow_faces
from gfpcli.clip.track import DetectedFrame, match_face
from gfpcli.errors import InputError
from gfpcli.files.jobs import VideoJob
from gfpcli.options import VideoOptions
from gfpcli.pipeline.restorer import Restorer
from gfpcli.pipeline.steps import Detected
from gfpcli.types import Face, Failed, Frame
from gfpcli.weights.build import load_restorer
from gfpcli.weights.choose import choose_parts
from tests.clip.test_track import face_at

BLANK, OTHER = (np.full((60, 80, 3), level, np.uint8) for level in (0, 90))
LOOK = 12
RECALL = 0.995  # of the faces that a look at every frame finds


@dataclass
class World:
    """Where faces are in each frame: what the detector and the follower of a test find there."""

    places: list[list[float]]  # the x of each face of each frame
    cuts: Sequence[int] = ()
    unseen: set[int] = field(default_factory=set)  # frames in which the detector finds nobody
    lost: set[int] = field(default_factory=set)  # frames in which nobody can be followed
    looked: list[int] = field(default_factory=list)

    def frames(self) -> list[Frame]:
        shots = np.cumsum([i in self.cuts for i in range(len(self.places))])
        return [Frame(i, OTHER if shots[i] % 2 else BLANK, str(i)) for i in range(len(self.places))]

    def detect(self, frames: Iterable[Frame]) -> Iterator[Detected]:
        for frame in frames:
            self.looked.append(frame.index)
            seen = [] if frame.index in self.unseen else self.places[frame.index]
            yield Detected(frame, tuple(face_at(x) for x in seen))

    def follow(self, frame: Frame, faces: Sequence[Face]) -> list[Face | None]:
        there = [] if frame.index in self.lost else [face_at(x) for x in self.places[frame.index]]
        near = [match_face(face, there) for face in faces]
        return [other if other and abs(other.box[0] - face.box[0]) < 12 else None
                for face, other in zip(faces, near, strict=True)]  # fmt: skip

    def followed(self, start: int = 0) -> list[DetectedFrame]:
        self.looked.clear()
        return list(follow_faces(self.frames()[start:], self.detect, self.follow, every=2, look_every=LOOK))


def xs_of(found: Sequence[DetectedFrame]) -> list[list[float] | None]:
    return [None if each.faces is None else sorted(float(face.box[0]) for face in each.faces) for each in found]


def test_the_detector_looks_at_the_ends_of_shots_and_seldom_between() -> None:
    world = World([[20.0 + i] for i in range(40)], cuts=[17])
    found = world.followed()
    assert world.looked == [0, 12, 16, 17, 24, 36, 39]
    assert [each.frame.index for each in found] == list(range(40)) and [each.is_cut for each in found].index(True) == 17
    searched = {i for i in range(40) if i % 2 == 0} | {17, 39}
    assert xs_of(found) == [[20.0 + i] if i in searched else None for i in range(40)]


def test_a_lost_face_has_the_detector_look_at_once_and_for_a_while() -> None:
    world = World([[20.0]] * 25, lost={6})
    assert [xs for xs in xs_of(world.followed()) if xs is not None] == [[20.0]] * 13
    assert world.looked == [0, *range(6, 7 + DOUBTED, 2), 24]


def test_a_jump_is_a_loss_and_a_new_place() -> None:
    world = World([[20.0]] * 6 + [[50.0]] * 19)
    assert xs_of(world.followed())[4:7] == [[20.0], None, [50.0]] and 6 in world.looked


def test_a_face_that_comes_in_between_two_looks_is_followed_back_to_where_it_came_in() -> None:
    places = [[20.0] if i < 5 else [20.0, 200.0 + i] for i in range(25)]
    found = xs_of(World(places).followed())
    assert found[4] == [20.0] and found[6] == [20.0, 206.0] and found[10] == [20.0, 210.0]


def test_a_face_that_one_look_misses_goes_on_and_one_that_two_miss_does_not() -> None:
    world = World([[20.0]] * 61, unseen=set(range(12, 36)))
    found = xs_of(world.followed())
    assert found[12:24:2] == [[20.0]] * 6
    assert found[24] == []
    assert found[26:36:2] == [[20.0]] * 5 and found[36] == [20.0]  # followed back from the look that found it again


def test_a_run_that_begins_in_the_middle_finds_the_same_faces() -> None:
    """After two looks, whatever was lost, missed or new before."""
    rng = np.random.default_rng(4)
    for _ in range(12):
        starts, ends = rng.integers(0, 120, 6), rng.integers(20, 90, 6)
        places = [[60.0 * k + 0.3 * i for k in range(6) if starts[k] <= i < starts[k] + ends[k]] for i in range(120)]
        lost, unseen = (set(np.flatnonzero(rng.random(120) < share).tolist()) for share in (0.2, 0.3))
        world = World(places, [int(rng.integers(1, 120))], unseen, lost)
        whole = xs_of(world.followed())
        for start in rng.integers(1, 60, 4):
            assert xs_of(world.followed(int(start)))[2 * LOOK :] == whole[start + 2 * LOOK :]


def test_a_frame_whose_faces_cannot_be_followed_ends_the_clip() -> None:
    world = World([[20.0]] * 25)
    failed = Failed(world.frames()[2], InputError("frame 2: damaged"))
    with pytest.raises(InputError, match="frame 2"):
        list(follow_faces(world.frames(), world.detect, lambda *_: failed, every=2, look_every=LOOK))


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    options = VideoOptions(offline=True, device="cpu", model="compact", detector="builtin")
    return load_restorer(options, choose_parts(options, warn=lambda line: None))


def faces_of(source: Path, restorer: Restorer, options: VideoOptions) -> list[tuple[Face, ...]]:
    clip = open_clip(VideoJob(source, source.with_name("out.mp4")), options)
    return [each.faces for each in track_clip(clip, restorer, clip.decode())]


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [("cuts_audio_640x360_2997.mp4", 0, 1.4), ("vfr_audio_512.mp4", 0, 0.7)],
)
def test_followed_faces_are_those_that_a_look_at_each_frame_finds(
    shared_data: Path, restorer: Restorer, name: str, start: float, end: float
) -> None:
    options = VideoOptions(device="cpu", start=start, end=end)
    followed = faces_of(shared_data / "video" / name, restorer, options)
    each = faces_of(shared_data / "video" / name, restorer, replace(options, detect_every=1, look_every=1))
    n_found = sum(match_face(face, others) is not None
                  for faces, others in zip(each, followed, strict=True) for face in faces)  # fmt: skip
    assert n_found >= RECALL * sum(map(len, each)) > 0
