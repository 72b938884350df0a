"""Faces edited in the report: a real browser saves a plan, and a run obeys it and changes nothing else."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from gfpcli.cli.app import app
from gfpcli.photo.face_plan import read_plan
from tests.browser import CHROMIUM, Page
from tests.faults.load import hashes_of

Make = Callable[[int, int], NDArray[np.uint8]]
ROOT = Path(__file__).resolve().parents[2]
WORDS = ("--offline", "--model", "compact", "--detector", "builtin", "--mask", "soft", "--scale", "1",
         "--strength", "1", "--identity-guard", "off")  # fmt: skip
PLAIN, HOSTILE = "plain.png", '<img src=x onerror=alert(1)>"&\'.png'
PAIR, SOLO = "two.png", "solo.png"
FACES = "article.current .faces li"


def restore(folder: Path, *words: object) -> Result:
    given = ["restore", str(folder / "in"), "-o", str(folder / "out"), *WORDS, *map(str, words)]
    return CliRunner().invoke(app, given)


@pytest.fixture(scope="module")
def restored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos of one or two faces, their results and a report."""
    folder = tmp_path_factory.mktemp("edited")
    portrait = cv2.imread(str(ROOT / "examples/photos/grace_hopper.jpg"))
    assert portrait is not None
    face = cv2.resize(portrait[40:400, 80:440], (96, 96), interpolation=cv2.INTER_AREA)
    (folder / "in").mkdir()
    for i, name in enumerate((PLAIN, HOSTILE, PAIR, SOLO)):
        shown = np.concatenate([face, np.roll(face[:, ::-1], 5, 0)], axis=1) if name == PAIR else face
        (folder / "in" / name).write_bytes(cv2.imencode(".png", shown + np.uint8(i))[1].tobytes())
    done = restore(folder, "--report", folder / "r.html")
    assert done.exit_code == 0 and "5 faces restored" in done.stderr, done.stderr
    return folder


@pytest.fixture
def folder(restored: Path, tmp_path: Path) -> Path:
    """A copy of it, for one test."""
    shutil.copytree(restored, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with Page(tmp_path_factory.mktemp("profile")) as page:
        page.look(1280, 900)
        yield page


def opened(page: Page, folder: Path) -> Page:
    (folder / "saved").mkdir(exist_ok=True)
    page.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder / "saved"))
    page.problems.clear()
    page.open((folder / "r.html").as_uri())
    page.wait_for("document.querySelectorAll('.edit').length === 5")
    return page


def to_photo(page: Page, name: str) -> None:
    """Clicks on a photo."""
    page.value(f"[...document.querySelectorAll('h2')].find(each => each.textContent === {json.dumps(name)}).click()")


def saved_plan(page: Page, folder: Path) -> Path:
    page.press("s")
    path = folder / "saved" / "plan.json"
    deadline = time.monotonic() + 20
    while not path.is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    return path


def picture_of(page: Page, which: int) -> NDArray[np.int64]:
    """A picture (H, W, 3) RGB of the current photo's first face, as the page shows it: 0 before, 1 after."""
    script = f"""(async () => {{
      const img = document.querySelectorAll('{FACES} img')[{which}];
      await img.decode();
      const canvas = document.createElement('canvas');
      [canvas.width, canvas.height] = [img.naturalWidth, img.naturalHeight];
      canvas.getContext('2d').drawImage(img, 0, 0);
      const seen = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      return [canvas.height, canvas.width, [...seen.data]];
    }})()"""
    height, width, data = page.value(script)
    return np.array(data).reshape(height, width, 4)[..., :3]


def test_three_edited_faces_change_and_nothing_else(browser: Page, folder: Path) -> None:
    page, before = opened(browser, folder), hashes_of(folder / "out")
    to_photo(page, PLAIN)
    page.press("n")
    page.press("u")
    to_photo(page, PAIR)
    page.value(f"document.querySelectorAll('{FACES}')[1].querySelector('[data-edit=change]').click()")
    to_photo(page, HOSTILE)
    page.value("(s => { s.value = 0.4; s.dispatchEvent(new Event('input')); })"
               f"(document.querySelector('{FACES} .edit input'))")  # fmt: skip
    assert page.value("document.getElementById('edits').textContent") == "3 faces changed"
    plan = read_plan(saved_plan(page, folder))
    assert "saved" in page.value("document.getElementById('edits').textContent")
    assert page.problems == [] and page.value("document.querySelectorAll('img[onerror]').length") == 0
    assert sorted(plan) == sorted([PLAIN, HOSTILE, PAIR]), "what was not touched is left to the run"
    assert [(each.action, each.strength) for name in (PLAIN, HOSTILE, PAIR) for each in plan[name].faces] == [
        ("skip", None), ("restore", 0.4), ("restore", None), ("skip", None),
    ]  # fmt: skip
    done = restore(folder, "--plan", folder / "saved/plan.json", "--json", folder / "records.jsonl")
    assert done.exit_code == 0 and "1 no face, 2 restored, 1 skipped" in done.stderr, done.stderr
    lines = (folder / "records.jsonl").read_text().splitlines()
    rows = {Path(row["input"]).name: row for row in map(json.loads, lines)}
    assert rows[SOLO]["status"] == "skipped" and rows[SOLO]["notes"] == ["done before"]
    after = hashes_of(folder / "out")
    assert {name for name in after if after[name] != before[name]} == {PLAIN, HOSTILE, PAIR}
    pair = [cv2.imread(str(folder / where / PAIR)).astype(int) for where in ("in", "out")]
    kept, made = (tuple(slice(*map(round, face.box[i : 4 : 2])) for i in (1, 0)) for face in reversed(plan[PAIR].faces))
    assert (pair[0][kept] == pair[1][kept]).all() and (pair[0][made] != pair[1][made]).any()
    again = restore(folder, "--plan", folder / "saved/plan.json")
    assert "4 skipped" in again.stderr, "an unchanged plan changes nothing"


def test_the_preview_mixes_both_pictures_within_the_face(browser: Page, folder: Path) -> None:
    page = opened(browser, folder)
    to_photo(page, SOLO)
    page.press("n")
    before, after = picture_of(page, 0), picture_of(page, 1)
    for _ in range(10):
        page.press("-")
    page.wait_for("(each => each.drawn === each.shown)(document.querySelector('article.current'))")
    assert page.value("document.querySelector('article.current .pair img').src.startsWith('data:image/png')")
    assert page.value(f"document.querySelector('{FACES} output').textContent") == "50 %"
    half = picture_of(page, 1)
    middle, corner = np.s_[half.shape[0] // 2, 30:60], np.s_[:2, :2]
    assert (before[middle] != after[middle]).any()
    assert np.abs(half - (before + after) / 2)[middle].max() <= 1.5 and (half[corner] == after[corner]).all()
    page.press("u")
    page.press("u")
    page.wait_for(f"document.querySelector('{FACES} .edit input').value === '0'")
    page.wait_for("(each => each.drawn === each.shown)(document.querySelector('article.current'))")
    assert page.value("document.querySelector('article.current .pair img').src.startsWith('data:image/png')")
    assert np.abs(picture_of(page, 1) - before)[middle].max() <= 1
    page.press("u")
    assert page.value("document.getElementById('save').disabled") is True


def test_an_edit_can_be_taken_back_and_a_face_left_alone_can_be_restored(browser: Page, folder: Path) -> None:
    plan = {"gfp_plan": 1, "photos": [entry for entry in entries_of(folder / "r.html") if entry["photo"] == SOLO]}
    plan["photos"][0]["faces"][0]["action"] = "skip"
    (folder / "plan.json").write_text(json.dumps(plan))
    done = restore(folder, "--plan", folder / "plan.json", "--report", folder / "r.html")
    assert done.exit_code == 0 and "1 no face, 3 skipped" in done.stderr, done.stderr
    page = opened(browser, folder)
    to_photo(page, PLAIN)
    page.press("n")
    for key, told in (("u", "1 face changed"), ("u", ""), ("-", "1 face changed"), ("u", "")):
        page.press(key)
        assert page.value("document.getElementById('edits').textContent") == told
    assert page.value("document.getElementById('save').disabled") is True
    to_photo(page, SOLO)
    button = f"document.querySelector('{FACES} [data-edit=change]')"
    assert page.value(f"{button}.textContent") == "restore"
    page.value(f"{button}.click()")
    assert page.value(f"document.querySelector('{FACES} output').textContent") == "100 %, seen after the next run"
    saved = read_plan(saved_plan(page, folder))
    assert list(saved) == [SOLO] and saved[SOLO].faces[0].action == "restore"
    done = restore(folder, "--plan", folder / "saved/plan.json")
    assert done.exit_code == 0 and "1 restored, 3 skipped" in done.stderr, done.stderr


def entries_of(report: Path) -> list[dict[str, Any]]:
    """The entries of plans in a page."""
    from html import unescape

    parts = report.read_text().split(' data-plan="')[1:]
    return [json.loads(unescape(part.split('"')[0])) for part in parts]


def test_a_plan_saved_from_a_page_keeps_what_the_run_did_not_come_to(folder: Path) -> None:
    """A run that was stopped: the page holds the other entries of the plan it was given."""
    entries = entries_of(folder / "r.html")
    (folder / "plan.json").write_text(json.dumps({"gfp_plan": 1, "photos": entries}))
    (folder / "in" / SOLO).write_bytes((folder / "in" / SOLO).read_bytes() + b"more")
    done = restore(folder, "--plan", folder / "plan.json", "--report", folder / "r.html", "--fail-fast", "--force")
    assert done.exit_code == 1 and "was changed since the plan was made" in done.stderr
    assert sorted(entry["photo"] for entry in entries_of(folder / "r.html")) == sorted([PLAIN, HOSTILE, PAIR, SOLO])
