"""Faces of pictures: aligned ones as they are, others cropped, or a reason; landmarks; the cache."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.errors import CheckpointError, InputError
from gfpcli.pipeline.align import TEMPLATE_512
from gfpcli.train.faces import CACHE_VERSION, CANVAS, CUT, FACES_CACHE, aligned_landmarks, find_all_faces
from gfpcli.train.sources import FolderSource, open_source
from gfpcli.types import Face, Image
from tests.train.conftest import FakeSource


def detector(images: Sequence[Image]) -> list[tuple[Face, ...]]:
    return [faces_by_mark(image) for image in images]


def faces_by_mark(image: Image) -> tuple[Face, ...]:
    """Knows the pictures of this test by the value of their middle."""
    height, width = image.shape[:2]
    mark = int(image[height // 2, width // 2, 0])
    if mark == 100:  # an aligned face, shown with a border
        size = width / CANVAS
        marks = TEMPLATE_512 * size / 512 + (width - size) / 2
    elif mark == 150:  # a face of 60 px somewhere
        marks = TEMPLATE_512 * 80 / 512 + (30, 50)
    else:
        return ()
    return (Face(np.array([*marks.min(axis=0) - 10, *marks.max(axis=0) + 10]), marks, 0.9),)


def flat(height: int, width: int, value: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), value, np.uint8)


def test_every_picture_gives_faces_or_a_reason(tmp_path: Path) -> None:
    source = FakeSource({
        "aligned.png": flat(128, 128, 100), "photo.jpg": flat(200, 300, 150), "sub/photo.jpg": flat(200, 300, 150),
        "empty.png": flat(90, 120, 7), "small.png": flat(12, 12, 100),
    })  # fmt: skip
    counts: list[tuple[int, int]] = []
    found = find_all_faces(source, tmp_path, 64, detector, lambda *at: counts.append(at))
    assert counts[-1] == (5, 5)
    (aligned,) = found["aligned.png"].faces
    assert not aligned.is_cut and np.abs(np.array(aligned.landmarks) - TEMPLATE_512 / 4).max() < 1
    (cut,) = found["photo.jpg"].faces
    assert cut.is_cut and cv2.imread(str(tmp_path / "faces" / cut.name)).shape == (64, 64, 3)
    assert np.abs(np.array(cut.landmarks) - TEMPLATE_512 / 8).max() < 2
    assert cut.name != found["sub/photo.jpg"].faces[0].name
    assert "no face" in str(found["empty.png"].problem) and "too small" in str(found["small.png"].problem)


def test_a_second_start_looks_at_new_pictures_only(tmp_path: Path) -> None:
    seen: list[Image] = []

    def counting(images: Sequence[Image]) -> list[tuple[Face, ...]]:
        seen.extend(images)
        return detector(images)

    source = FakeSource({"a.png": flat(128, 128, 100)})
    first = find_all_faces(source, tmp_path, 64, counting, lambda *_: None)
    more = FakeSource({**source.pictures, "b.png": flat(128, 128, 100)})
    n_seen = len(seen)
    assert find_all_faces(more, tmp_path, 64, counting, lambda *_: None)["a.png"] == first["a.png"]
    assert len(seen) == n_seen + 1
    (tmp_path / FACES_CACHE).write_text(json.dumps({"version": CACHE_VERSION, "size": 64, "pictures": [3]}))
    with pytest.raises(CheckpointError, match="delete it"):
        find_all_faces(more, tmp_path, 64, counting, lambda *_: None)


@pytest.mark.parametrize("size", [100, 256, 512, 1024])
def test_landmarks_of_aligned_faces_are_exact_at_every_size(size: int) -> None:
    """Five blobs, and a detector that finds their centres of mass in what it is shown."""
    true = TEMPLATE_512 * size / 512 + (0.01 * size, -0.007 * size)
    y, x = np.mgrid[:size, :size]
    blobs = sum(np.exp(-np.hypot(x - at_x, y - at_y) ** 2 / (size / 50) ** 2) for at_x, at_y in true)
    picture = np.repeat(np.round(255 * blobs).astype(np.uint8)[..., None], 3, axis=2)

    def centres(images: Sequence[Image]) -> list[tuple[Face, ...]]:
        (image,) = images
        shown = image.shape[0] / CANVAS
        found = []
        for at in np.round(TEMPLATE_512 * shown / 512 + (image.shape[0] - shown) / 2).astype(int):
            reach = int(shown / 12)
            corner = at - reach
            window = image[corner[1] : at[1] + reach, corner[0] : at[0] + reach, 0].astype(float)
            rows, columns = np.indices(window.shape)
            found.append(corner + np.array([(window * columns).sum(), (window * rows).sum()]) / window.sum())
        marks = np.array(found)
        return [(Face(np.array([*marks.min(axis=0), *marks.max(axis=0)]), marks, 0.9),)]

    landmarks = aligned_landmarks(picture, centres)
    assert landmarks is not None and np.abs(landmarks - true).max() < 0.1 * max(1, size / 256)


def test_a_cache_of_another_version_is_not_used(tmp_path: Path) -> None:
    source = FakeSource({"a.png": flat(128, 128, 100)})
    first = find_all_faces(source, tmp_path, 64, detector, lambda *_: None)
    content = json.loads((tmp_path / FACES_CACHE).read_text())
    content["pictures"]["a.png"]["faces"][0]["landmarks"] = [[1.0, 2.0]] * 5
    for version in ({"version": 1}, {}):  # the first versions had no number
        old = {key: value for key, value in content.items() if key != "version"} | version
        (tmp_path / FACES_CACHE).write_text(json.dumps(old))
        assert find_all_faces(source, tmp_path, 64, detector, lambda *_: None) == first


def test_another_picture_of_the_same_name_is_looked_at_again(tmp_path: Path) -> None:
    before = find_all_faces(FakeSource({"a.png": flat(128, 128, 100)}), tmp_path, 64, detector, lambda *_: None)
    after = find_all_faces(FakeSource({"a.png": flat(128, 128, 7)}), tmp_path, 64, detector, lambda *_: None)
    assert before["a.png"].faces and not after["a.png"].faces
    cache = (tmp_path / FACES_CACHE).read_bytes()  # there will be no run: the cache stays as it was
    assert json.loads(cache)["pictures"]["a.png"]["faces"]


def test_a_cut_face_that_was_deleted_is_cut_again(tmp_path: Path) -> None:
    source = FakeSource({"a.png": flat(200, 300, 150)})
    (face,) = find_all_faces(source, tmp_path, 64, detector, lambda *_: None)["a.png"].faces
    cut = tmp_path / CUT / face.name
    cut.unlink()
    find_all_faces(source, tmp_path, 64, detector, lambda *_: None)
    assert face.is_cut and cut.is_file()


def test_an_unreadable_file_is_named_and_left_out(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("text")
    found = find_all_faces(FolderSource(tmp_path, ("bad.png",)), tmp_path / "run", 64, detector, lambda *_: None)
    assert "bad.png" in str(found["bad.png"].problem) and not found["bad.png"].faces


def test_an_lmdb_as_basicsr_lays_it_out(tmp_path: Path) -> None:
    folder = tmp_path / "faces.lmdb"
    picture = flat(32, 32, 77)
    base = lmdb.open(str(folder), map_size=1 << 20)
    with base.begin(write=True) as view:
        view.put(b"one", cv2.imencode(".png", picture)[1].tobytes())
    base.close()
    with pytest.raises(InputError, match="meta_info.txt"):
        open_source(folder)
    (folder / "meta_info.txt").write_text("one.png (32,32,3) 1\ntwo.png (32,32,3) 1\n")
    source = open_source(folder)
    assert source.names == ("one.png", "two.png") and (source.read("one.png") == picture).all()
    before = source.stamp("one.png")
    assert len(before) == 2 and source.stamp("two.png") == ()
    base = lmdb.open(str(folder), map_size=1 << 20)
    with base.begin(write=True) as view:
        view.put(b"one", cv2.imencode(".png", flat(32, 32, 78))[1].tobytes())
    base.close()
    assert source.stamp("one.png") != before
    with pytest.raises(InputError, match="holds no two.png"):
        source.read("two.png")


def test_folders_that_hold_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        open_source(tmp_path / "gone")
    with pytest.raises(InputError, match="no images"):
        open_source(tmp_path)


def test_a_run_inside_the_data_is_not_trained_on(tmp_path: Path) -> None:
    for name in ("a.png", "run/faces/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / name), flat(32, 32, 5))
    assert open_source(tmp_path, besides=tmp_path / "run").names == ("a.png",)
