"""Plans: what is written is read back, and each kind of nonsense is refused by one clear line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gfpcli.errors import InputError, UsageError
from gfpcli.files.jobs import Job
from gfpcli.photo.face_plan import (
    check_unchanged,
    frame_as_planned,
    parse_plan,
    plan_text,
    read_plan,
    settings_as_planned,
    with_plan,
)
from gfpcli.types import Frame, PlannedFace, PlannedPhoto

LANDMARKS = ((20.0, 20.0), (40.25, 20.0), (30.0, 30.0), (22.0, 40.0), (38.0, 40.0))
FACE = PlannedFace((10.0, 5.5, 50.0, 60.0), LANDMARKS, 0.9876, "restore", None, 3, 1.25, 0.8)
SKIPPED = PlannedFace((60.0, 5.0, 90.0, 40.0), (), 1.0, "skip", 0.5)
PHOTO = PlannedPhoto("old/a b.jpg", "0" * 64, 100, 80, (FACE, SKIPPED))
ODD = PlannedPhoto("x\udcff ü\n\".png", "f" * 64, 1, 1)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    text = plan_text([PHOTO, ODD])
    (tmp_path / "plan.json").write_text(text)
    assert read_plan(tmp_path / "plan.json") == {PHOTO.photo: PHOTO, ODD.photo: ODD}
    assert len(text.splitlines()) == 6, "a line for each photo and face"
    assert read_plan(tmp_path / "plan.json")[PHOTO.photo].to_json() == PHOTO.to_json()
    assert parse_plan(plan_text([]).encode(), "p") == {}


def changed(change: Callable[[Any], object]) -> bytes:
    content = json.loads(plan_text([PHOTO]))
    change(content)
    return json.dumps(content).encode()


def in_photo(**values: object) -> bytes:
    return changed(lambda plan: plan["photos"][0].update(values))


def in_face(**values: object) -> bytes:
    return changed(lambda plan: plan["photos"][0]["faces"][0].update(values))


NONSENSE = [
    (b"", "not JSON"),
    (b"\xff\xfe{}", "not JSON"),
    (b"hello", "not JSON"),
    (b"[" * 100_000, "not JSON"),
    (b"[]", '"gfp_plan" is missing'),
    (b'{"photos": []}', '"gfp_plan" is missing'),
    (b'{"gfp_plan": 2, "photos": []}', "version 2; this gfp reads version 1"),
    (b'{"gfp_plan": true, "photos": []}', "version true"),
    (b'{"gfp_plan": 1}', "'photos' is missing"),
    (b'{"gfp_plan": 1, "photos": [], "photo": 1}', "has no 'photo'"),
    (b'{"gfp_plan": 1, "photos": {}}', "photos must be a list"),
    (b'{"gfp_plan": 1, "photos": [7]}', "photo 1: must be an object, not 7"),
    (b'{"gfp_plan": 1, "gfp_plan": 1, "photos": []}', "an object has two 'gfp_plan'"),
    (changed(lambda plan: plan["photos"].append(plan["photos"][0])), "two entries for 'old/a b.jpg'"),
    (in_photo(photo=""), "photo must be a path"),
    (in_photo(sha256="0" * 63 + "g"), "sha256 must be 64 hex digits"),
    (in_photo(width=0), "width and height must be whole numbers"),
    (in_photo(width=10.5), "width and height must be whole numbers"),
    (in_photo(faces=None), "faces must be a list"),
    (changed(lambda plan: plan["photos"][0].pop("sha256")), "'sha256' is missing"),
    (changed(lambda plan: plan["photos"][0]["faces"].append(SKIPPED.to_json())), "face 2 and face 3 have the same box"),
    (in_face(actoin="skip"), "has no 'actoin'"),
    (in_face(action="keep"), 'action must be restore or skip, not "keep"'),
    (in_face(action=["skip"]), "action must be restore or skip"),
    (in_face(strength=1.2), "strength must be a number from 0 to 1, not 1.2"),
    (in_face(strength=-0.1), "strength must be a number from 0 to 1"),
    (in_face(strength=None), "strength must be a number from 0 to 1, not null"),
    (in_face(strength=True), "strength must be a number from 0 to 1, not true"),
    (in_face(strength="much"), "strength must be auto or a number"),
    (in_face(score="high"), "score must be a number"),
    (in_face(person=0), "person must be a whole number above 0"),
    (in_face(blur=-1), "blur must be a number"),
    (in_face(box=[1, 2, 3]), "box must be 4 numbers"),
    (in_face(box=[1, 2, 3, "4"]), "box must be 4 numbers"),
    (in_face(box=[1, 2, 3, 10**400]), "box must be 4 numbers"),
    (in_face(box=[50, 5, 10, 60]), "is empty: it must be left, top, right, bottom"),
    (in_face(box=[10, 5, 10.5, 60]), "is smaller than 2 px"),
    (in_face(landmarks=[LANDMARKS[i] for i in (1, 0, 2, 4, 3)]), "landmarks are mirrored"),
    (in_face(box=[100, 5, 120, 60]), "lies outside the picture of 100x80 px"),
    (in_face(box=[-20, 5, 0, 60]), "lies outside the picture of 100x80 px"),
    (in_face(box=[-200, 5, 300, 60]), "is larger than the picture of 100x80 px"),
    (in_face(landmarks=LANDMARKS[:4]), "landmarks must be 5 points (eyes, nose, mouth corners), not 4"),
    (in_face(landmarks=[[1, 2, 3]] * 5), "each of the landmarks must be 2 numbers"),
    (in_face(landmarks=[[1, 900]] * 5), "landmark [1.0, 900.0] lies far outside the picture"),
    (in_face(landmarks=7), "landmarks must be a list"),
    (plan_text([PHOTO]).replace("0.9876", "NaN").encode(), "NaN is no number"),
    (plan_text([PHOTO]).replace("0.9876", "-Infinity").encode(), "-Infinity is no number"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "told"), NONSENSE)
def test_nonsense_is_refused_by_one_line(data: bytes, told: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_plan(data, "plan.json")
    line = str(refused.value)
    assert line.startswith("plan.json") and told in line and "\n" not in line and len(line) < 300, line


def test_a_face_may_be_turned_any_way() -> None:
    for degrees in range(0, 360, 30):
        angle = np.deg2rad(degrees)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points = ((np.array(LANDMARKS) - 30) @ turn.T + 30).tolist()
        assert parse_plan(in_face(landmarks=points), "plan.json")


def test_the_line_names_the_place() -> None:
    with pytest.raises(UsageError, match=r"^plan\.json, photo 1, 'old/a b\.jpg', face 1: strength must be"):
        parse_plan(in_face(strength=7), "plan.json")


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_broken_no_other_error_comes(seed: int) -> None:
    """Bytes of a plan changed at random are a plan or are refused."""
    rng = np.random.default_rng(seed)
    for _ in range(20):
        data = bytearray(plan_text([PHOTO, ODD]).encode())
        for place in rng.integers(0, len(data), rng.integers(1, 5)):
            data[place] = rng.choice(bytearray(b'{}[]",:0-9eE.nt\x00\xff'))
        try:
            parse_plan(bytes(data[: rng.integers(1, len(data) + 1)] if rng.random() < 0.3 else data), "plan")
        except UsageError as error:
            assert "\n" not in str(error)


def test_a_plan_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_plan(tmp_path / "none.json")


def job(name: str) -> Job:
    return Job(Path("in") / name, Path("out") / name, name=name)


def test_each_job_gets_its_entry_and_an_unknown_photo_is_refused() -> None:
    first, second = with_plan([job(PHOTO.photo), job("b.jpg")], {PHOTO.photo: PHOTO}, "plan.json")
    assert first.planned == PHOTO and second.planned is None
    with pytest.raises(UsageError, match=r"plan\.json: 'old/a b\.jpg' \(and 1 more\) is not among the inputs"):
        with_plan([job("b.jpg")], {PHOTO.photo: PHOTO, ODD.photo: ODD}, "plan.json")


def test_a_photo_that_was_changed_since_is_refused() -> None:
    planned = replace(job(PHOTO.photo), planned=PHOTO)
    check_unchanged(planned, "0" * 64)
    check_unchanged(job("b.jpg"), "1" * 64)
    with pytest.raises(InputError, match="was changed since the plan was made"):
        check_unchanged(planned, "1" * 64)
    right, wrong = Frame(0, np.zeros((80, 100, 3), np.uint8), ""), Frame(0, np.zeros((100, 80, 3), np.uint8), "")
    assert frame_as_planned(right, planned).planned == PHOTO.faces and frame_as_planned(wrong, job("b")).planned is None
    with pytest.raises(InputError, match="100x80 px by the plan, but 80x100 px in truth"):
        frame_as_planned(wrong, planned)


def test_settings_change_with_what_is_asked_for_and_with_nothing_else() -> None:
    same = replace(PHOTO, faces=(replace(FACE, person=9, blur=None, planned_strength=0.1, score=0.5), SKIPPED))
    settings = settings_as_planned("0123456789abcdef", PHOTO)
    assert settings_as_planned("0123456789abcdef", None) == "0123456789abcdef" != settings
    assert settings == settings_as_planned("0123456789abcdef", same) and len(settings) == 16
    for change in ({"strength": 0.5}, {"action": "skip"}, {"landmarks": ()}, {"box": (10.0, 5.5, 50.0, 61.0)}):
        other = replace(PHOTO, faces=(replace(FACE, **change), SKIPPED))  # type: ignore[arg-type]
        assert settings_as_planned("0123456789abcdef", other) != settings, change
