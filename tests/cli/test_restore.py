"""`gfp restore` as a user runs it, with the weights in the package."""

from __future__ import annotations

import io
import json
import re
import shutil
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from typer.testing import CliRunner, Result

from gfpcli.cli.app import app
from gfpcli.model.checkpoint import read_state
from gfpcli.photo.codec import read_frame, read_photo
from gfpcli.weights.cache import BUILTINS
from tests.model.test_gfpgan import reference

PHOTOS = Path(__file__).resolve().parents[2] / "examples" / "photos"
BUILTIN = ("--offline", "--model", "compact", "--detector", "builtin")


def gfp(*words: object, data: bytes | None = None) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], input=data)


def restore(*words: object, data: bytes | None = None) -> Result:
    """With the network's face pasted whole, unless the words say otherwise."""
    return gfp("restore", "--strength", 1, *words, *BUILTIN, data=data)


def test_faces_have_identity_and_strength_and_are_kept_where_they_would_change(tmp_path: Path) -> None:
    words = (PHOTOS / "astronaut_small.jpg", "-o", tmp_path / "out.png", "--scale", 1, "--json", "-", "--force")
    (face,) = json.loads(restore(*words, "--review-below", 1).stdout)["faces"]
    assert face["status"] == "restored" and 0.5 < face["identity"] <= 1 and face["strength"] > 0.4
    done = restore(*words, "--identity-guard", 1, "--review-below", 1)
    record = json.loads(done.stdout)
    assert record["status"] == "restored" and record["faces"][0]["status"] == "kept"
    assert "1 face is kept as in the input" in record["notes"][-1] and "1 kept as in the input" in done.stderr
    assert "1 face to look at, identity below 1: " in done.stderr
    assert (read_frame(tmp_path / "out.png", 0).image == read_frame(words[0], 0).image).all()  # type: ignore[arg-type]
    (free,) = json.loads(restore(*words, "--identity-guard", "off").stdout)["faces"]
    assert "identity" not in free and free["strength"] == 1


def test_a_portrait_is_found_and_changed_in_its_face_only(tmp_path: Path) -> None:
    done = restore(PHOTOS / "grace_hopper.jpg", "-o", tmp_path, "--scale", 1, "--format", "png", "--faces", "largest")
    assert done.exit_code == 0, done.stderr
    assert "(1 face)" in done.stderr
    before = read_frame(PHOTOS / "grace_hopper.jpg", 0).image
    changed = (read_frame(tmp_path / "grace_hopper.png", 0).image != before).any(axis=2)
    assert changed[100:250, 200:320].mean() > 0.5
    assert not changed[400:].any() and not changed[:, :100].any()


def test_faces_come_out_cleaner(tmp_path: Path) -> None:
    """Added noise and JPEG are largely taken back inside the face."""
    true = read_frame(PHOTOS / "grace_hopper.jpg", 0).image
    rng = np.random.default_rng(5)
    noisy = np.clip(true + rng.normal(0, 20, true.shape), 0, 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "low.jpg"), noisy, [cv2.IMWRITE_JPEG_QUALITY, 60])
    assert restore(tmp_path / "low.jpg", "-o", tmp_path / "out.png", "--scale", 1).exit_code == 0
    face = slice(130, 240), slice(215, 305)
    errors = [
        np.square(read_frame(tmp_path / name, 0).image[face].astype(float) - true[face]).mean()
        for name in ("low.jpg", "out.png")
    ]
    assert errors[1] < 0.8 * errors[0]


def test_all_photos_good_odd_and_broken(shared_data: Path, tmp_path: Path) -> None:
    odd = shared_data / "photos" / "odd"
    out, records = tmp_path / "out", tmp_path / "r.jsonl"
    done = restore(odd, "-o", out, "--scale", 1, "--json", records, "--faces", "largest")
    assert done.exit_code == 1 and "Traceback" not in done.stderr
    rows = {str(Path(row["input"]).relative_to(odd)): row for row in map(json.loads, records.read_text().splitlines())}
    photos = [path for path in odd.rglob("*") if path.is_file() and path.stem != "README" and path.name[0] != "."]
    assert len(rows) == len(photos)
    failed = {name for name, row in rows.items() if row["status"] == "failed"}
    assert failed == {
        "bad_crc.png", "text_as.jpg", "truncated_50pct.png", "truncated_60pct.jpg", "truncated_header.jpg",
        "zero_bytes.jpg",
    }  # fmt: skip
    assert all(rows[name]["error"] and "\n" not in rows[name]["error"] for name in failed)
    for name, row in rows.items():
        if name in failed:
            continue
        photo, written = read_photo(odd / name, 0), read_photo(Path(row["output"]), 0)
        before, after = photo.frame, written.frame
        assert after.image.shape == before.image.shape and after.is_gray == before.is_gray, name
        assert after.image.dtype == before.image.dtype and (after.alpha is None) == (before.alpha is None), name
        assert written.carried.icc == photo.carried.icc, name
        assert written.format == (photo.format if photo.format != "GIF" else "PNG"), name
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    again = restore(odd, "-o", out, "--scale", 1, "--json", records, "--faces", "largest")
    assert again.exit_code == 1
    statuses = [json.loads(line)["status"] for line in records.read_text().splitlines()]
    assert statuses.count("failed") == 6 and statuses.count("skipped") == len(statuses) - 6
    assert stamps == {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}


def test_changed_settings_or_content_redo_just_what_changed(tmp_path: Path) -> None:
    photos, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(PHOTOS, photos)

    def statuses(*flags: object) -> list[str]:
        done = restore(photos, "-o", out, "--json", "-", "-q", *flags)
        assert done.exit_code == 0, done.stderr
        rows = map(json.loads, done.stdout.splitlines())
        return [row["status"] for row in sorted(rows, key=lambda row: row["input"])]

    assert statuses() == ["restored", "restored"]
    assert statuses() == ["skipped", "skipped"]
    assert statuses("--strength", 0.5) == ["restored", "restored"]
    shutil.copy(photos / "grace_hopper.jpg", photos / "astronaut_small.jpg")
    assert statuses("--strength", 0.5) == ["restored", "skipped"]
    (out / "grace_hopper.jpg").unlink()
    assert statuses("--strength", 0.5) == ["skipped", "restored"]
    assert statuses("--strength", 0.5, "--force") == ["restored", "restored"]
    assert [path.name for path in out.iterdir() if ".part" in path.name] == []


def test_records_tell_faces_and_sizes(tmp_path: Path) -> None:
    done = restore(PHOTOS / "astronaut_small.jpg", "-o", tmp_path, "--json", "-", "--scale", 1.5, "-q")
    (row,) = map(json.loads, done.stdout.splitlines())
    assert (row["width"], row["height"], row["scale"], row["model"]) == (300, 300, 1.5, "compact")
    (face,) = row["faces"]
    assert len(face["landmarks"]) == 5 and face["status"] == "restored" and 0.8 <= face["score"] <= 1
    assert row["seconds"] > 0 and row["error"] is None
    assert row["computed_in"].split()[0] in ("torch", "onnxruntime")


def test_a_face_that_fails_is_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Pillow.open(PHOTOS / "astronaut_small.jpg").save(tmp_path / "a.png")
    words = (tmp_path / "a.png", "-o", tmp_path / "out", "--scale", 1, "--json", "-", "-q")
    with monkeypatch.context() as broken:
        broken.setattr("gfpcli.weights.face_model.FaceNet.__call__", lambda self, faces: faces * float("nan"))
        done = restore(*words)
    (row,) = map(json.loads, done.stdout.splitlines())
    assert done.exit_code == 1 and row["status"] == "failed" and "1 of 1 faces failed" in row["error"]
    assert [face["status"] for face in row["faces"]] == ["failed"]
    assert (read_frame(tmp_path / "out" / "a.png", 0).image == read_frame(tmp_path / "a.png", 0).image).all()
    again = restore(*words)
    assert again.exit_code == 0 and json.loads(again.stdout)["status"] == "restored"


def test_strength_0_gives_the_input_back(tmp_path: Path) -> None:
    Pillow.open(PHOTOS / "astronaut_small.jpg").save(tmp_path / "a.png")
    restore(tmp_path / "a.png", "-o", tmp_path / "out", "--scale", 1, "--strength", 0)
    assert (read_frame(tmp_path / "out" / "a.png", 0).image == read_frame(tmp_path / "a.png", 0).image).all()


def test_extras_are_saved(tmp_path: Path) -> None:
    done = restore(PHOTOS / "astronaut_small.jpg", "-o", tmp_path, "--save", "crops,faces,masks,compare")
    assert done.exit_code == 0
    shapes = {
        kind: cv2.imread(str(next((tmp_path / kind).iterdir()))).shape
        for kind in ("crops", "faces", "masks", "compare")
    }
    assert shapes == {"crops": (256, 256, 3), "faces": (256, 256, 3), "masks": (256, 256, 3), "compare": (400, 816, 3)}
    assert (tmp_path / "compare" / "astronaut_small_jpg.jpg").exists()
    assert "choose one of crops" in restore(PHOTOS, "-o", tmp_path, "--save", "frames").stderr


def test_a_report_covers_failures_and_what_was_done_before(tmp_path: Path) -> None:
    photos, page = tmp_path / "in", tmp_path / "pages" / "report.html"
    shutil.copytree(PHOTOS, photos)
    (photos / "bad.png").write_text("not an image")
    words = (photos, "-o", tmp_path / "out", "--report", page)
    first, first_text = restore(*words), page.read_text(encoding="utf-8")
    again, again_text = restore(*words), page.read_text(encoding="utf-8")
    assert (first.exit_code, again.exit_code) == (1, 1) and "report in" in first.stderr
    of_inputs = re.compile(r'<article[^>]* data-status="(\w+)"')
    first_statuses, statuses = of_inputs.findall(first_text), of_inputs.findall(again_text)
    assert sorted(first_statuses) == ["failed", "restored", "restored"] and statuses.count("skipped") == 2
    for text in (first_text, again_text):
        assert "3 inputs, 2 faces found, 2 restored" in text
        assert "CC BY-NC-SA 4.0" in text and 'href="../out/grace_hopper.jpg"' in text
        assert len(re.findall(r'alt="face after" data-src="data:image/webp', text)) == 2
    piped = restore("-", "-o", "-", "--report", page, data=(PHOTOS / "astronaut_small.jpg").read_bytes())
    assert piped.exit_code == 2 and "--report is for files" in piped.stderr


def test_aligned_equals_the_reference(tmp_path: Path) -> None:
    theirs = reference("clean", 128, 0.25, 1)
    torch.save({"params_ema": theirs.state_dict()}, tmp_path / "random.pth")
    rng = np.random.default_rng(0)
    face = cv2.resize(rng.integers(0, 256, (16, 16, 3), np.uint8), (128, 128), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / "face.png"), face)
    whole = ("--strength", 1, "--identity-guard", "off")  # all of what the network makes, whoever it shows
    flags = ("--aligned", "--model", tmp_path / "random.pth", "--precision", "fp32", *whole)
    done = gfp("restore", tmp_path / "face.png", "-o", tmp_path / "out.png", *flags)
    assert done.exit_code == 0, done.stderr
    x = torch.from_numpy(face[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        want = theirs((x - 0.5) / 0.5, return_rgb=False, randomize_noise=False)[0][0].clamp(-1, 1)
    levels = ((want + 1) / 2 * 255).round().permute(1, 2, 0).numpy()[..., ::-1]
    assert levels.std() > 10
    assert np.abs(cv2.imread(str(tmp_path / "out.png")).astype(float) - levels).max() <= 1
    cv2.imwrite(str(tmp_path / "wide.png"), face[:50])
    assert "not square" in gfp("restore", tmp_path / "wide.png", "-o", tmp_path / "o", *flags).stderr


def test_one_image_through_stdin_and_stdout() -> None:
    done = restore("-", "-o", "-", data=(PHOTOS / "astronaut_small.jpg").read_bytes())
    assert done.exit_code == 0
    assert Pillow.open(io.BytesIO(done.stdout_bytes)).size == (400, 400)


PORTRAIT = (PHOTOS / "astronaut_small.jpg").read_bytes()


def test_stdin_replaces_no_file_that_gfp_did_not_write(tmp_path: Path) -> None:
    mine = tmp_path / "mine.jpg"
    mine.write_bytes(b"somebody's")
    done = restore("-", "-o", mine, data=PORTRAIT)
    assert done.exit_code == 1 and "is not gfp's" in done.stderr and mine.read_bytes() == b"somebody's"
    assert restore("-", "-o", mine, "--force", data=PORTRAIT).exit_code == 0
    stamp = mine.stat().st_mtime_ns
    again = restore("-", "-o", mine, data=PORTRAIT)
    assert again.exit_code == 0 and "skipped" in again.stderr and mine.stat().st_mtime_ns == stamp
    assert restore("-", "-o", mine, data=(PHOTOS / "grace_hopper.jpg").read_bytes()).exit_code == 0


def test_stdin_has_a_record_and_extras(tmp_path: Path) -> None:
    words = ("-o", tmp_path / "out", "--save", "crops", "--json", "-", "--suffix", "_r", "-q")
    done = restore("-", *words, data=PORTRAIT)
    (row,) = map(json.loads, done.stdout.splitlines())
    assert (row["input"], row["output"]) == ("stdin", str(tmp_path / "out" / "stdin_r.jpg"))
    assert row["status"] == "restored" and [face["status"] for face in row["faces"]] == ["restored"]
    assert (tmp_path / "out" / "crops" / "stdin_r_jpg_00.png").exists()


def test_stdin_whose_faces_fail_exits_1_and_what_is_no_picture_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gfpcli.weights.face_model.FaceNet.__call__", lambda self, faces: faces * float("nan"))
    done = restore("-", "-o", tmp_path / "a.jpg", data=PORTRAIT)
    assert done.exit_code == 1 and "1 of 1 faces failed" in done.stderr
    for data in (b"", b"no picture"):
        bad = restore("-", "-o", tmp_path / "b.jpg", "-q", data=data)
        assert bad.exit_code == 1 and bad.stderr == "failed    stdin: not an image\n"
    assert not (tmp_path / "b.jpg").exists()


def test_with_stdout_taken_by_the_picture_the_record_goes_elsewhere(tmp_path: Path) -> None:
    records = tmp_path / "r.jsonl"
    done = restore("-", "-o", "-", "--json", records, "-q", data=PORTRAIT)
    row = json.loads(records.read_text())
    assert (row["output"], row["status"], row["width"]) == ("-", "restored", 400)
    assert Pillow.open(io.BytesIO(done.stdout_bytes)).format == "JPEG"
    done = restore("-", "-o", "-", "--json", "-", "-q", "--format", "png", data=PORTRAIT)
    assert json.loads(done.stderr)["output"] == "-"
    assert Pillow.open(io.BytesIO(done.stdout_bytes)).format == "PNG"
    refused = restore("-", "-o", "-", "--save", "crops", data=PORTRAIT)
    assert refused.exit_code == 2 and "--save keeps files" in refused.stderr
    named = restore(PHOTOS, "-o", "-")
    assert named.exit_code == 2 and "takes its image from stdin" in named.stderr


def test_a_name_that_tells_another_format_than_the_one_asked_for_is_refused(tmp_path: Path) -> None:
    for source, data in (("-", PORTRAIT), (PHOTOS / "astronaut_small.jpg", None)):
        done = restore(source, "-o", tmp_path / "x.jpg", "--format", "png", data=data)
        assert done.exit_code == 2 and "is not named like --format png" in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_extras_replace_no_file_that_gfp_did_not_write(tmp_path: Path) -> None:
    words = (PHOTOS / "astronaut_small.jpg", "-o", tmp_path, "--save", "crops,compare", "--scale", 1)
    theirs = tmp_path / "crops" / "astronaut_small_jpg_00.png"
    theirs.parent.mkdir()
    theirs.write_bytes(b"somebody's")
    done = restore(*words)
    assert done.exit_code == 1 and f"{theirs}: is there already and is not gfp's" in done.stderr
    assert theirs.read_bytes() == b"somebody's"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [theirs.name], "nothing half done"
    assert restore(*words, "--force").exit_code == 0 and theirs.read_bytes() != b"somebody's"
    assert restore(*words, "--strength", 0.5).exit_code == 0, "gfp replaces what it wrote itself"
    theirs.write_bytes(b"touched up")
    kept = restore(*words)
    assert kept.exit_code == 1 and "was changed after gfp wrote it" in kept.stderr


def test_extras_are_no_inputs_of_the_next_run(tmp_path: Path) -> None:
    shutil.copy(PHOTOS / "astronaut_small.jpg", tmp_path)
    for status in ("restored", "skipped"):
        done = restore(tmp_path, "-o", tmp_path, "--suffix", "_r", "--save", "faces", "--json", "-", "-q")
        assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == [status]


def test_json_and_report_replace_no_other_file(tmp_path: Path) -> None:
    words = (PHOTOS / "astronaut_small.jpg", "-o", tmp_path, "--scale", 1)
    assert restore(*words).exit_code == 0
    ledger, notes, page = tmp_path / ".gfp-ledger.jsonl", tmp_path / "notes.txt", tmp_path / "page.html"
    link = tmp_path / "link.jsonl"
    link.symlink_to(ledger)
    lines = ledger.read_text()
    for path in (ledger, link):
        done = restore(*words, "--json", path, "--force")
        assert done.exit_code == 2 and "gfp keeps this file for itself" in done.stderr, done.stderr
    assert ledger.read_text() == lines
    for path, flag in ((notes, "--json"), (page, "--report")):
        path.write_text("somebody's")
        done = restore(*words, flag, path)
        assert done.exit_code == 1 and done.stderr.count("\n") == 1 and "is there already" in done.stderr
        assert path.read_text() == "somebody's"
        for force in (("--force",), ()):  # the second time it is gfp's
            assert restore(*words, flag, path, *force).exit_code == 0


def test_a_configuration_file_sets_and_flags_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gfp.toml").write_text('[restore]\nscale = 1\nsuffix = "_r"\nsave = ["crops"]\n')
    restore(PHOTOS / "astronaut_small.jpg", "-o", "out", "--suffix", "_flag")
    with Pillow.open("out/astronaut_small_flag.jpg") as picture:
        assert picture.size == (200, 200)
    assert Path("out/crops").is_dir()
    for text, told in (
        ("[restore]\nscael = 1", "scael"),
        ("[restore]\nscale = 'x'", "must be float"),
        ("[", "not TOML"),
    ):
        Path("bad.toml").write_text(text)
        done = restore(PHOTOS, "--config", "bad.toml")
        assert (done.exit_code, told in done.stderr) == (2, True), done.stderr


def test_the_background_is_drawn_by_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearer to the truth than Lanczos, around the face; no socket."""
    true = read_frame(PHOTOS / "grace_hopper.jpg", 0).image[:, :512]
    low = cv2.resize(true, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / "low.jpg"), low, [cv2.IMWRITE_JPEG_QUALITY, 75])

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    errors = []
    for name in ("none", "compact-x2"):
        words = ("-b", name, "--tile", 128, "-o", tmp_path / f"{name}.png")
        assert restore(tmp_path / "low.jpg", *words).exit_code == 0
        out = read_frame(tmp_path / f"{name}.png", 0).image
        assert out.shape == true.shape
        errors.append(np.square(out.astype(float) - true).mean())
    assert errors[1] < 0.9 * errors[0]
    again = restore(tmp_path / "low.jpg", "-b", "compact-x2", "--tile", 128, "-o", tmp_path / "compact-x2.png")
    assert "skipped" in again.stderr


def test_alpha_gray_and_depth_go_through_a_background_network(tmp_path: Path) -> None:
    gray = np.tile(np.linspace(0, 65535, 90, dtype=np.uint16), (70, 1))
    deep = np.dstack([gray, gray[::-1], gray[:, ::-1], gray])
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    cv2.imwrite(str(tmp_path / "gray.png"), gray)
    done = restore(tmp_path / "deep.png", tmp_path / "gray.png", "-b", "compact-x2", "-s", 1.5, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    for name, shape in (("deep.png", (105, 135, 4)), ("gray.png", (105, 135))):
        out = cv2.imread(str(tmp_path / "out" / name), cv2.IMREAD_UNCHANGED)
        assert out is not None and out.shape == shape and out.dtype == np.uint16
        assert len(np.unique(out)) > 1000, "more than 256 levels"


def test_a_background_that_fails_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    torch.save({"params": {"a": torch.zeros(3)}}, tmp_path / "wrong.pth")
    wrong = restore(PHOTOS, "-b", tmp_path / "wrong.pth", "-o", tmp_path / "out")
    assert wrong.exit_code == 1 and "of a kind" in wrong.stderr and wrong.stderr.count("\n") == 1
    state = read_state(BUILTINS["compact-x2"])
    torch.save({"params": {key: 1e30 * value for key, value in state.items()}}, tmp_path / "wild.pth")
    wild = restore(PHOTOS / "grace_hopper.jpg", "-b", tmp_path / "wild.pth", "-o", tmp_path / "out")
    assert wild.exit_code == 1 and "grace_hopper.jpg: the background network gave numbers" in wild.stderr
    assert not list((tmp_path / "out").glob("*.jpg"))
    missing = restore(PHOTOS, "-b", "realesrgan-x4", "-o", tmp_path / "out")
    assert missing.exit_code == 1 and "gfp models pull realesrgan-x4" in missing.stderr


def test_a_dry_run_tells_faces_sizes_and_costs_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # short names: the table folds long ones
    photos = Path("in")
    shutil.copytree(PHOTOS, photos)
    (photos / "bad.png").write_text("not an image")
    done = restore(photos, "-o", "out", "--dry-run")
    assert done.exit_code == 0, done.stderr
    rows = {Path(line.split()[0]).name: line.split() for line in done.stderr.splitlines() if line.split()}
    assert rows["astronaut_small.jpg"][1:4] == ["200x200", "400x400", "1"]
    assert "would fail: not an image" in " ".join(rows["bad.png"])
    assert rows["inputs"][1:] == ["2", "to", "restore,", "1", "would", "fail"]
    assert rows["faces"][1] == "2" and rows["time"][3] == "s" and float(rows["memory"][2]) > 0.1
    assert not Path("out").exists()
    restore(photos, "-o", "out")
    again = restore(photos, "-o", "out", "--dry-run").stderr
    assert "0 to restore, 1 would fail, 2 done before" in again
    (photos / "bad.png").unlink()
    assert "0 to restore, 2 done before" in restore(photos, "-o", "out", "--dry-run").stderr
    piped = restore("-", "-o", "-", "--dry-run", data=(PHOTOS / "astronaut_small.jpg").read_bytes())
    assert piped.exit_code == 2 and "--dry-run is for files" in piped.stderr


def test_offline_opens_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    done = gfp("restore", PHOTOS / "astronaut_small.jpg", "-o", tmp_path, "--offline")
    assert done.exit_code == 0 and "gfp models pull gfpgan-1.4" in done.stderr
    named = gfp("restore", PHOTOS, "-o", tmp_path, "--offline", "--model", "gfpgan-1.3")
    assert named.exit_code == 1 and "--offline is set" in named.stderr


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--scale", "9"], "from 1 to 8"),
        (["--strength", "nan"], "from 0 to 1"),
        (["--faces", "some"], "largest"),
        (["--model", "gfpgan-9"], "gfpgan-1.4"),
        (["--background", "realesrgan-x3"], "choose one of none, compact-x2, realesrgan-x2"),
        (["--background", "gfpgan-1.4"], "is known, but not for this flag"),
        (["--background", "compact-x2", "--aligned"], "--aligned has no background"),
        (["--background", "compact-x2", "--tile", "8"], "at least 32"),
        (["--report", "photo.jpg"], "must end in .html"),
        (["--device", "tpu"], "cuda"),
    ],
)
def test_wrong_usage_exits_2_with_one_line(tmp_path: Path, flags: list[str], told: str) -> None:
    done = gfp("restore", PHOTOS, "-o", tmp_path / "out", "--offline", *flags)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.stderr
    assert told in done.stderr


def test_fail_fast_stops_and_a_file_that_is_no_folder_is_told(tmp_path: Path) -> None:
    photos = tmp_path / "in"
    shutil.copytree(PHOTOS, photos)
    (photos / "aaa.png").write_text("not an image")
    done = restore(photos, "-o", tmp_path / "out", "--fail-fast")
    assert done.exit_code == 1 and "aaa.png" in done.stderr
    assert not (tmp_path / "out" / "grace_hopper.jpg").exists()
    (tmp_path / "file").write_text("x")
    blocked = restore(PHOTOS, "-o", tmp_path / "file" / "out")
    assert blocked.exit_code == 1 and blocked.stderr.count("\n") == 1


def test_two_devices_give_the_outputs_and_the_ledger_of_one(tmp_path: Path) -> None:
    photos = tmp_path / "in"
    photos.mkdir()
    for i in range(6):
        shutil.copy(PHOTOS / ("grace_hopper.jpg" if i % 2 else "astronaut_small.jpg"), photos / f"{i}.jpg")
    facts = {}
    for devices in ("cpu", "cpu,cpu"):
        out = tmp_path / devices
        assert restore(photos, "-o", out, "--device", devices).exit_code == 0
        rows = [json.loads(line) for line in (out / ".gfp-ledger.jsonl").read_text().splitlines()]
        order = [(row["output"], row["settings"], row["output_sha256"]) for row in rows]
        facts[devices] = order, [(out / name).read_bytes() for name, _, _ in order]
    assert facts["cpu"] == facts["cpu,cpu"] and len(facts["cpu"][0]) == 6
