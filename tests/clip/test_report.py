"""The page of `gfp video --report`, looked at in a browser."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import av
import cv2
import pytest

import gfpcli.clip.batch
from gfpcli.clip.report import copies_folder
from gfpcli.clip.segments import _from_line, _to_line
from gfpcli.files.folders import REPORT_MARK, search
from gfpcli.types import PictureBatch
from tests.browser import CHROMIUM, Page
from tests.cli.test_video import video
from tests.clip.reencode import segment_of
from tests.clips import faceless, talking, write_clip

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
TIMES = "[document.querySelector('.after').currentTime, document.querySelector('.before').currentTime]"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run over a clip of 1.2 s in a container that no browser plays, and a damaged one."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "in").mkdir()
    write_clip(folder / "in" / "<b>talk.mkv", talking(30))
    (folder / "in" / "bad.mp4").write_bytes(b"\0\0\0\x18ftypisom" + b"\0" * 64)
    done = video(folder / "in", "-o", folder / "out", "--report", folder / "pages" / "report.html")
    assert done.exit_code == 1, done.stderr
    return folder / "pages" / "report.html"


def test_the_page_tells_of_every_clip_and_its_faces(page_file: Path) -> None:
    text = page_file.read_text(encoding="utf-8")
    assert text.count("<article") == 2 and 'data-status="restored"' in text and 'data-status="failed"' in text
    assert "&lt;b&gt;talk.mkv" in text and "<b>talk.mkv" not in text
    assert text.count('class="track"') == 1 and text.count("data:image/webp") == 16  # 8 samples, before and after
    assert "30 frames, 30 faces restored" in text and "CC BY-NC-SA 4.0" in text
    assert len(list(copies_folder(page_file).glob("*.mp4"))) == 2


def test_a_second_run_has_its_page_and_other_people_s_files_stay(page_file: Path, tmp_path: Path) -> None:
    inputs, out = page_file.parents[1] / "in", page_file.parents[1] / "out"
    again = video(inputs, "-o", out, "--report", page_file)
    assert again.exit_code == 1 and 'data-status="skipped"' in page_file.read_text(encoding="utf-8")
    other = tmp_path / "page.html"
    copies_folder(other).mkdir()
    refused = video(inputs, "-o", out, "--report", other)
    assert refused.exit_code == 1 and "is not gfp's" in refused.stderr and not other.exists()
    assert (copies_folder(page_file) / REPORT_MARK).is_file()
    other.write_text("<title>somebody's</title>")
    assert "no report of gfp" in video(inputs, "-o", out, "--report", other).stderr


def test_the_copies_are_no_inputs_of_the_next_run(page_file: Path) -> None:
    found = search(page_file.parents[1], None, frozenset(), takes_hidden=False)
    names = {path.name for path in found.files}
    assert "bad.mp4" in names and not {path.name for path in copies_folder(page_file).iterdir()} & names
    assert len(list(copies_folder(page_file).glob("*_after.mp4"))) == 1


@pytest.fixture(scope="module")
def part_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run over the second half of a clip, in which the network fails on the faces of two frames."""
    folder = tmp_path_factory.mktemp("part")
    frames = talking(24)
    for i, frame in enumerate(frames):
        frame[:20, :60] = 10 * i  # tells which frame it is
    write_clip(folder / "talk.mp4", frames)
    load, n_calls = gfpcli.clip.batch.load_restorer, 0

    class Sometimes:
        def __init__(self, model: object) -> None:
            self.model, self.size = model, model.size  # type: ignore[attr-defined]

        def __call__(self, faces: PictureBatch) -> PictureBatch:
            nonlocal n_calls
            out: PictureBatch = self.model(faces)  # type: ignore[operator]
            for each in out:
                n_calls += 1
                if n_calls in (3, 5):
                    each[:] = float("nan")
            return out

    def patched(*words: object, **more: object) -> object:
        restorer = load(*words, **more)  # type: ignore[arg-type]
        return replace(restorer, model=Sometimes(restorer.model))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gfpcli.clip.batch, "load_restorer", patched)
        done = video(folder / "talk.mp4", "-o", folder / "o.mp4", "--start", 0.48, "--report", folder / "r.html")
    assert done.exit_code == 1, done.stderr
    return folder / "r.html"


def test_failed_faces_are_told_with_their_times_and_the_clip_is_shown(part_page: Path) -> None:
    text = part_page.read_text(encoding="utf-8")
    assert "2 faces failed and were left alone: at 0.56 s, 0.64 s" in text
    assert text.count("<video") == 2 and text.count('class="track"') == 1


def test_before_shows_the_part_that_was_restored(part_page: Path) -> None:
    shown = []
    for path in sorted(copies_folder(part_page).glob("*.mp4")):
        with av.open(str(path)) as copy:
            grey = [frame.to_ndarray(format="bgr24")[5:15, 10:50].mean() for frame in copy.decode(video=0)]
        shown.append([round(each / 10) for each in grey])
    assert shown == [list(range(12, 24))] * 2


def test_segments_of_older_work_folders_are_read() -> None:
    segment = replace(segment_of("000000.mp4", 0, 1), sha256="0", failed_at=(0.5, 1.25))
    assert _from_line(_to_line(segment)) == segment
    older = json.loads(_to_line(segment))
    del older["failed_at"]
    assert _from_line(json.dumps(older)) == replace(segment, failed_at=())


def test_what_cannot_be_shown_and_what_was_not_reached_is_told(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for i, frame in enumerate(faceless(3, 64, 64)):
        cv2.imwrite(str(tmp_path / "frames" / f"{i}.png"), frame)
    page = tmp_path / "r.html"
    assert video(tmp_path / "frames", "-o", tmp_path / "o.mp4", "--report", page).exit_code == 0
    assert "no player for a folder of frames" in page.read_text(encoding="utf-8")
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypisom" + b"\0" * 64)
    words = (tmp_path / "a.mp4", tmp_path / "b.mp4", "-o", tmp_path / "out", "--fail-fast", "--report", page)
    assert video(*words).exit_code == 1
    assert "The run was stopped: 1 clip not looked at" in page.read_text(encoding="utf-8")
    assert video(*words[:-1], "https://host/r.html").exit_code == 2


@needs_browser
def test_before_and_after_play_together_and_the_slider_moves(page_file: Path, tmp_path: Path) -> None:
    with Page(tmp_path / "profile") as page:
        page.look(1280, 900)
        page.open(page_file.as_uri())
        page.wait_for("['.after', '.before'].every(each => document.querySelector(each).readyState >= 3)")
        page.value("(document.querySelector('.at').value = 20, document.querySelector('.at').oninput())")
        assert page.value("document.querySelector('.before').style.getPropertyValue('--at')") == "20%"
        page.value("(document.querySelector('.time').value = 500, document.querySelector('.time').oninput())")
        page.wait_for("!document.querySelector('.after').seeking && !document.querySelector('.before').seeking")
        after, before = page.value(TIMES)
        assert after == pytest.approx(0.6, abs=0.05) and abs(after - before) < 0.1
        page.value("(document.querySelector('.play').click(), 1)")
        page.wait_for("document.querySelector('.after').currentTime > 0.8")
        after, before = page.value(TIMES)
        assert abs(after - before) < 0.1
        assert page.problems == [] and all(url.startswith("file:") for url in page.requests)
