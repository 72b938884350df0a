"""The small scripts of `examples/python` do what they say, as they stand."""

from __future__ import annotations

import logging
import runpy
import shutil
from pathlib import Path

import cv2
import pytest

from gfpcli.photo.codec import read_frame
from tests.clips import talking, write_clip

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SCRIPTS = {path.stem for path in (EXAMPLES / "python").glob("*.py")}
PORTRAIT = EXAMPLES / "photos" / "astronaut_small.jpg"  # which is not left unchanged


def run(name: str, monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr("sys.argv", [name, *map(str, words)])
    runpy.run_path(str(EXAMPLES / "python" / f"{name}.py"), run_name="__main__")


def test_five_scripts_of_at_most_30_lines_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert {"one_photo", "folder", "video", "one_person", "fine_tune"} == SCRIPTS
    lengths = {name: len((EXAMPLES / "python" / f"{name}.py").read_text().splitlines()) for name in SCRIPTS}
    assert max(lengths.values()) <= 30, lengths
    monkeypatch.setenv("GFP_MIRROR", "http://127.0.0.1:9")
    caplog.set_level(logging.INFO)
    photos, faces = tmp_path / "photos", tmp_path / "faces"
    for folder in (photos, faces):
        folder.mkdir()
    shutil.copy(PORTRAIT, photos)
    run("one_photo", monkeypatch, PORTRAIT, tmp_path / "new.png")
    assert read_frame(tmp_path / "new.png", 0).image.shape == (400, 400, 3) and "1 faces restored" in caplog.text
    run("folder", monkeypatch, photos, tmp_path / "out")
    assert (tmp_path / "out" / PORTRAIT.name).is_file() and "1/1 restored" in caplog.text
    run("video", monkeypatch, write_clip(tmp_path / "old.mp4", talking(3)), tmp_path / "new.mp4")
    assert (tmp_path / "new.mp4").is_file() and "3 of 3 frames" in caplog.text
    face = cv2.resize(cv2.imread(str(PORTRAIT))[10:110, 40:140], (256, 256), interpolation=cv2.INTER_AREA)
    for i in range(4):
        cv2.imwrite(str(faces / f"{i}.png"), cv2.flip(face, 1) if i % 2 else face)
    run("fine_tune", monkeypatch, faces, tmp_path / "run", 1)
    assert (tmp_path / "run" / "best.safetensors").is_file()
    run("one_person", monkeypatch, PORTRAIT, photos, tmp_path / "person")
    assert "1 of that person, 0 others kept" in caplog.text
