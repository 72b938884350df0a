"""Which files are read and where results go."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image as Pillow

from gfpcli.errors import InputError, UsageError
from gfpcli.photo.inputs import plan_jobs


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
