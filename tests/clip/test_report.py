"""The page of `gfp video --report`, looked at in a browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from gfpcli.clip.report import COPIES_MARK, copies_folder
from tests.browser import CHROMIUM, Page
from tests.cli.test_video import video
from tests.clips import talking, write_clip

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
    assert (copies_folder(page_file) / COPIES_MARK).is_file()
    other.write_text("<title>somebody's</title>")
    assert "no report of gfp" in video(inputs, "-o", out, "--report", other).stderr


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
