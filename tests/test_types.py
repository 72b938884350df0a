"""The JSON form of outcomes, which is a contract."""

from __future__ import annotations

import json

import pytest

from gfpcli.types import ClipFacts, FaceRecord, Outcome

FACE = FaceRecord((1.5, 2.0, 3.0, 4.0), 0.9, "failed", ((1.0, 2.0),) * 5, error="numbers that are none")


def test_a_photo_s_record() -> None:
    outcome = Outcome("a.png", "out/a.png", "failed", 2.0, "compact", 20, 10, 0.5, "a.png: why", ("2 pages",), (FACE,))
    assert json.dumps(outcome.to_json()) == (
        '{"input": "a.png", "output": "out/a.png", "status": "failed", "faces": [{"box": [1.5, 2.0, 3.0, 4.0], '
        '"landmarks": [[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]], "score": 0.9, "status": "failed", '
        '"error": "numbers that are none"}], "width": 20, "height": 10, "scale": 2.0, "model": "compact", '
        '"seconds": 0.5, "notes": ["2 pages"], "error": "a.png: why"}'
    )
    assert outcome.n_restored == 0


def test_a_clip_s_record() -> None:
    facts, notes = ClipFacts(30, 29, 0.25, 12.5), ("its transparency is lost",)
    assert json.dumps(Outcome("a.mp4", None, "restored", 1.0, "compact", notes=notes, clip=facts).to_json()) == (
        '{"input": "a.mp4", "output": null, "status": "restored", "n_frames": 30, "n_faces": 29, "width": null, '
        '"height": null, "scale": 1.0, "model": "compact", "flicker": 0.25, "seconds": 0.0, "fps": 12.5, '
        '"notes": ["its transparency is lost"], "error": null}'
    )


def test_a_face_is_read_back_without_its_landmarks() -> None:
    face = FaceRecord.from_json(FACE.to_json())
    assert (face.box, face.score, face.status, face.error) == (FACE.box, FACE.score, FACE.status, FACE.error)
    assert not face.landmarks
    for change in ({"box": [1]}, {"score": None}, {"status": "lost"}, {"seconds": "1"}, {"score": True}):
        with pytest.raises(ValueError, match="face"):
            FaceRecord.from_json({**FACE.to_json(), **change})
