"""The report: what it holds, what it survives, and how it behaves in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.errors import OutputError, UsageError
from gfpcli.photo.report import (
    About,
    Pictures,
    check_report_path,
    link_to,
    open_report,
    pictures_for,
    pictures_of,
    url_of,
)
from gfpcli.types import FaceRecord, Outcome, OutcomeStatus, PlannedFace, PlannedPhoto
from tests.browser import CHROMIUM, Page

Make = Callable[[int, int], NDArray[np.uint8]]
ABOUT = About("1.0", [("model", "built-in compact", "CC BY-NC-SA 4.0")], [("scale", "2.0"), ("mask", "<b>soft</b>")])
FACE = FaceRecord((20.0, 10.0, 60.0, 50.0), 0.98, "restored", seconds=0.25)
HOSTILE = '<script>alert("x")</script>&\' #?%.png'


def outcome(name: str, status: OutcomeStatus = "restored", **more: Any) -> Outcome:
    faces = (FACE,) if status == "restored" else ()
    output = None if status == "failed" else f"out/{name}"
    return replace(Outcome(name, output, status, 2.0, "compact", seconds=1.5, faces=faces), **more)


@pytest.fixture
def pictures(smooth_image: Make) -> Pictures:
    after = smooth_image(120, 160)
    return pictures_of((255 - after[::2, ::2], None), (after, None), [FACE])


def write(path: Path, entries: list[tuple[Outcome, Pictures | None]], n_inputs: int | None = None) -> str:
    with open_report(path, ABOUT, len(entries) if n_inputs is None else n_inputs) as report:
        for row, shown in entries:
            report.add(row, shown)
    return path.read_text(encoding="utf-8")


def test_it_tells_everything_and_loads_nothing(tmp_path: Path, pictures: Pictures) -> None:
    failed = outcome("bad.png", "failed", error="bad.png: not an image")
    text = write(tmp_path / "r.html", [(outcome("a.png", notes=("2 pages",)), pictures), (failed, None)], 3)
    plain = " ".join(
        unescape(re.sub(r"<style>.*?</style>|<script>.*?</script>|<[^>]*>", " ", text, flags=re.S)).split()
    )
    for told in (
        "2 inputs, 1 face found, 1 restored", "80×60 → 160×120 px", "40×40 px at 20, 10", "score 0.98 · 0.25 s",
        "not an image", "2 pages", "built-in compact", "CC BY-NC-SA 4.0", "<b>soft</b>", "1 input not looked at",
    ):  # fmt: skip
        assert told in plain, told
    assert not re.search(r'(src|href)="(?!data:)(https?:|//)', text)
    assert "default-src 'none'" in text
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


def test_a_stopped_run_has_its_report_and_the_error_goes_on(tmp_path: Path, pictures: Pictures) -> None:
    with pytest.raises(KeyboardInterrupt), open_report(tmp_path / "r.html", ABOUT, 9) as report:
        report.add(outcome("a.png"), pictures)
        raise KeyboardInterrupt
    assert "8 inputs not looked at" in (tmp_path / "r.html").read_text()


def test_names_that_are_no_html_and_folders_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "photo.jpg", tmp_path / "report"):
        with pytest.raises(UsageError, match=r"\.html"):
            check_report_path(path)
    (tmp_path / "d.html").mkdir()
    with pytest.raises(UsageError, match="folder"):
        check_report_path(tmp_path / "d.html")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError), open_report(tmp_path / "file" / "r.html", ABOUT, 1):
        pass


@pytest.mark.parametrize("name", ["a b.png", HOSTILE, "ü\\:%41.png", "javascript:alert(1)", "x\udcff.png"])
def test_links_are_relative_and_lead_back(tmp_path: Path, name: str) -> None:
    link = url_of(tmp_path / "photos" / name, tmp_path / "out")
    assert re.fullmatch(r"[\w.~%/-]+", link, re.ASCII) and link.startswith("../photos/")
    assert unquote(link, errors="surrogateescape") == f"../photos/{name}"


def test_links_to_urls_are_those_that_a_browser_opens(tmp_path: Path, pictures: Pictures) -> None:
    assert link_to("https://a.example/b c/ü.png?x=1&y", tmp_path) == "https://a.example/b%20c/%C3%BC.png?x=1&y"
    assert link_to("s3://album/a.png", tmp_path) is None
    shown = outcome("s3://album/a.png", output="s3://album/out/a.png")
    text = write(tmp_path / "r.html", [(shown, pictures)])
    assert "s3:/" in text and 'href="data:' in text and text.count("href=") == 1, "its icon only"
    assert "href=" in write(tmp_path / "r.html", [(outcome("a.png"), pictures)])


def test_only_a_report_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    check_report_path(page)
    page.write_text("<!doctype html><title>somebody's</title>")
    with pytest.raises(OutputError, match="is no report of gfp"):
        check_report_path(page)
    check_report_path(page, is_forced=True)
    write(page, [])
    check_report_path(page)


def test_memory_does_not_grow_with_the_inputs(tmp_path: Path, pictures: Pictures) -> None:
    """What was added lies on disk: only the nameless file's buffer is held."""
    import tracemalloc

    def peak_of(n_inputs: int) -> int:
        tracemalloc.start()
        with open_report(tmp_path / f"{n_inputs}.html", ABOUT, n_inputs) as report:
            for i in range(n_inputs):
                report.add(outcome(f"{i}.png"), pictures)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    half, whole = peak_of(500), peak_of(1000)
    assert whole < 1.1 * half and (tmp_path / "1000.html").stat().st_size > 3 * whole


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with Page(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


AT = "document.querySelector('article.current .pair input').value"
SHOWN = "[...document.querySelectorAll('article')].filter(each => !each.hidden).length"
CURRENT = "[...document.querySelectorAll('article')].indexOf(document.querySelector('.current'))"


def test_in_a_browser_the_slider_moves_and_keys_step(page: Page, tmp_path: Path, smooth_image: Make) -> None:
    after = smooth_image(480, 640)
    shown = pictures_of((255 - after[::2, ::2], None), (after, None), [FACE])
    (tmp_path / "out").mkdir()
    entries: list[tuple[Outcome, Pictures | None]] = [(outcome("bad.png", "failed", error="bad.png: broken"), None)]
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i}.png"), after[::2, ::2])
        cv2.imwrite(str(tmp_path / "out" / f"{i}.png"), after)
        entries.append((outcome(str(tmp_path / f"{i}.png"), output=str(tmp_path / "out" / f"{i}.png")), shown))
    write(tmp_path / "r.html", entries)
    page.look(1280, 900)
    page.open((tmp_path / "r.html").as_uri())
    page.wait_for("document.querySelector('.pair img').naturalWidth === 640")
    page.drag("article .pair", 0.5, 0.25)
    assert page.value(AT) in ("24", "26")
    clip = "getComputedStyle(document.querySelector('.current .before')).clipPath"
    assert "75%" in page.value(clip) or "74%" in page.value(clip) or "76%" in page.value(clip)
    page.wait_for("document.querySelector('.current .pair img').src.endsWith('/out/0.png')")  # the file itself
    before = int(page.value(AT))
    page.press("ArrowRight")
    assert int(page.value(AT)) == before + 2
    page.press(" ")
    assert page.value(AT) == "100"
    page.press("j")
    page.press("ArrowDown")
    assert page.value(CURRENT) == 3
    page.press("k")
    assert page.value(CURRENT) == 2 and page.value(AT) == "50"
    first = "document.querySelectorAll('.pair img')[0]"
    page.wait_for(f"{first}.src === {first}.dataset.src")  # one that was left is a thumbnail again
    page.press("Enter")
    page.wait_for("document.querySelector('dialog .before').src.endsWith('/1.png')")
    page.wait_for("document.querySelector('dialog img').src.endsWith('/out/1.png')")
    page.press("j")
    page.wait_for("document.querySelector('dialog h2').textContent === '2.png'")
    page.press("Escape")
    assert page.value("document.querySelector('dialog').open") is False
    page.value("document.querySelector('[data-show=failed]').click()")
    assert page.value(SHOWN) == 1
    assert page.problems == []
    assert all(url.startswith("file://") for url in page.requests)


def test_in_a_browser_a_hostile_name_is_a_name(page: Page, tmp_path: Path, pictures: Pictures) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    name = HOSTILE.replace("/", "")
    cv2.imwrite(str(folder / "plain.png"), np.zeros((4, 4, 3), np.uint8))
    (folder / "plain.png").rename(folder / name)
    row = outcome(str(folder / name), error=f"{folder / name}: <img src=x onerror=alert(1)>", output=str(folder / name))
    write(tmp_path / "r.html", [(row, pictures)])
    page.problems.clear()
    page.look(390, 844, is_dark=True, is_touch=True)
    page.open((tmp_path / "r.html").as_uri())
    assert page.value("document.querySelector('article h2').textContent") == name
    assert page.value("document.scripts.length") == 1
    assert page.value("document.querySelectorAll('img[onerror]').length") == 0
    page.value("document.querySelector('.full').click()")
    page.wait_for("document.querySelector('dialog .before').naturalWidth === 4")
    assert page.value("getComputedStyle(document.body).backgroundColor") == "rgb(21, 21, 23)"
    assert page.value("document.documentElement.scrollWidth") == 390
    assert page.problems == []


def test_in_a_browser_500_pictures_open_in_two_seconds(page: Page, tmp_path: Path, smooth_image: Make) -> None:
    after = smooth_image(480, 480) ^ np.random.default_rng(1).integers(0, 8, (480, 480, 3), dtype=np.uint8)
    mask = np.ones((256, 256), np.float32), np.array([[6.4, 0, -128], [0, 6.4, -64]])
    shown = pictures_for(500)((after, None), (after, None), [FACE, FACE], [mask, mask])
    planned = PlannedFace(FACE.box, ((30.5, 25.25),) * 5, 0.98)
    with open_report(tmp_path / "r.html", ABOUT, 500) as report:
        for i in range(500):
            entry = PlannedPhoto(f"{i}.png", "0" * 64, 480, 480, (planned, replace(planned, action="skip")))
            report.add(outcome(f"{i}.png", faces=(FACE, FACE)), shown, entry)
    assert 10e6 < (tmp_path / "r.html").stat().st_size < 60e6
    page.look(1280, 900)
    before = page.cpu_seconds()
    page.open((tmp_path / "r.html").as_uri())
    assert 0 < page.cpu_seconds() - before < 1.5  # by the clock of an idle machine about as much
    assert page.value(SHOWN) == 500
    assert page.value("[...document.querySelectorAll('img[src]')].length") < 100, "far thumbnails must not be decoded"
    page.wait_for("document.querySelectorAll('.edit').length > 0")
    assert page.value("document.querySelectorAll('.edit').length") < 100, "nor can far faces be edited yet"
