"""What counts as done."""

from __future__ import annotations

import json
from pathlib import Path

from gfpcli.ledger import LEDGER, Ledger


def test_done_means_same_input_same_settings_same_output(tmp_path: Path) -> None:
    out = tmp_path / "sub" / "a.png"
    out.parent.mkdir()
    out.write_bytes(b"picture")
    Ledger(tmp_path).add(out, "in", "settings")
    again = Ledger(tmp_path)
    assert again.is_done(out, "in", "settings")
    assert not again.is_done(out, "other", "settings")
    assert not again.is_done(out, "in", "other")
    out.write_bytes(b"changed")
    assert not again.is_done(out, "in", "settings")
    out.unlink()
    assert not again.is_done(out, "in", "settings")


def test_faces_are_remembered_and_nonsense_is_not(tmp_path: Path) -> None:
    out, file = tmp_path / "a.png", tmp_path / LEDGER
    out.write_bytes(b"x")
    face = {"box": [1.5, 2, 3, 4], "score": 0.9, "status": "restored", "seconds": 0.1}
    Ledger(tmp_path).add(out, "1", "s", [{**face, "landmarks": [[1, 2]]}])
    assert Ledger(tmp_path).faces_of(out) == [face]
    line = json.loads(file.read_text())
    nonsense = ["[1]", "{", "7", "null", '[{"box": [1, 2], "score": 1, "status": "x"}]', '[{"box": "four", "score": 1, '
                '"status": ""}]', '[{"box": [1, 2, 3, NaN], "score": 1, "status": ""}]']  # fmt: skip
    for faces in nonsense:
        file.write_text(json.dumps({**line, "faces": faces}))
        assert Ledger(tmp_path).faces_of(out) == [], faces
    del line["faces"]  # as older versions wrote it
    file.write_text(json.dumps(line))
    assert Ledger(tmp_path).is_done(out, "1", "s") and Ledger(tmp_path).faces_of(out) == []
    assert Ledger(tmp_path).faces_of(tmp_path / "other.png") == []


def test_a_line_cut_short_is_ignored_and_the_next_one_is_whole(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(b"x")
    ledger = Ledger(tmp_path)
    ledger.add(tmp_path / "a.png", "1", "s")
    ledger.add(tmp_path / "b.png", "2", "s")
    file = tmp_path / LEDGER
    file.write_bytes(file.read_bytes()[:-20])
    again = Ledger(tmp_path)
    assert again.is_done(tmp_path / "a.png", "1", "s") and not again.is_done(tmp_path / "b.png", "2", "s")
    again.add(tmp_path / "c.png", "3", "s")
    assert Ledger(tmp_path).is_done(tmp_path / "c.png", "3", "s")
