"""Which files are read and where results go."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import fsspec
import pytest
from PIL import Image as Pillow

from gfpcli.errors import InputError, UsageError
from gfpcli.files.folders import LeftOut
from gfpcli.files.jobs import Job
from gfpcli.photo.inputs import find_images, plan_jobs


def picture(path: Path, kind: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.new("RGB", (4, 4)).save(path, kind)
    return path


def targets(inputs: list[Path], out: Path, wanted: str = "auto", added: str = "") -> list[str]:
    jobs, _ = plan_jobs(map(str, inputs), out, wanted=wanted, added=added)
    return [str(job.target.relative_to(out)) for job in jobs]


def test_the_tree_is_mirrored_by_content_and_the_output_is_left_out(tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "in" / "out"
    picture(root / "a.jpg")
    picture(root / "deep" / "er" / "b.PNG")
    picture(root / "none", "JPEG")
    picture(root / "really_png.jpg", "PNG")
    picture(root / "moving.gif")
    picture(out / "old.png")
    (root / "note.txt").write_text("not a picture")
    assert targets([root], out) == ["a.jpg", "deep/er/b.PNG", "moving.png", "none.jpg", "really_png.png"]
    assert targets([root / "a.jpg"], out, "webp", "_new") == ["a_new.webp"]
    assert targets([root / "deep" / "**" / "*.PNG"], out) == ["b.PNG"]


def test_collisions_are_told_before_work_starts(tmp_path: Path) -> None:
    picture(tmp_path / "x" / "a.jpg"), picture(tmp_path / "x" / "a.png"), picture(tmp_path / "y" / "a.jpg")
    out = tmp_path / "out"
    assert targets([tmp_path / "x"], out) == ["a.jpg", "a.png"]
    with pytest.raises(UsageError, match=r"a\.jpg and .*a\.png"):
        targets([tmp_path / "x"], out, "png")
    with pytest.raises(UsageError, match="both become"):
        targets([tmp_path / "x", tmp_path / "y"], out)
    with pytest.raises(UsageError, match="is an input"):
        targets([tmp_path / "x"], tmp_path / "x")


def test_an_output_file_takes_one_input(tmp_path: Path) -> None:
    source = picture(tmp_path / "a.jpg")
    (job,), _ = plan_jobs([str(source)], tmp_path / "b.png", wanted="auto", added="")
    assert job.target == tmp_path / "b.png"
    with pytest.raises(UsageError, match="exactly one"):
        plan_jobs([str(source), str(source)], tmp_path / "b.png", wanted="auto", added="")
    with pytest.raises(InputError, match="no such file"):
        plan_jobs([str(tmp_path / "gone")], tmp_path / "out", wanted="auto", added="")
    with pytest.raises(InputError, match="no images"):
        plan_jobs([str((tmp_path / "empty").mkdir() or tmp_path / "empty")], tmp_path / "out", wanted="auto", added="")


PSD, SVG, ICO = b"8BPS\0\1" + bytes(60), b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\0\0\1\0\1\0\x10\x10\0\0\1\0"
MP4, JXL = b"\0\0\0\x18ftypisom" + bytes(40), b"\xff\x0a" + bytes(40)
LITTER = (
    "._a.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", ".secret.jpg", ".thumbnails/1.jpg", "__MACOSX/._a.jpg",
    "@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "#recycle/old.jpg", "album/@eaDir/b.jpg/x.jpg",
)  # fmt: skip


def litter(root: Path) -> None:
    """What a NAS, a Mac and Windows leave in a folder; most of it are pictures."""
    for name in LITTER:
        picture(root / name, "JPEG")


def plan(inputs: Iterable[object], out: Path, **more: object) -> tuple[dict[str, Job], LeftOut]:
    jobs, left_out = plan_jobs(map(str, inputs), out, **{"wanted": "auto", "added": "", **more})  # type: ignore[arg-type]
    return {job.source.name: job for job in jobs}, left_out


def test_hidden_files_and_folders_are_left_out_and_counted(tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    litter(root)
    picture(root / "a.jpg"), picture(root / "album" / "b.jpg")
    jobs, left_out = plan([root], out)
    assert list(jobs) == ["a.jpg", "b.jpg"] and left_out == LeftOut(n_hidden=len(LITTER))
    assert left_out.lines() == ["10 hidden files left out; --hidden takes them"]
    assert LeftOut(n_hidden=1).lines() == ["1 hidden file left out; --hidden takes it"]
    jobs, left_out = plan([root], out, takes_hidden=True, added="_r", wanted="png")
    assert len(jobs) == len({*jobs}) and left_out == LeftOut()
    assert [str(relative) for _, relative in find_images([str(root)], None)] == ["a.jpg", "album/b.jpg"]


def test_what_is_hidden_and_named_by_hand_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    litter(tmp_path), picture(tmp_path / "a.jpg")
    out = tmp_path / "out"
    for words in ([tmp_path / ".secret.jpg"], [tmp_path / ".thumbnails"], [tmp_path / ".thumbnails" / "*.jpg"],
                  [tmp_path / "._*"], [tmp_path / "@eaDir" / "**" / "*.jpg"]):  # fmt: skip
        jobs, left_out = plan(words, out)
        assert len(jobs) == 1 and left_out == LeftOut(), words
    jobs, left_out = plan([tmp_path / "**" / "*.jpg"], out)
    assert list(jobs) == ["a.jpg"] and left_out.n_hidden > 0, "a wildcard names nothing hidden"
    monkeypatch.chdir(tmp_path)
    assert list(plan(["*"], out)[0]) == ["a.jpg"]


def test_content_tells_what_is_a_picture_a_video_or_neither(tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    picture(root / "a.png")
    contents = {
        "a.psd": PSD, "a.svg": SVG, "favicon.ico": ICO, "scan": PSD, "a.jxl": JXL, "broken.jpg": b"no picture",
        "empty.tga": b"", "clip.mp4": MP4, "clip without suffix": MP4, "broken.mov": b"?", "notes.txt": b"text",
        "a.pdf": b"%PDF",
    }  # fmt: skip
    for name, data in contents.items():
        (root / name).write_bytes(data)
    pictures = {"a.png", "a.psd", "a.svg", "favicon.ico", "scan", "broken.jpg", "empty.tga", "dead.jpg"}
    (root / "dead.jpg").symlink_to(root / "nowhere.jpg")
    os.mkfifo(root / "pipe.jpg")
    for wanted in ("auto", "png"):
        if wanted == "png":
            (root / "a.jxl").unlink()  # a picture that is read: it would clash with a.png
        jobs, left_out = plan([root], out, wanted=wanted)
        assert {*jobs} - {"a.jxl"} == pictures
        assert left_out == LeftOut(n_videos=3, n_others=3)
    assert left_out.lines() == ["left out: 3 videos (gfp video restores them), 3 other files"]
    named = {each.name for each, _ in find_images([str(root)], None)}
    assert named == {"a.png", "broken.jpg", "dead.jpg", "empty.tga"}
    for name in pictures:
        (root / name).unlink()
    with pytest.raises(InputError, match=r"no images in .*; left out: 3 videos \(gfp video"):
        plan([root], out)


def test_each_file_is_read_once_and_not_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(20):
        picture(tmp_path / "in" / f"{i}.jpg")
    opened, true = [], Path.open

    def count(self: Path, *words: object, **more: object) -> object:
        opened.append(self)
        return true(self, *words, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", count)
    assert len(plan([tmp_path / "in"], tmp_path / "out")[0]) == 20 == len(opened)


def test_names_of_jpeg_are_kept(tmp_path: Path) -> None:
    for name in ("a.jfif", "b.jpe", "c.JPEG", "D.JPG"):
        picture(tmp_path / "in" / name, "JPEG")
    assert targets([tmp_path / "in"], tmp_path / "out") == ["D.JPG", "a.jfif", "b.jpe", "c.JPEG"]
    picture(tmp_path / "in" / "a.jpg"), picture(tmp_path / "in" / "d.jpg")
    with pytest.raises(UsageError, match=r"D\.JPG and .*d\.jpg would both become"):
        targets([tmp_path / "in"], tmp_path / "out")


def test_a_camera_raw_beside_its_jpeg_gets_a_name_of_its_own(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "x.jpg")
    for name in ("a.arw", "b.arw"):
        (tmp_path / "in" / name).write_bytes(b"raw of an old camera")
    picture(tmp_path / "in" / "a.jpg"), (tmp_path / "in" / "a.xmp").write_bytes(b"<x/>")
    jobs, _ = plan([tmp_path / "in"], tmp_path / "out", wanted="jpg")
    assert [job.target.name for job in jobs.values()] == ["a.arw.jpg", "a.jpg", "b.jpg", "x.jpg"]
    assert [path.name for path in jobs["a.arw"].sidecars] == ["a.xmp"] and not jobs["a.jpg"].sidecars
    assert jobs["a.jpg"].notes == ("a.xmp is taken for the sidecar of a.arw",)


def test_a_sidecar_is_one_photo_s_and_no_other_file(tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.jpg", "a.png", "b.jpg", "c.png"):
        picture(root / name)
    for name in ("a.xmp", "a.png.xmp", "b.jpg.XMP", "nobody.xmp"):
        (root / name).write_bytes(b"<x/>")
    (root / "c.psd").write_bytes(PSD), (root / "c.xmp").write_bytes(b"<x/>")
    jobs, left_out = plan([root], out)
    own = {name: [path.name for path in job.sidecars] for name, job in jobs.items()}
    assert own == {"a.jpg": ["a.xmp"], "a.png": ["a.png.xmp"], "b.jpg": ["b.jpg.XMP"], "c.png": ["c.xmp"], "c.psd": []}
    assert jobs["a.png"].notes == ("a.xmp is taken for the sidecar of a.jpg",) and jobs["a.jpg"].notes == ()
    assert left_out == LeftOut(n_others=1), "nobody.xmp"
    assert [path.name for path in plan([root / "b.jpg"], out)[0]["b.jpg"].sidecars] == ["b.jpg.XMP"]
    jobs, _ = plan([root], out, has_sidecars=False)
    assert not any(job.sidecars or job.notes for job in jobs.values())
    (job,), _ = plan_jobs([str(root / "b.jpg")], root / "b.png", wanted="auto", added="")
    assert [path.name for path in job.sidecars] == ["b.jpg.XMP"]
    (root / "b.xmp").write_bytes(b"<x/>")
    (job,), _ = plan_jobs([str(root / "b.jpg")], root / "b.png", wanted="auto", added="")
    assert [path.name for path in job.sidecars] == ["b.jpg.XMP"]
    assert job.notes == ("b.xmp is left as it is: its copy would replace an input",)


def test_folders_behind_urls_are_searched_alike(store: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    for name in (*LITTER, "a.JPEG", "b.psd", "sub/b.jfif", "a.xmp", "clip.mp4", "notes.txt", ".gfp-ledger/1.jsonl"):
        store.pipe_file(f"/in/{name}", b"?")
    jobs, left_out = plan(["memory://in"], tmp_path)
    assert [str(job.target.relative_to(tmp_path)) for job in jobs.values()] == ["a.JPEG", "b.psd", "sub/b.jfif"]
    assert [str(path) for path in jobs["a.JPEG"].sidecars] == ["memory://in/a.xmp"]
    assert left_out == LeftOut(n_hidden=len(LITTER), n_videos=1, n_others=1)
    assert len(plan(["memory://in"], tmp_path, takes_hidden=True, wanted="png", added="x")[0]) == 9
    assert list(plan(["memory://in/.secret.jpg"], tmp_path)[0]) == [".secret.jpg"]
    assert list(plan(["memory://in/**/*.jfif", "memory://in/**/x.jpg"], tmp_path)[0]) == ["b.jfif"]


def test_what_is_not_read_stands_in_nobody_s_way(tmp_path: Path) -> None:
    """No output is made of it: it neither clashes with another's, nor is its own name taken."""
    for name in ("x/a.psd", "y/a.psd", "x/b.psd"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(PSD)
    picture(tmp_path / "x" / "b.jpg")
    assert len(plan_jobs([str(tmp_path / "x"), str(tmp_path / "y")], tmp_path / "out", wanted="png", added="")[0]) == 4
    assert len(plan_jobs([str(tmp_path / "x")], tmp_path / "x", wanted="png", added="")[0]) == 3
