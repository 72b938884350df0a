"""What counts as done, and what stands in an output's place if not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gfpcli.errors import OutputError
from gfpcli.files.atomic import sha256_of
from gfpcli.files.ledger import LEDGER, Ledger
from gfpcli.types import FaceRecord


def add(ledger: Ledger, path: Path, data: bytes, digest: str = "in", settings: str = "settings") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    ledger.add(path, digest, settings, sha256_of(path))


def test_done_means_same_input_same_settings_same_output(tmp_path: Path) -> None:
    out = tmp_path / "sub" / "a.png"
    add(Ledger(tmp_path), out, b"picture")
    again = Ledger(tmp_path)
    assert again.state_of(out, "in", "settings") == "done"
    assert again.state_of(out, "other", "settings") == again.state_of(out, "in", "other") == "open"
    assert again.outputs() == {out}
    out.write_bytes(b"changed")
    assert again.state_of(out, "in", "settings") == "edited"
    out.unlink()
    assert again.state_of(out, "in", "settings") == "open"


def test_what_is_known_of_one_output_says_the_same_elsewhere(tmp_path: Path) -> None:
    out, ledger = tmp_path / "a.png", Ledger(tmp_path)
    ledger.add(tmp_path / "b.png", "in", "settings", "other's")
    add(ledger, out, b"first")
    assert ledger.known_of(tmp_path / "c.png") == ()
    for data, state in ((b"first", "done"), (b"second", "open"), (b"first", "open"), (b"touched up", "edited")):
        if data == b"second":  # made with other settings, then as it was
            add(ledger, out, data, settings="others")
        out.write_bytes(data)
        elsewhere = Ledger(tmp_path, ledger.known_of(out))
        assert elsewhere.outputs() == {out}
        assert elsewhere.state_of(out, "in", "settings") == ledger.state_of(out, "in", "settings") == state


def test_what_gfp_never_wrote_is_foreign(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"somebody's")
    (tmp_path / "b.png").symlink_to(tmp_path / "nowhere")
    ledger = Ledger(tmp_path)
    assert ledger.state_of(tmp_path / "a.png", "in", "settings") == "foreign"
    assert ledger.state_of(tmp_path / "b.png", "in", "settings") == "foreign"
    assert ledger.state_of(tmp_path / "c.png", "in", "settings") == "open"


def test_a_kill_between_the_line_and_the_name_loses_nothing(tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    add(Ledger(tmp_path), out, b"first")
    Ledger(tmp_path).add(out, "in", "new settings", "0" * 64)  # killed here: the first content still stands
    assert Ledger(tmp_path).state_of(out, "in", "new settings") == "open"


def test_faces_are_remembered_and_nonsense_is_not(tmp_path: Path) -> None:
    out, file = tmp_path / "a.png", tmp_path / LEDGER
    out.write_bytes(b"x")
    face = FaceRecord((1.5, 2, 3, 4), 0.9, "restored", seconds=0.1)
    Ledger(tmp_path).add(out, "1", "s", sha256_of(out), [replace(face, landmarks=((1, 2),))])
    assert Ledger(tmp_path).faces_of(out) == (face,)
    line = json.loads(file.read_text())
    good = '"score": 1, "status": "restored"'
    nonsense = [
        "[1]", "{", "7", "null", f'[{{"box": [1, 2], {good}}}]', f'[{{"box": "four", {good}}}]',
        f'[{{"box": [1, 2, 3, NaN], {good}}}]', '[{"box": [1, 2, 3, 4], "score": 1, "status": "x"}]',
        f'[{{"box": [1, 2, 3, 4], {good}, "error": 7}}]',
    ]  # fmt: skip
    for faces in nonsense:
        file.write_text(json.dumps({**line, "faces": faces}))
        assert Ledger(tmp_path).faces_of(out) == (), faces
    del line["faces"]  # as older versions wrote it
    file.write_text(json.dumps(line))
    assert Ledger(tmp_path).state_of(out, "1", "s") == "done" and Ledger(tmp_path).faces_of(out) == ()
    assert Ledger(tmp_path).faces_of(tmp_path / "other.png") == ()


def test_a_line_cut_short_is_ignored_and_the_next_one_is_whole(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    add(ledger, tmp_path / "a.png", b"x", "1", "s")
    add(ledger, tmp_path / "b.png", b"x", "2", "s")
    file = tmp_path / LEDGER
    file.write_bytes(file.read_bytes()[:-20])
    again = Ledger(tmp_path)
    assert again.state_of(tmp_path / "a.png", "1", "s") == "done"
    assert again.state_of(tmp_path / "b.png", "2", "s") != "done"
    add(again, tmp_path / "c.png", b"x", "3", "s")
    assert Ledger(tmp_path).state_of(tmp_path / "c.png", "3", "s") == "done"


def test_a_hostile_ledger_is_read_without_harm(tmp_path: Path) -> None:
    lines = [
        '{"output": 1}', "[" * 100_000, "\0\xff",
        '{"output": ["a"], "input_sha256": {}, "settings": 0, "output_sha256": 1}',
        '{"output": "../x", "input_sha256": "i", "settings": "s", "output_sha256": "o", "more": 1}',
    ]  # fmt: skip
    (tmp_path / LEDGER).write_bytes("\n".join(lines).encode("latin-1"))
    assert Ledger(tmp_path).outputs() == frozenset()
    (tmp_path / LEDGER).unlink()
    (tmp_path / "precious").write_text("mine")
    (tmp_path / LEDGER).symlink_to(tmp_path / "precious")
    with pytest.raises(OutputError, match="is a link"):
        Ledger(tmp_path)
    assert (tmp_path / "precious").read_text() == "mine"


def test_what_is_kept_beside_an_output_is_known_as_ours(tmp_path: Path) -> None:
    out, crop, ledger = tmp_path / "a.png", tmp_path / "crops" / "a_png_00.png", Ledger(tmp_path)
    crop.parent.mkdir()
    ledger.check_ours(crop)  # nothing is there
    crop.write_bytes(b"somebody's")
    with pytest.raises(OutputError, match="is not gfp's"):
        ledger.check_ours(crop)
    crop.write_bytes(b"ours")
    ledger.add(out, "in", "settings", "0" * 64, extras={crop: sha256_of(crop)})
    for each in (ledger, Ledger(tmp_path)):
        each.check_ours(crop)
        assert each.outputs() == {out, crop}
    crop.write_bytes(b"touched up")
    with pytest.raises(OutputError, match="was changed after gfp wrote it"):
        ledger.check_ours(crop)
    line = json.loads((tmp_path / LEDGER).read_text())
    (tmp_path / LEDGER).write_text("".join(json.dumps({**line, "extras": each}) + "\n" for each in ("{", "7", "[1]")))
    assert Ledger(tmp_path).outputs() == frozenset()


def test_what_was_made_and_taken_away_is_gone(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    add(ledger, tmp_path / "a.png", b"made")
    assert not ledger.is_gone(tmp_path / "a.png") and not ledger.is_gone(tmp_path / "never.png")
    (tmp_path / "a.png").unlink()
    assert ledger.is_gone(tmp_path / "a.png")
    assert Ledger(tmp_path, ledger.known_of(tmp_path / "a.png")).is_gone(tmp_path / "a.png")
