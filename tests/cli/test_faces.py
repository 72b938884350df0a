"""`gfp faces`, and runs that are told which faces to restore: by a plan or by the persons shown."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fsspec import AbstractFileSystem
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

import gfpcli.photo.planning
import gfpcli.weights.build
from gfpcli.cli.app import app
from gfpcli.photo.face_plan import read_plan
from gfpcli.pipeline.identity import IdentityScale
from tests.faults.load import hashes_of

ROOT = Path(__file__).resolve().parents[2]
WORDS = ("--offline", "--model", "compact", "--detector", "builtin")
RUN = (*WORDS, "--mask", "soft", "--scale", "1", "--strength", "1", "--identity-guard", "off")


def by_colour(crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Unit vectors of persons that differ by a tint."""
    means = np.array([crop.reshape(-1, 3).mean(axis=0) for crop in crops], np.float32)
    means -= means.mean(axis=1, keepdims=True)
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module", autouse=True)
def _identifier() -> Iterator[None]:
    """In place of the network: whose face it is is told by the tint."""
    with pytest.MonkeyPatch.context() as patch:
        for place in (gfpcli.photo.planning, gfpcli.weights.build):
            patch.setattr(place, "load_identifier_for", lambda *_: (by_colour, IdentityScale((0.0, 1.0), (0.0, 1.0))))
        yield


def gfp(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two persons: `blue` alone and with `red`; a grass picture and a damaged one."""
    folder = tmp_path_factory.mktemp("photos")
    portrait = cv2.imread(str(ROOT / "examples/photos/grace_hopper.jpg"))
    assert portrait is not None
    face = cv2.resize(portrait[40:400, 80:440], (96, 96), interpolation=cv2.INTER_AREA).astype(int)
    blue, red = (np.clip(face + tint, 0, 255).astype(np.uint8) for tint in ([60, 0, -40], [-60, 0, 40]))
    (folder / "album").mkdir()
    for name, image in {
        "album/both.png": np.concatenate([blue, red[:, ::-1]], axis=1), "blue.png": blue, "red.png": red,
        "plain.png": np.full((40, 60, 3), 99, np.uint8),
    }.items():  # fmt: skip
        cv2.imwrite(str(folder / name), image)
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    return folder


@pytest.fixture(scope="module")
def made(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    folder = tmp_path_factory.mktemp("made")
    done = gfp("faces", photos, "-o", folder / "plan.json", "--sheet", folder / "sheets/persons.png", *WORDS)
    return done, folder


def test_the_plan_names_each_photo_and_person(photos: Path, made: tuple[Result, Path]) -> None:
    done, folder = made
    assert done.exit_code == 1, "one photo is damaged"
    assert f"failed    {photos / 'bad.png'}: " in done.stderr and "4 photos" not in done.stderr
    assert "5 photos, 4 faces, 2 persons, 1 failed" in done.stderr
    plan = read_plan(folder / "plan.json")
    assert sorted(plan) == ["album/both.png", "blue.png", "plain.png", "red.png"]
    person = {name: sorted(face.person or 0 for face in plan[name].faces) for name in plan}
    assert person["album/both.png"] == [1, 2] and person["blue.png"] != person["red.png"] and person["plain.png"] == []
    (face,) = plan["blue.png"].faces
    assert face.action == "restore" and face.strength is None and face.planned_strength is not None
    assert len(face.landmarks) == 5 and face.blur is not None and face.score > 0.8
    assert "person 2" in done.stdout and "album/both.png" in done.stdout


def test_the_sheet_has_a_row_for_each_person(made: tuple[Result, Path]) -> None:
    sheet = cv2.imread(str(made[1] / "sheets/persons.png"))
    assert sheet is not None and sheet.shape[0] > 2 * 112
    rows = [sheet[14 + i * 146 : 14 + i * 146 + 112, 128 : 128 + 228].astype(int) for i in range(2)]
    tints = [float((row[..., 0] - row[..., 2])[row.std(axis=2) > 5].mean()) for row in rows]
    assert tints[0] * tints[1] < 0, "each row is one person's"


def test_a_plan_is_not_replaced_unless_it_is_forced(photos: Path, made: tuple[Result, Path]) -> None:
    words = ("faces", photos / "plain.png", "-o", made[1] / "plan.json", *WORDS)
    before = (made[1] / "plan.json").read_bytes()
    done = gfp(*words)
    assert done.exit_code == 1 and "somebody may have edited it" in done.stderr and before
    assert (made[1] / "plan.json").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("-o", "plan.txt"), "--output plan.txt: the name must end in .json"),
        (("-o", "s3://a/plan.json"), "is written on this machine"),
        (("--sheet", "x.jpg"), "--sheet x.jpg: the name must end in .png"),
        (("--strength", "2"), "choose a number from 0"),
    ],
)
def test_wrong_names_are_refused(photos: Path, words: tuple[str, ...], told: str) -> None:
    done = gfp("faces", photos, *words, *WORDS)
    assert done.exit_code == 2 and told in done.stderr and done.stderr.count("\n") == 1


def test_the_plan_goes_to_stdout(photos: Path) -> None:
    done = gfp("faces", photos / "blue.png", "-o", "-", "--max-face", "10", *WORDS)
    (entry,) = json.loads(done.stdout)["photos"]
    assert entry["photo"] == "blue.png" and [face["action"] for face in entry["faces"]] == ["skip"]


@pytest.fixture(scope="module")
def out(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All photos restored without a plan."""
    folder = tmp_path_factory.mktemp("run") / "out"
    assert gfp("restore", photos, "-o", folder, *RUN).exit_code == 1
    return folder


def edited(made: tuple[Result, Path], tmp_path: Path, change: Any) -> Path:
    content = json.loads((made[1] / "plan.json").read_text())
    change({entry["photo"]: entry for entry in content["photos"]})
    (tmp_path / "plan.json").write_text(json.dumps(content))
    return tmp_path / "plan.json"


def test_an_unedited_plan_gives_the_bytes_of_no_plan_and_an_edit_changes_its_photo_only(
    photos: Path, out: Path, made: tuple[Result, Path], tmp_path: Path
) -> None:
    first = gfp("restore", photos, "-o", tmp_path / "out", "--plan", made[1] / "plan.json", *RUN)
    assert "3 restored" in first.stderr and hashes_of(tmp_path / "out") == hashes_of(out)

    shutil.copytree(out, tmp_path / "before")
    again = gfp("restore", photos, "-o", tmp_path / "before", "--plan", made[1] / "plan.json", *RUN)
    assert "1 failed, 4 skipped" in again.stderr, "what was made without a plan is what the plan asks for"

    def change(entries: dict[str, Any]) -> None:
        entries["red.png"]["faces"][0]["strength"] = 0.5
        entries["album/both.png"]["faces"][1]["action"] = "skip"
        entries["plain.png"]["faces"].append({"box": [10, 5, 40, 35]})
        entries["blue.png"]["faces"][0]["planned_strength"] = 0.123

    words = ("restore", photos, "-o", tmp_path / "out", "--plan", edited(made, tmp_path, change), *RUN)
    done = gfp(*words, "--json", tmp_path / "rows.jsonl")
    assert "1 failed, 3 restored, 1 skipped" in done.stderr, done.stderr
    before, after = hashes_of(out), hashes_of(tmp_path / "out")
    assert {name for name in after if before[name] != after[name]} == {"red.png", "album/both.png", "plain.png"}
    rows = {Path(row["input"]).name: row for row in map(json.loads, (tmp_path / "rows.jsonl").read_text().splitlines())}
    assert [face["strength"] for face in rows["red.png"]["faces"]] == [0.5]
    assert [face["status"] for face in rows["both.png"]["faces"]] == ["restored", "skipped"]
    assert "4 skipped" in gfp(*words).stderr


def test_a_dry_run_looks_at_the_faces_of_the_plan(photos: Path, made: tuple[Result, Path], tmp_path: Path) -> None:
    plan = edited(made, tmp_path, lambda entries: entries["album/both.png"]["faces"][0].update(action="skip"))
    done = gfp("restore", photos, "-o", tmp_path / "out", "--plan", plan, "--dry-run", *RUN)
    assert done.exit_code == 0 and "1 of 2" in done.stderr and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: "{", "not JSON"),
        (lambda text: text.replace('"gfp_plan": 1', '"gfp_plan": 9'), "version 9"),
        (lambda text: text.replace("blue.png", "green.png"), "'green.png' is not among the inputs"),
        (lambda text: text.replace('"strength": "auto"', '"strength": 7'), "strength must be a number from 0 to 1"),
    ],
)
def test_a_bad_plan_is_one_line(
    photos: Path, made: tuple[Result, Path], tmp_path: Path, change: Any, told: str
) -> None:
    (tmp_path / "bad.json").write_text(change((made[1] / "plan.json").read_text()))
    done = gfp("restore", photos, "-o", tmp_path / "out", "--plan", tmp_path / "bad.json", *RUN)
    assert done.exit_code == 2 and done.stderr.startswith(f"gfp: {tmp_path / 'bad.json'}") and told in done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "out").exists()


def faces_in(records: Path) -> list[Any]:
    """What each line tells of the faces of a photo, without times."""
    rows = sorted(map(json.loads, records.read_text().splitlines()), key=lambda row: Path(row["input"]).name)
    return [[{**face, "seconds": 0} for face in row["faces"]] for row in rows]


def test_photos_and_plan_behind_urls_give_the_same(
    store: AbstractFileSystem, photos: Path, made: tuple[Result, Path], tmp_path: Path
) -> None:
    def change(entries: dict[str, Any]) -> None:
        entries["album/both.png"]["faces"][1]["action"] = "skip"
        entries["red.png"]["faces"][0].pop("landmarks")

    plan = edited(made, tmp_path, change)
    for path in (*photos.rglob("*.png"), plan):
        store.pipe(f"/in/{path.relative_to(photos if photos in path.parents else tmp_path)}", path.read_bytes())
    store.rm("/in/plan.json")
    store.pipe("/plans/plan.json", plan.read_bytes())
    judged = (*RUN, "--strength", "auto", "--identity-guard", "on", "--json")
    assert gfp("restore", photos, "-o", tmp_path / "out", "--plan", plan, *judged, tmp_path / "here").exit_code == 1
    words = ("restore", "memory://in", "-o", "memory://out", "--plan", "memory://plans/plan.json", *judged)
    words = (*words, tmp_path / "there")
    assert gfp(*words).exit_code == 1
    assert faces_in(tmp_path / "here") == faces_in(tmp_path / "there")
    for name in ("album/both.png", "red.png", "blue.png", "plain.png"):
        assert store.cat(f"/out/{name}") == (tmp_path / "out" / name).read_bytes(), name
    assert "4 skipped" in gfp(*words).stderr


def test_the_persons_shown_are_restored_or_left_alone(photos: Path, tmp_path: Path) -> None:
    words = ("restore", photos, "-o", tmp_path / "out", *RUN, "--json", tmp_path / "rows.jsonl")

    def done() -> dict[str, list[str]]:
        rows = map(json.loads, (tmp_path / "rows.jsonl").read_text().splitlines())
        return {Path(row["input"]).name: sorted(face["status"] for face in row["faces"]) for row in rows}

    gfp(*words, "--only", photos / "blue.png")
    assert done() | {"bad.png": []} == {
        "both.png": ["restored", "skipped"], "blue.png": ["restored"], "red.png": ["skipped"], "plain.png": [],
        "bad.png": [],
    }  # fmt: skip
    again = gfp(*words, "--only", photos / "blue.png")
    assert "4 skipped" in again.stderr
    other = gfp(*words, "--not", photos / "blue.png")
    assert "3 no face" in other.stderr or "restored" in other.stderr, "the persons shown are settings of the run"
    assert done()["red.png"] == ["restored"] and done()["blue.png"] == ["skipped"]


@pytest.mark.parametrize(
    ("flag", "name", "told"),
    [
        ("--only", "plain.png", "shows no face"),
        ("--not", "album/both.png", "shows 2 faces"),
        ("--only", "x.png", "No such"),
    ],
)
def test_a_photo_that_shows_nobody_is_one_line(photos: Path, tmp_path: Path, flag: str, name: str, told: str) -> None:
    done = gfp("restore", photos, "-o", tmp_path / "out", flag, photos / name, *RUN)
    assert done.exit_code == 1 and told in done.stderr and str(photos / name) in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [(("--plan", "p", "--only", "a"), "leave --only out"), (("--aligned", "--not", "a"), "leave --not out")],
)
def test_flags_that_say_two_things_are_refused(words: tuple[str, ...], told: str) -> None:
    done = gfp("restore", "x", *words)
    assert done.exit_code == 2 and told in done.stderr and done.stderr.count("\n") == 1
