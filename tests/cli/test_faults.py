"""`gfp` among odd names, links, closed folders, full disks, other people's files and other runs of itself."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from typer.testing import CliRunner, Result

import gfpcli.cli.progress
import gfpcli.photo.batch
from gfpcli.cli.app import app
from gfpcli.errors import OutputError
from gfpcli.files.ledger import LEDGER
from gfpcli.files.locking import hold, lock_of
from gfpcli.options import RestoreOptions
from gfpcli.photo.codec import Photo
from gfpcli.photo.encode import EncodedPhoto
from gfpcli.pipeline.restorer import Restorer
from gfpcli.types import Outcome
from tests.clips import faceless, write_clip

PHOTOS = Path(__file__).resolve().parents[2] / "examples" / "photos"
BUILTIN = ("--offline", "--model", "compact", "--detector", "builtin", "--mask", "soft")


def gfp(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def restore(*words: object) -> Result:
    return gfp("restore", *words, "--scale", 1, *BUILTIN)


def rows_of(*words: object) -> list[dict[str, object]]:
    done = restore(*words, "--json", "-", "-q")
    return sorted(map(json.loads, done.stdout.splitlines()), key=lambda row: str(row["input"]))


def picture(path: Path, shade: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.new("RGB", (24, 16), (shade, 60, 30)).save(path, "PNG")
    return path


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(autouse=True)
def faceless_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos without faces need no face network: its loading alone would take most of the time."""
    model = SimpleNamespace(size=256)
    nobody = Restorer(lambda images: [()], model, lambda faces: [], RestoreOptions(scale=1))  # type: ignore[arg-type]
    monkeypatch.setattr(gfpcli.photo.batch, "load_restorer", lambda *_, **__: nobody)


def test_names_of_every_kind_come_through(tmp_path: Path) -> None:
    photos, out = tmp_path / "in", tmp_path / "out"
    names = [
        "x" * 251 + ".png", "ü" * 125 + ".png", "line\nbreak.png", "-rf.png", "--output.png", "\x1b[31mred.png",
        "%d%s.png", "a b'\"$(x).png", "人 و.png", "..png", " .png", os.fsdecode(b"\xff\xfe.png"), "turn\u202egnp.png",
        "[1-3]*.png",
    ]  # fmt: skip
    for name in names:
        picture(photos / name)
    done = restore(photos, "-o", out, "--hidden", "--json", tmp_path / "r.jsonl")
    assert done.exit_code == 0 and len(done.stderr.splitlines()) == len(names) + 1, done.stderr
    assert not any(sign in done.stderr for sign in "\x1b\u202e") and "line\\nbreak" in done.stderr
    assert {os.fsencode(name) for name in names} == {os.fsencode(name) for name in names_in(out)} - {LEDGER.encode()}
    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert {row["input"] for row in rows} == {str(photos / name) for name in names}
    assert {row["status"] for row in rows_of(photos, "-o", out, "--hidden")} == {"skipped"}
    assert gfp("restore", "-o", out, *BUILTIN, "--", photos / "-rf.png").exit_code == 0


def test_a_name_that_becomes_too_long_is_a_reason(tmp_path: Path) -> None:
    picture(tmp_path / "in" / ("x" * 251 + ".png"))
    picture(tmp_path / "in" / "a.png")
    rows = rows_of(tmp_path / "in", "-o", tmp_path / "out", "--suffix", "_restored")
    assert [row["status"] for row in rows] == ["no_face", "failed"] and "too long" in str(rows[1]["error"])
    for words in (("y" * 300, "-o", tmp_path / "out"), (tmp_path / "in", "-o", tmp_path / ("z" * 300))):
        done = restore(*words)
        assert done.exit_code == 1 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def test_links_are_read_and_never_written_through(tmp_path: Path) -> None:
    photos, out, elsewhere = tmp_path / "in", tmp_path / "out", tmp_path / "elsewhere"
    outside = picture(elsewhere / "outside.png")
    picture(photos / "sub" / "a.png")
    (photos / "loop").symlink_to(photos)
    (photos / "self.png").symlink_to(photos / "self.png")
    (photos / "dead.png").symlink_to(tmp_path / "nowhere.png")
    (photos / "linked.png").symlink_to(outside)
    out.mkdir()
    (out / "sub").symlink_to(elsewhere)
    other = picture(elsewhere / "other.png")
    (out / "linked.png").symlink_to(other)
    before = outside.read_bytes()
    rows = {Path(str(row["input"])).name: row for row in rows_of(photos, "-o", out, "--force")}
    assert {name: row["status"] for name, row in rows.items()} == {
        "a.png": "failed", "dead.png": "failed", "linked.png": "no_face", "self.png": "failed",
    }  # fmt: skip
    assert "leads out of" in rows["a.png"]["error"] and "No such file" in rows["dead.png"]["error"]  # type: ignore[operator]
    assert "symbolic links" in rows["self.png"]["error"]  # type: ignore[operator]
    assert outside.read_bytes() == other.read_bytes() == before and names_in(elsewhere) == ["other.png", "outside.png"]
    assert not (out / "linked.png").is_symlink()


def test_a_folder_that_cannot_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "closed" / "b.png")
    true = os.scandir

    def scan(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return true(path)

    monkeypatch.setattr(os, "scandir", scan)
    rows = rows_of(tmp_path / "in", "-o", tmp_path / "out")
    assert [row["status"] for row in rows] == ["no_face", "failed"]
    assert str(rows[1]["error"]).startswith(str(tmp_path / "in" / "closed"))
    for command in ("restore", "video"):
        done = gfp(command, tmp_path / "in" / "closed", "-o", tmp_path / "out", *BUILTIN)
        assert done.exit_code == 1 and done.stderr == f"gfp: {tmp_path}/in/closed: Permission denied\n"


def test_other_people_s_files_and_touched_up_results_are_kept(tmp_path: Path) -> None:
    photos, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.png", "b.png", "c.png"):
        picture(photos / name)
    theirs = picture(out / "a.png", 7).read_bytes()
    rows = rows_of(photos, "-o", out)
    assert [row["status"] for row in rows] == ["failed", "no_face", "no_face"]
    assert "is not gfp's" in str(rows[0]["error"]) and (out / "a.png").read_bytes() == theirs
    touched = picture(out / "b.png", 8).read_bytes()
    rows = rows_of(photos, "-o", out, "--strength", 0.5)
    assert [row["status"] for row in rows] == ["failed", "skipped", "no_face"]
    assert "was changed after gfp wrote it" in str(rows[1]["notes"]) and (out / "b.png").read_bytes() == touched
    assert {row["status"] for row in rows_of(photos, "-o", out, "--force")} == {"no_face"}
    assert (out / "a.png").read_bytes() != theirs and (out / "b.png").read_bytes() != touched


def test_results_among_the_photos_are_no_photos(tmp_path: Path) -> None:
    picture(tmp_path / "a.png"), picture(tmp_path / "sub" / "b.png")
    for status in ("no_face", "skipped"):
        assert [row["status"] for row in rows_of(tmp_path, "-o", tmp_path, "--suffix", "_r")] == [status] * 2
    assert names_in(tmp_path) == [LEDGER, "a.png", "a_r.png", "sub"] and (tmp_path / "sub" / "b_r.png").exists()
    picture(tmp_path / "c.png"), picture(tmp_path / "c_r.png")
    done = restore(tmp_path, "-o", tmp_path, "--suffix", "_r")
    assert done.exit_code == 2 and "c_r.png is an input" in done.stderr


def test_an_input_is_never_an_output(tmp_path: Path) -> None:
    photos = tmp_path / "in"
    before = picture(photos / "a.png").read_bytes()
    (tmp_path / "alias").symlink_to(photos)
    (tmp_path / "hard").mkdir()
    os.link(photos / "a.png", tmp_path / "hard" / "a.png")
    for out in (photos, tmp_path / "alias", tmp_path / "hard", photos / ".." / "in", photos / "a.png"):
        done = restore(photos / "a.png" if out.name == "a.png" else photos, "-o", out, "--force")
        assert done.exit_code == 2 and "is an input" in done.stderr, out
    assert (photos / "a.png").read_bytes() == before and names_in(photos) == ["a.png"]


def test_an_input_that_vanishes_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path / "in" / name)
    true = gfpcli.photo.batch.plan_jobs

    def plan(*words: object, **more: object) -> object:
        jobs = true(*words, **more)  # type: ignore[arg-type]
        (tmp_path / "in" / "a.png").unlink()
        return jobs

    monkeypatch.setattr(gfpcli.photo.batch, "plan_jobs", plan)
    rows = rows_of(tmp_path / "in", "-o", tmp_path / "out")
    assert [row["status"] for row in rows] == ["failed", "no_face"] and "No such file" in str(rows[0]["error"])


@pytest.mark.parametrize(
    ("error", "told"), [(MemoryError(), "not enough memory"), (KeyError("inside"), "KeyError"),
                        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory")]
)  # fmt: skip
@pytest.mark.parametrize("stage", ["decode_photo", "prepare_extras", "encode_photo"])
def test_a_fault_in_one_photo_is_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, error: Exception, told: str
) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path / "in" / name)
    true, calls = getattr(gfpcli.photo.batch, stage), []

    def once(*words: object, **flags: object) -> object:
        calls.append(words)
        if len(calls) == 1:
            raise error
        return true(*words, **flags)

    monkeypatch.setattr(gfpcli.photo.batch, stage, once)
    rows = rows_of(tmp_path / "in", "-o", tmp_path / "out", "--save", "crops")
    assert sorted(str(row["status"]) for row in rows) == ["failed", "no_face"]
    assert told in next(str(row["error"]) for row in rows if row["error"])
    monkeypatch.setattr(gfpcli.photo.batch, stage, true)
    rows = rows_of(tmp_path / "in", "-o", tmp_path / "out", "--save", "crops")
    assert sorted(str(row["status"]) for row in rows) == ["no_face", "skipped"]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return write_clip(tmp_path / "in" / "a.mp4", faceless(3))


def test_two_runs_on_one_output_are_one_line(tmp_path: Path, clip: Path) -> None:
    photo, out = picture(tmp_path / "photos" / "a.png"), tmp_path / "out"
    small = ("--preset", "tiny", "--set", "size=32", "--iterations", 1)
    commands: list[tuple[object, ...]] = [
        ("restore", photo.parent, "-o", out, *BUILTIN), ("video", clip, "-o", out, *BUILTIN),
        ("train", "--data", PHOTOS, "-o", out, *small),
    ]  # fmt: skip
    with hold(*lock_of(out, None)):
        for words in commands:
            done = gfp(*words)
            assert done.exit_code == 1 and done.stderr.count("\n") == 1, done.stderr
            assert f"{out}: another gfp run is writing there now" in done.stderr
        assert gfp("restore", photo, "-o", out / "one.png", *BUILTIN).exit_code == 0  # a file of its own beside them
    assert gfp(*commands[0]).exit_code == 0
    assert names_in(out) == [LEDGER, "a.png", "one.png"]


def test_a_video_among_other_people_s_files_and_links(tmp_path: Path, clip: Path) -> None:
    out, fast = tmp_path / "out", ("--preset", "ultrafast", *BUILTIN)
    out.mkdir()
    (out / "a.mp4").write_bytes(b"theirs")
    done = gfp("video", clip, "-o", out, *fast)
    assert done.exit_code == 1 and "is not gfp's" in done.stderr and (out / "a.mp4").read_bytes() == b"theirs"
    (out / "a.mp4").unlink()
    (tmp_path / "elsewhere").mkdir()
    (out / ".a.mp4.gfp").symlink_to(tmp_path / "elsewhere")
    done = gfp("video", clip, "-o", out, *fast)
    assert done.exit_code == 1 and "is a link" in done.stderr and names_in(tmp_path / "elsewhere") == []
    (out / ".a.mp4.gfp").unlink()
    (clip.parent / "dead.mp4").symlink_to(tmp_path / "nowhere")
    for name in ("x" * 251 + ".mp4", "-i.mp4", "http:x.mp4", "concat:a|b.mp4", "%03d.mp4", "line\nbreak.mp4"):
        shutil.copy(clip, clip.parent / name)
    for words in (("-o", out), ("-o", clip.parent, "--suffix", "_r"), ("-o", clip.parent, "--suffix", "_r")):
        done = gfp("video", clip.parent, *words, *fast)
        told = [line for line in done.stderr.splitlines() if line.startswith("failed")]
        assert done.exit_code == 1 and "dead.mp4" in told[0], done.stderr
        assert all("too long" in line for line in told[1:]) and len(told) <= 2
    assert len(list(out.glob("*.mp4"))) == 7 and not list(out.glob(".*.gfp"))


def test_nothing_that_is_kept_beside_replaces_an_input(tmp_path: Path, clip: Path) -> None:
    frames = tmp_path / "frames"
    photo = picture(frames / "000001.png")
    before = photo.read_bytes()
    shutil.copy(clip, tmp_path / "b.preview.mp4")
    for words in (
        ("video", frames, "-o", tmp_path / "out", "--frames-dir", tmp_path),
        ("video", tmp_path / "b.preview.mp4", "-o", tmp_path / "b.mp4", "--preview", 2),
        ("video", clip, "-o", tmp_path / "out", "--json", clip), ("eval", frames, frames, "--json", photo),
        ("restore", photo, "-o", tmp_path / "out", "--json", photo),
        ("restore", photo, "-o", tmp_path / "out", "--report", photo),
    ):  # fmt: skip
        done = gfp(*words, *(BUILTIN if words[0] != "eval" else ()))
        *more, last = done.stderr.splitlines()
        assert done.exit_code == 2 and last.startswith("gfp: ") and (not more or words[0] == "eval"), done.stderr
    assert photo.read_bytes() == before and (tmp_path / "b.preview.mp4").read_bytes() == clip.read_bytes()


def test_a_play_list_opens_no_other_file(tmp_path: Path, clip: Path) -> None:
    lists = {
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n",
        "concat.mkv": f"ffconcat version 1.0\nfile {clip.name}\n",
        "sdp.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
        "dash.mp4": f'<?xml version="1.0"?><MPD><Period><BaseURL>{clip}</BaseURL></Period></MPD>',
    }
    for name, text in lists.items():
        (tmp_path / "in" / name).write_text(text)
        done = gfp("video", tmp_path / "in" / name, "-o", tmp_path / "out", *BUILTIN)
        assert done.exit_code == 1 and "not a video" in done.stderr and done.stderr.count("\n") == 1, done.stderr


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Path]:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs mounts of its own: unshare -rm is not allowed here")
    yield tmp_path


IN_MOUNTS = """
import json, sys
from pathlib import Path
from typer.testing import CliRunner
from gfpcli.cli.app import app
from gfpcli.errors import OutputError
folder = Path(sys.argv[1])
flags = [*sys.argv[2:]]
for name in ("full", "closed", "same"):
    done = CliRunner().invoke(app, ["restore", str(folder / "in"), "-o", str(folder / name), *flags])
    print(json.dumps([name, done.exit_code, done.stderr]))
    if name == "full":
        print(json.dumps(sorted(path.name for path in (folder / name).iterdir())))
"""


def test_a_full_a_read_only_and_the_same_folder_mounted(mounts: Path) -> None:
    rng = np.random.default_rng(1)
    for i in range(4):
        (mounts / "in").mkdir(exist_ok=True)
        Pillow.fromarray(rng.integers(0, 256, (150, 150, 3), dtype=np.uint8)).save(mounts / "in" / f"{i}.png")
    for name in ("full", "closed", "same"):
        (mounts / name).mkdir()
    before = {path.name: path.read_bytes() for path in (mounts / "in").iterdir()}
    script = (
        'mount -t tmpfs -o size=180k tmpfs "$1/full" && mount -t tmpfs -o ro tmpfs "$1/closed" && '
        'mount --bind "$1/in" "$1/same" && exec "$2" -c "$3" "$1" "${@:4}"'
    )
    words = ["unshare", "-rm", "bash", "-c", script, "bash", str(mounts), sys.executable, IN_MOUNTS, *BUILTIN]
    done = subprocess.run(
        [*words, "--scale", "1"], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    full, made, closed, same = map(json.loads, done.stdout.splitlines())
    lines = full[2].splitlines()
    assert full[1] == 1 and sum("No space left on device" in line for line in lines) == 2, full
    assert [line.split()[0] for line in lines[:4]].count("no_face") == 2
    assert len(made) == 3 and not [name for name in made if ".part" in name]
    assert closed[1] == 1 and "closed: cannot be written (Read-only file system)" in closed[2]
    assert closed[2].count("\n") == 1
    assert same[1] == 2 and "is an input" in same[2]
    assert {path.name: path.read_bytes() for path in (mounts / "in").iterdir()} == before


def test_ctrl_c_tells_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(9):
        picture(tmp_path / "in" / f"{i}.png")
    true, seen = gfpcli.cli.progress.Tally.add, []

    def add(self: gfpcli.cli.progress.Tally, outcome: Outcome) -> None:
        true(self, outcome)
        seen.append(outcome)
        if len(seen) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(gfpcli.cli.progress.Tally, "add", add)
    done = restore(tmp_path / "in", "-o", tmp_path / "out")
    n_done = len(list((tmp_path / "out").glob("*.png")))
    assert 3 <= n_done < 9 and not list((tmp_path / "out").glob(".gfp-*.part"))
    assert done.exit_code == 130 and "the same command goes on" in done.stderr
    assert f"{n_done} no face" in done.stderr


@pytest.mark.parametrize("bad", [0, 4, 9])
def test_all_that_is_written_is_told_after_the_first_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: int
) -> None:
    """Outputs are written behind: those that are under way when a failure is told have their records too."""
    for i in range(16):
        picture(tmp_path / "in" / f"{i:02d}.png")
    true = gfpcli.photo.batch.encode_photo

    def encode(photo: Photo, *more: Any, **flags: Any) -> EncodedPhoto:
        if Path(photo.frame.name).stem == f"{bad:02d}":
            raise OutputError(f"{photo.frame.name}: no")
        return true(photo, *more, **flags)

    monkeypatch.setattr(gfpcli.photo.batch, "encode_photo", encode)
    told = gfpcli.cli.progress.Tally.add

    def slowly(self: gfpcli.cli.progress.Tally, outcome: Outcome) -> None:
        told(self, outcome)
        time.sleep(0.2)  # meanwhile others are written

    monkeypatch.setattr(gfpcli.cli.progress.Tally, "add", slowly)
    out = tmp_path / "out"
    done = restore(tmp_path / "in", "-o", out, "--fail-fast", "--json", "-")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    written = {str(path) for path in out.glob("*.png")}
    assert done.exit_code == 1 and {row["output"] for row in rows} - {None} == written and len(written) < 15
    lines = (out / LEDGER).read_text().splitlines() if written else []
    assert {str(out / json.loads(line)["output"]) for line in lines} == written
    assert f"1 failed{f', {len(written)} no face' if written else ''};" in done.stderr
    assert not list(out.glob(".gfp-*.part"))


def test_no_memory_for_a_whole_command_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(gfpcli.photo.batch, "load_restorer", full)
    done = restore(picture(tmp_path / "a.png"), "-o", tmp_path / "out")
    assert done.exit_code == 1 and done.stderr.startswith("gfp: not enough memory") and done.stderr.count("\n") == 1


def test_no_socket_is_opened_where_no_weights_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    done = gfp("restore", picture(tmp_path / "a.png"), "-o", tmp_path / "out", *BUILTIN[1:])
    assert done.exit_code == 0, done.stderr


def test_what_a_killed_run_left_is_taken_away_wherever_it_was_writing(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "sub" / "deep" / "a.png")
    left = [tmp_path / "out" / each / ".gfp-x.part" for each in ("sub/deep", "crops/sub/deep")]
    for path in left:
        path.parent.mkdir(parents=True)
        path.write_text("half")
    assert restore(tmp_path / "in", "-o", tmp_path / "out", "--save", "crops").exit_code == 0
    assert not any(path.exists() for path in left)
