"""gfpcli as a library: arrays and paths in, pictures with all that is known of their faces out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from gfpcli import GfpError, RestoreOptions, Restorer, load_restorer, restore_image
from gfpcli.errors import InputError, OutputError
from gfpcli.photo.codec import read_frame
from gfpcli.photo.embed import read_carried
from gfpcli.photo.label import read_label

PORTRAIT = Path(__file__).resolve().parents[1] / "examples" / "photos" / "grace_hopper.jpg"


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return load_restorer(RestoreOptions(model="compact", mask="soft", offline=True, scale=1, strength="1"))


def test_importing_the_package_loads_no_network() -> None:
    code = "import gfpcli, sys; gfpcli.__all__; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_path_gives_what_the_command_gives_with_all_of_a_face(restorer: Restorer, tmp_path: Path) -> None:
    result = restore_image(PORTRAIT, restorer)
    (face,) = result.faces
    assert result.n_restored == 1 and face.record.status == "restored" and len(face.record.landmarks) == 5
    assert face.crop is not None and face.crop.shape == (256, 256, 3) and face.mask is not None
    assert face.restored is not None and face.map is not None and face.map.max() > 0
    assert result.map.shape == result.image.shape[:2] and result.map.max() > 0 and not result.map[:60].any()
    assert result.save(tmp_path / "a.jpg") == () and result.save(tmp_path / "b.png", has_label=False) == (
        "cannot be kept in PNG: comment",
    )
    packet = read_carried((tmp_path / "a.jpg").read_bytes(), "JPEG").xmp
    label = read_label(packet or b"")
    assert label and label == result.label and (label.model, label.n_faces) == ("compact", 1)
    assert np.array_equal(read_frame(tmp_path / "b.png", 0).image, result.image)
    assert b"urn:gfpcli" not in (tmp_path / "b.png").read_bytes()
    with pytest.raises(OutputError, match="choose one of"):
        result.save(tmp_path / "a.xyz")


def test_arrays_of_every_layout(restorer: Restorer, tmp_path: Path) -> None:
    bgr = np.asarray(cv2.imread(str(PORTRAIT)), np.uint8)[50:350, 120:420]
    result = restore_image(bgr, restorer)
    mirrored = restore_image(bgr[..., ::-1], restorer, is_rgb=True)
    assert np.array_equal(result.image, mirrored.image) and np.array_equal(result.rgb, mirrored.image[..., ::-1])
    gray = restore_image(bgr[..., 1], restorer)
    assert np.abs(gray.image[..., 0].astype(int) - gray.image[..., 2]).max() <= 1
    gray.save(tmp_path / "gray.png")
    assert read_frame(tmp_path / "gray.png", 0).is_gray
    deep = restore_image(np.dstack([bgr, bgr[..., :1]]).astype(np.uint16) * 257, restorer)
    assert deep.image.dtype == np.uint16 and deep.alpha is not None and deep.alpha.dtype == np.uint16
    deep.save(tmp_path / "deep.png")
    assert read_frame(tmp_path / "deep.png", 0).image.dtype == np.uint16
    blank = restore_image(np.full((64, 64, 3), 90, np.uint8), restorer)
    assert blank.faces == () and not blank.map.any() and blank.label is not None and blank.label.n_faces == 0


@pytest.mark.parametrize("wrong", [np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8)])
def test_what_is_no_picture_is_an_error_in_words(restorer: Restorer, wrong: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="an array must be"):
        restore_image(wrong, restorer)
    (tmp_path / "a.jpg").write_bytes(b"nothing")
    with pytest.raises(GfpError, match="not an image"):
        restore_image(tmp_path / "a.jpg", restorer)
