"""`gfp restore` and `gfp video` in folders as they are in life: what is left out, what goes along, and what is kept."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pytest
from PIL import Image as Pillow
from typer.testing import CliRunner, Result

import gfpcli.photo.batch
from gfpcli.cli.app import app
from gfpcli.files.ledger import LEDGER
from gfpcli.options import RestoreOptions
from gfpcli.photo.xmp import orientation_of
from gfpcli.pipeline.restorer import Restorer
from tests.clips import faceless, write_clip
from tests.photo.made import made_xmp

BUILTIN = ("--offline", "--model", "compact", "--detector", "builtin", "--mask", "soft")
LONG_AGO = 1_000_000_000  # seconds since 1970
SIZED = made_xmp("<tiff:ImageWidth>24</tiff:ImageWidth><tiff:Orientation>6</tiff:Orientation>")


def gfp(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def restore(*words: object) -> Result:
    return gfp("restore", *words, *BUILTIN)


def rows_of(*words: object) -> dict[str, dict[str, object]]:
    rows = map(json.loads, restore(*words, "--json", "-", "-q").stdout.splitlines())
    return {Path(row["input"]).name: row for row in rows}


def picture(path: Path, kind: str | None = None, orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    photo = Pillow.new("RGB", (24, 16), (90, 60, 30))
    exif = photo.getexif()
    exif[0x0112] = orientation
    photo.save(path, kind, exif=exif)
    return path


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != LEDGER)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def faceless_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos without faces need no face network: its loading alone would take most of the time."""
    model = SimpleNamespace(size=256)

    def nobody(options: RestoreOptions, *_: object, **__: object) -> Restorer:
        return Restorer(lambda images: [() for _ in images], model, lambda faces: [], options)  # type: ignore[arg-type]

    monkeypatch.setattr(gfpcli.photo.batch, "load_restorer", nobody)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_only_the_photos_of_a_nas_folder_are_restored(shared_data: Path, tmp_path: Path) -> None:
    nas = shared_data / "reports" / "nas"
    done = restore(nas, "-o", tmp_path)
    assert done.exit_code == 0 and "7 hidden files left out; --hidden takes them\n7 no face" in done.stderr
    outputs = {"-b.jpg", "100%_done.jpg", "E.JPEG", "a.jpg", "a.jpg.xmp", "a.xmp", "c.jfif", "d.jpe", "wrong.png"}
    assert {*names_in(tmp_path)} == outputs
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert {row["status"] for row in rows_of(nas, "-o", tmp_path).values()} == {"skipped"}
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}


def test_pictures_that_are_not_read_fail_and_the_rest_is_counted(tmp_path: Path) -> None:
    photos = tmp_path / "in"
    picture(photos / "a.png"), picture(photos / ".hidden.png")
    contents = {
        "a.psd": b"8BPS\0\1" + bytes(60), "b.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "c.tga": bytes(40),
        "film.mp4": b"\0\0\0\x18ftypisom" + bytes(40), "notes.txt": b"text", "list.csv": b"1,2",
    }  # fmt: skip
    for name, data in contents.items():
        (photos / name).write_bytes(data)
    done = restore(photos, "-o", tmp_path / "out", "--json", tmp_path / "r.jsonl")
    lines = done.stderr.splitlines()
    assert done.exit_code == 1 and [line.split()[0] for line in lines[:-3]].count("failed") == 3
    for told in ("a.psd: Photoshop document (PSD): ", "b.svg: SVG: ", "c.tga: TGA: "):
        assert f"failed    {photos}/{told}pictures of this kind are not read\n" in done.stderr
    assert lines[-3:] == [
        "1 hidden file left out; --hidden takes it",
        "left out: 1 video (gfp video restores them), 2 other files",
        f"3 failed, 1 no face; 0 faces restored; results in {tmp_path / 'out'}",
    ]
    records = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert {Path(row["input"]).name for row in records} == {"a.png", "a.psd", "b.svg", "c.tga"}
    planned = restore(photos, "-o", tmp_path / "out", "--dry-run")
    assert planned.stderr.splitlines()[-2:] == lines[-3:-1]
    assert len(rows_of(photos, "-o", tmp_path / "out", "--hidden")) == 5
    (tmp_path / "out" / "a.psd").write_bytes(b"of a stranger")
    assert "Photoshop" in str(rows_of(photos, "-o", tmp_path / "out")["a.psd"]["error"]), "whatever stands at its name"


def test_quiet_prints_failures_only(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png"), picture(tmp_path / "in" / ".hidden.png")
    (tmp_path / "in" / "notes.txt").write_text("text")
    assert restore(tmp_path / "in", "-o", tmp_path / "out", "-q").stderr == ""
    (tmp_path / "in" / "b.jpg").write_text("no picture")
    done = restore(tmp_path / "in", "-o", tmp_path / "out", "-q")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"failed    {tmp_path}/in/b.jpg: ") and done.stderr.count("\n") == 1


def test_quiet_prints_no_warnings(tmp_path: Path) -> None:
    """Without weights in the cache `auto` tells that it takes the small network."""
    picture(tmp_path / "in" / "a.png")
    words = ("restore", tmp_path / "in", "-o", tmp_path / "out", "--offline", "--force")
    assert "small built-in" in gfp(*words).stderr and gfp(*words, "-q").stderr == ""


def test_sidecars_go_along_corrected(tmp_path: Path) -> None:
    photos, out = tmp_path / "in", tmp_path / "out"
    picture(photos / "a.jpg", orientation=6), picture(photos / "b.png")
    for name in ("a.xmp", "a.jpg.xmp", "b.xmp"):
        (photos / name).write_bytes(SIZED)
    assert {row["status"] for row in rows_of(photos, "-o", out, "--format", "png").values()} == {"no_face"}
    assert names_in(out) == ["a.png", "a.png.xmp", "a.xmp", "b.png", "b.xmp"]
    turned, straight = (out / "a.xmp").read_bytes(), (out / "b.xmp").read_bytes()
    assert (out / "a.png.xmp").read_bytes() == turned
    assert orientation_of(turned) == 1 and b"<tiff:ImageWidth>32<" in turned
    assert orientation_of(straight) == 6 and b"<tiff:ImageWidth>48<" in straight, "its pixels were not turned"
    assert b"family" in turned and (photos / "a.xmp").read_bytes() == SIZED
    assert rows_of(photos, "-o", tmp_path / "stripped", "--strip")["a.jpg"]["status"] == "no_face"
    assert names_in(tmp_path / "stripped") == ["a.jpg", "b.png"]


def test_sidecars_are_in_the_ledger(tmp_path: Path) -> None:
    photos, out = tmp_path / "in", tmp_path / "out"
    picture(photos / "a.jpg"), picture(photos / "b.jpg")
    (photos / "a.xmp").write_bytes(SIZED)

    def statuses(*flags: object) -> list[object]:
        return [row["status"] for _, row in sorted(rows_of(photos, "-o", out, *flags).items())]

    assert statuses() == ["no_face", "no_face"] and statuses() == ["skipped", "skipped"]
    (photos / "a.xmp").write_bytes(SIZED.replace(b"family", b"friends"))
    assert statuses() == ["no_face", "skipped"] and b"friends" in (out / "a.xmp").read_bytes()
    (out / "a.xmp").unlink()
    assert statuses() == ["no_face", "skipped"] and (out / "a.xmp").exists()
    assert statuses() == ["skipped", "skipped"]
    (photos / "b.jpg.xmp").write_bytes(SIZED)
    assert statuses() == ["skipped", "no_face"] and (out / "b.jpg.xmp").exists()


def test_sidecars_of_others_are_kept_and_told(tmp_path: Path) -> None:
    photos, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.jpg", "b.jpg", "b.png", "c.jpg"):
        picture(photos / name)
    for name in ("a.xmp", "b.xmp"):
        (photos / name).write_bytes(SIZED)
    (photos / "c.xmp").write_bytes(b"no XML")
    out.mkdir()
    (out / "a.xmp").write_bytes(b"of a stranger")
    done = restore(photos, "-o", out)
    assert done.exit_code == 0 and f"{out / 'a.xmp'}: is there already and is not gfp's" in done.stderr
    assert "b.xmp is taken for the sidecar of b.jpg" in done.stderr and "c.xmp is not copied" in done.stderr
    assert (out / "a.xmp").read_bytes() == b"of a stranger" and not (out / "c.xmp").exists()
    (out / "b.xmp").write_bytes(b"touched up")
    done = restore(photos, "-o", out, "--scale", 1)
    assert "b.xmp was changed after gfp wrote it" in done.stderr and (out / "b.xmp").read_bytes() == b"touched up"
    assert restore(photos, "-o", out, "--force").exit_code == 0
    assert b"family" in (out / "a.xmp").read_bytes() and b"family" in (out / "b.xmp").read_bytes()
    assert [name for name in names_in(out) if name.endswith(".part")] == []


def test_sidecars_go_along_behind_urls(store: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    store.pipe_file("/in/sub/a.jpg", picture(tmp_path / "a.jpg", orientation=6).read_bytes())
    store.pipe_file("/in/sub/a.xmp", SIZED)
    for status in ("no_face", "skipped"):
        assert rows_of("memory://in", "-o", "memory://out")["a.jpg"]["status"] == status
        assert b"<tiff:ImageWidth>32<" in store.cat_file("/out/sub/a.xmp")
    store.pipe_file("/in/sub/a.xmp", SIZED.replace(b"family", b"friends"))
    assert rows_of("memory://in", "-o", "memory://out")["a.jpg"]["status"] == "no_face"
    assert b"friends" in store.cat_file("/out/sub/a.xmp") and len(store.find("/in")) == 2


def test_outputs_have_the_permissions_of_their_inputs(tmp_path: Path, umask: None) -> None:
    photos, out = tmp_path / "in", tmp_path / "out"
    modes = {"private.jpg": 0o600, "read_only.jpg": 0o444, "usual.jpg": 0o644, "shared.png": 0o664}
    for name, mode in modes.items():
        picture(photos / name).chmod(mode)
    (photos / "usual.xmp").write_bytes(SIZED)
    (photos / "usual.xmp").chmod(0o400)
    for flags in ((), ("--force",)):
        rows = rows_of(photos, "-o", out, "--save", "compare", *flags).values()
        assert {row["status"] for row in rows} == {"no_face"}
        assert {name: mode_of(out / name) for name in modes} == modes and mode_of(out / "usual.xmp") == 0o400
        assert mode_of(out / "compare" / "private_jpg.jpg") == 0o600 and mode_of(out / LEDGER) == 0o644
    data = (photos / "usual.jpg").read_bytes()
    CliRunner().invoke(app, ["restore", "-", "-o", str(out / "stdin.jpg"), *BUILTIN], input=data)
    assert mode_of(out / "stdin.jpg") == 0o644


def test_an_unfinished_output_is_no_more_open_than_its_input(tmp_path: Path, umask: None) -> None:
    picture(tmp_path / "in" / "a.jpg").chmod(0o600)
    true, seen = os.chmod, []

    def chmod(path: Path, mode: int, **more: object) -> None:
        seen.append(mode)
        true(path, mode)

    with pytest.MonkeyPatch.context() as watched:
        watched.setattr(os, "chmod", chmod)
        restore(tmp_path / "in", "-o", tmp_path / "out")
    assert seen == [0o600]


def test_dates_are_kept_where_asked(tmp_path: Path) -> None:
    photos, out = tmp_path / "in", tmp_path / "out"
    picture(photos / "a.jpg"), (photos / "a.xmp").write_bytes(SIZED)
    for name, time in (("a.jpg", LONG_AGO), ("a.xmp", LONG_AGO + 9)):
        os.utime(photos / name, (time, time))
    rows_of(photos, "-o", out)
    assert (out / "a.jpg").stat().st_mtime > LONG_AGO + 1000
    assert rows_of(photos, "-o", out, "--keep-times")["a.jpg"]["status"] == "skipped"
    assert (out / "a.jpg").stat().st_mtime == LONG_AGO, "what is done is given its date, too"
    rows_of(photos, "-o", out, "--keep-times", "--force")
    assert (out / "a.jpg").stat().st_mtime == LONG_AGO and (out / "a.xmp").stat().st_mtime == LONG_AGO + 9
    assert rows_of(photos, "-o", out)["a.jpg"]["status"] == "skipped"
    assert (out / "a.jpg").stat().st_mtime == LONG_AGO


def test_photos_and_videos_in_one_folder_name_each_other(tmp_path: Path) -> None:
    mixed = tmp_path / "in"
    picture(mixed / "a.jpg"), picture(mixed / "sub" / "b.jpg"), picture(mixed / "._film.mp4", "JPEG")
    write_clip(mixed / "film.mp4", faceless(2))
    shutil.copy(mixed / "film.mp4", mixed / "sub" / "film without suffix")
    (mixed / "notes.txt").write_text("text")
    done = restore(mixed, "-o", tmp_path / "photos")
    assert done.exit_code == 0 and "left out: 2 videos (gfp video restores them), 1 other file\n" in done.stderr
    done = gfp("video", mixed, "-o", tmp_path / "clips", *BUILTIN, "--dry-run")
    assert done.exit_code == 0 and f"{mixed}/sub/film without suffix -> " in done.stderr
    lines = done.stderr.splitlines()
    assert lines[-2:] == [
        "1 hidden file left out; --hidden takes it",
        "left out: 2 photos (gfp restore restores them), 1 other file",
    ]
    shutil.rmtree(mixed / "sub"), (mixed / "film.mp4").unlink()
    done = gfp("video", mixed, "-o", tmp_path / "clips", *BUILTIN, "--dry-run")
    assert f"{mixed} -> {tmp_path / 'clips' / 'in.mp4'}: 1 frames" in done.stderr
