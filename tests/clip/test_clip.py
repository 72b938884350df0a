"""The walk of a clip: what the networks are given, what is told, and how the finished file gets its name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from gfpcli.clip.clip import Clip, exact_rate, join, notes_of, open_clip, publish, restore_frames, track_clip
from gfpcli.clip.encode import TimedImage, encode_segment
from gfpcli.clip.mux import Trim
from gfpcli.errors import OutputError
from gfpcli.files.jobs import VideoJob
from gfpcli.options import VideoOptions
from gfpcli.pipeline.restorer import Restorer
from gfpcli.types import Face, Image, Restored
from gfpcli.weights.build import load_restorer
from gfpcli.weights.choose import choose_parts
from tests.clip.reencode import segment_of
from tests.clips import faceless, talking, write_clip

OPTIONS = VideoOptions(
    model="compact", detector="builtin", mask="soft", preset="ultrafast", device="cpu", offline=True, precision="fp32"
)


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return load_restorer(OPTIONS, choose_parts(OPTIONS, warn=lambda line: None))


@pytest.fixture
def encoded(tmp_path: Path) -> Clip:
    """A clip of which the only segment lies in the folder `work`."""
    source = write_clip(tmp_path / "in.mp4", faceless(3))
    clip = open_clip(VideoJob(source, tmp_path / "out.mp4"), OPTIONS)
    (tmp_path / "work").mkdir()
    with encode_segment(tmp_path / "work" / "000000.mp4", clip.encoder) as segment:
        for frame in clip.decode():
            segment.write(TimedImage(frame.image, frame.pts or Fraction(0), Fraction(1, 25)))
    return clip


def published(clip: Clip, record: object) -> None:
    segment = segment_of("000000.mp4", Fraction(0), Fraction(3, 25), n_frames=3)
    publish(clip, join(clip, [segment], clip.target.parent / "work", Trim()), Trim(), 0, record)  # type: ignore[arg-type]


def test_the_finished_file_is_on_the_disk_and_recorded_before_it_has_its_name(
    encoded: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    true = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino) or true(file))
    recorded: list[tuple[str, bool, list[int]]] = []
    published(encoded, lambda digest: recorded.append((digest, encoded.target.exists(), synced[:])))
    ((digest, had_name, synced_before),) = recorded
    assert digest == hashlib.sha256(encoded.target.read_bytes()).hexdigest()
    assert not had_name and encoded.target.stat().st_ino in synced_before


def test_a_file_that_cannot_be_recorded_gets_no_name(encoded: Clip) -> None:
    def full(digest: str) -> None:
        raise OutputError("No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        published(encoded, full)
    assert not encoded.target.exists()


def results_of(source: Path, restorer: Restorer, **changes: object) -> list[Restored]:
    clip = open_clip(VideoJob(source, source.with_name("out.mp4")), replace(OPTIONS, **changes))  # type: ignore[arg-type]
    tracked = track_clip(clip, restorer, clip.decode())
    return [result for _, result in restore_frames(restorer, tracked, clip.options.smooth, [])]


def test_the_network_sees_faces_of_squeezed_pixels_as_they_are_shown(restorer: Restorer, tmp_path: Path) -> None:
    shown = talking(3)
    narrow = [cv2.resize(frame, (100, 200), interpolation=cv2.INTER_AREA) for frame in shown]
    square = results_of(write_clip(tmp_path / "square.mp4", shown), restorer)
    squeezed = results_of(write_clip(tmp_path / "squeezed.mp4", narrow, aspect=Fraction(2)), restorer)
    for one, other in zip(square, squeezed, strict=True):
        landmarks = (other.found[0].landmarks + 0.5) * (2, 1) - 0.5
        assert np.abs(landmarks - one.found[0].landmarks).max() < 5
        assert np.abs(one.crops[0].image.astype(float) - other.crops[0].image).mean() < 10


def test_detecting_seldom_is_obeyed_without_smoothing_too_and_told(restorer: Restorer, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", talking(9))
    asked: list[int] = []

    def detector(images: Sequence[Image]) -> Sequence[tuple[Face, ...]]:
        asked.extend(range(len(images)))
        return restorer.detector(images)

    counting = replace(restorer, detector=detector)
    for every, smooth, n_searched in ((0, 0, 9), (4, 0, 3), (8, 0, 2), (8, 0.5, 2)):
        clip = open_clip(VideoJob(source, tmp_path / "out.mp4"), replace(OPTIONS, detect_every=every, smooth=smooth))
        asked.clear()
        tracked = list(track_clip(clip, counting, clip.decode()))
        assert len(asked) == n_searched and [len(each.faces) for each in tracked] == [1] * 9
        told = [f"faces are detected in every {every}th frame; between them they are interpolated"]
        assert notes_of(clip) == (told if every and not smooth else [])


def test_missing_numbers_of_frames_are_told(tmp_path: Path) -> None:
    for number in (1, 2, 5, 6):
        cv2.imwrite(str(tmp_path / f"f{number:03d}.png"), faceless(1)[0])
    pictures = tuple(sorted(tmp_path.glob("*.png")))
    for given, told in ((pictures, ["2 numbers of its pictures are missing, from 3 on: no gap is left for them"]),
                        (pictures[:2], [])):  # fmt: skip
        clip = open_clip(VideoJob(tmp_path, tmp_path / "out.mp4", pictures=given), OPTIONS)
        assert notes_of(clip) == told


def test_rates_are_what_people_mean() -> None:
    rates = {23.976: (24000, 1001), 23.98: (24000, 1001), 29.97: (30000, 1001), 59.94: (60000, 1001), 12.5: (25, 2),
             24.0: (24, 1), 25.0: (25, 1), 30.0: (30, 1)}  # fmt: skip
    assert {rate: exact_rate(rate) for rate in rates} == {rate: Fraction(*exact) for rate, exact in rates.items()}
