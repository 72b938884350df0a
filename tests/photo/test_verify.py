"""What `gfp verify` says: of outputs here, behind a URL and of clips; edited, renamed, gone, damaged; of others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import fsspec
import pytest
from typer.testing import CliRunner

from gfpcli.cli.app import app
from gfpcli.clip.label import LABEL_TAG, label_of_clip
from gfpcli.files.atomic import sha256_of
from gfpcli.files.ledger import LEDGER
from tests.cli.test_restore import BUILTIN, PHOTOS, gfp, restore
from tests.clips import ffmpeg, talking, write_clip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of outputs; not to be changed."""
    out = tmp_path_factory.mktemp("made") / "out"
    done = restore(PHOTOS / "grace_hopper.jpg", "-o", out, "--scale", 1, "--save", "faces,map")
    assert done.exit_code == 0, done.stderr
    return out


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "out")
    return tmp_path / "out"


def verdicts(*words: object) -> dict[str, str]:
    """Status by the file's name; the exit code must fit them."""
    done = gfp("verify", *words, "--json", "-")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == (0 if all(row["status"] == "unchanged" for row in rows) else 1), done.output
    return {Path(row["file"]).name: row["status"] for row in rows}


def test_what_was_made_is_told_with_its_input_and_settings(out: Path) -> None:
    done = gfp("verify", out, "--json", "-")
    assert done.exit_code == 0
    rows = {Path(row["file"]).name: row for row in map(json.loads, done.stdout.splitlines())}
    assert set(rows) == {
        "grace_hopper.jpg", "grace_hopper_jpg_00.png", "grace_hopper_jpg.png",
    }  # fmt: skip
    row, photo = rows["grace_hopper.jpg"], PHOTOS / "grace_hopper.jpg"
    assert (row["status"], row["input"], row["input_sha256"]) == ("unchanged", str(photo), sha256_of(photo))
    assert (row["model"], row["faces_drawn"], row["has_label"], row["scale"]) == ("compact", 1, True, 1)
    assert row["settings"]["save"] == ["faces", "map"] and len(row["model_sha256"]) == 64
    told = gfp("verify", out / "grace_hopper.jpg")
    assert told.stdout.startswith("unchanged ") and f"from {photo}" in told.stdout and "1 face drawn" in told.stdout
    assert gfp("verify", out, "-q").output == ""


def test_edited_copied_gone_damaged_and_foreign_files(out: Path, tmp_path: Path) -> None:
    picture = out / "grace_hopper.jpg"
    shutil.copy(picture, tmp_path / "copy.jpg")
    (tmp_path / "cut.jpg").write_bytes(picture.read_bytes()[:20_000])
    shutil.copy(PHOTOS / "grace_hopper.jpg", tmp_path / "other.jpg")
    (tmp_path / "notes.txt").write_text("no picture")
    picture.write_bytes(picture.read_bytes() + b" ")
    (out / "map" / "grace_hopper_jpg.png").unlink()
    found = verdicts(tmp_path, out)
    assert {name: found[name] for name in ("copy.jpg", "cut.jpg", "other.jpg", "grace_hopper.jpg")} == {
        "copy.jpg": "label_only", "cut.jpg": "damaged", "other.jpg": "not_gfp", "grace_hopper.jpg": "edited",
    }  # fmt: skip
    assert found["grace_hopper_jpg.png"] == "missing" and "notes.txt" not in found
    lines = gfp("verify", tmp_path / "cut.jpg", tmp_path / "nothing.jpg").stdout.splitlines()
    assert len(lines) == 2 and "damaged JPEG" in lines[0] and lines[1].endswith("nothing.jpg: no such file or folder")


def test_without_a_label_the_ledger_knows_and_without_a_ledger_the_label(tmp_path: Path) -> None:
    done = restore(PHOTOS / "grace_hopper.jpg", "-o", tmp_path / "out", "--scale", 1, "--no-label")
    assert done.exit_code == 0 and b"urn:gfpcli" not in (tmp_path / "out" / "grace_hopper.jpg").read_bytes()
    assert verdicts(tmp_path / "out") == {"grace_hopper.jpg": "unchanged"}
    (tmp_path / "out" / LEDGER).write_text('{"output": 3}\nnonsense\n')
    assert verdicts(tmp_path / "out") == {"grace_hopper.jpg": "not_gfp"}


def test_strip_drops_the_photo_s_data_and_keeps_the_label(tmp_path: Path) -> None:
    words = (PHOTOS / "grace_hopper.jpg", "-o", tmp_path, "--scale", 1, "--strip")
    assert restore(*words).exit_code == 0
    first = (tmp_path / "grace_hopper.jpg").read_bytes()
    assert b"urn:gfpcli" in first and restore(*words, "--force").exit_code == 0
    assert (tmp_path / "grace_hopper.jpg").read_bytes() == first  # no date is in it
    again = restore(*words, "--no-label")  # which is another setting
    assert "1 restored" in again.stderr and b"urn:gfpcli" not in (tmp_path / "grace_hopper.jpg").read_bytes()


def test_a_run_behind_a_url_is_verified_there(store: fsspec.AbstractFileSystem) -> None:
    store.pipe_file("/album/a.jpg", (PHOTOS / "grace_hopper.jpg").read_bytes())
    done = restore("memory://album", "-o", "memory://done", "--scale", 1)
    assert done.exit_code == 0, done.stderr
    row = json.loads(gfp("verify", "memory://done", "--json", "-").stdout)
    assert (row["status"], row["input"], row["faces_drawn"]) == ("unchanged", "memory://album/a.jpg", 1)
    store.pipe_file("/done/a.jpg", store.cat_file("/done/a.jpg") + b" ")
    store.pipe_file("/done/b.jpg", store.cat_file("/album/a.jpg"))
    assert verdicts("memory://done") == {"a.jpg": "edited", "b.jpg": "not_gfp"}
    assert verdicts("memory://done/nothing.jpg") == {"nothing.jpg": "missing"}


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
def test_clips_carry_the_label_and_are_verified(tmp_path: Path, ending: str) -> None:
    clip = write_clip(tmp_path / "talk.mp4", talking(4))
    words = [clip, "-o", tmp_path / "out" / f"a.{ending}", "--preset", "ultrafast", "--mask", "soft", *BUILTIN]
    done = CliRunner().invoke(app, ["video", "--strength", "1", *map(str, words)])
    assert done.exit_code == 0, done.stderr
    out = tmp_path / "out" / f"a.{ending}"
    label = label_of_clip(out)
    assert label and (label.model, label.n_faces) == ("compact", 4)
    assert verdicts(tmp_path / "out") == {out.name: "unchanged"}
    shutil.copy(out, tmp_path / out.name)
    assert verdicts(tmp_path / out.name) == {out.name: "label_only"}
    (tmp_path / out.name).write_bytes(out.read_bytes()[:-3])
    cut = {"mkv": ("label_only", "damaged")}.get(ending, ("damaged",))  # Matroska may be read without its end
    assert verdicts(tmp_path / out.name)[out.name] in cut
    if ending == "mkv":
        ffmpeg("-i", out, "-c", "copy", "-metadata", f"{LABEL_TAG}=[]", tmp_path / "odd.mkv")
        assert label_of_clip(tmp_path / "odd.mkv") is None
