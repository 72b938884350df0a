"""`gfp restore` as a user runs it, with the weights in the package."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from gfpcli.images import read_frame

PHOTOS = Path(__file__).resolve().parents[1] / "examples" / "photos"


def gfp(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "gfpcli", *map(str, words)], capture_output=True, text=True)


def test_a_portrait_is_found_and_changed_in_its_face_only(tmp_path: Path) -> None:
    done = gfp("restore", PHOTOS / "grace_hopper.jpg", "-o", tmp_path, "--scale", "1", "--faces", "largest")
    assert done.returncode == 0, done.stderr
    assert "(1 faces)" in done.stderr
    before = read_frame(PHOTOS / "grace_hopper.jpg", 0).image.astype(float)
    after = read_frame(tmp_path / "grace_hopper.jpg", 0).image
    assert after.shape == before.shape
    assert np.abs(after[-40:] - before[-40:]).mean() < 2  # the JPEG's own loss


def test_bad_files_are_named_and_the_rest_is_done(tmp_path: Path) -> None:
    photos = tmp_path / "in"
    (photos / "sub").mkdir(parents=True)
    shutil.copy(PHOTOS / "astronaut_small.jpg", photos / "sub")
    (photos / "broken.png").write_text("not an image")
    done = gfp("restore", photos, "-o", tmp_path / "out")
    assert done.returncode == 1
    assert "broken.png" in done.stderr and "Traceback" not in done.stderr
    with Pillow.open(tmp_path / "out" / "sub" / "astronaut_small.jpg") as picture:
        assert picture.size == (400, 400)
    assert not (tmp_path / "out" / "broken.png").exists()


def test_usage_errors_exit_2_with_one_line(tmp_path: Path) -> None:
    done = gfp("restore", PHOTOS, "-o", tmp_path, "--scale", "9")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "from 1 to 8" in done.stderr


def test_a_wrong_checkpoint_is_named_and_runs_no_code(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]

    (tmp_path / "x.pth").write_bytes(pickle.dumps({"params_ema": Evil()}))
    done = gfp("restore", PHOTOS, "-o", tmp_path / "out", "--model", tmp_path / "x.pth")
    assert done.returncode == 1 and "x.pth" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "ran").exists()


def test_help_and_import_leave_torch_alone() -> None:
    code = "import sys, gfpcli, gfpcli.cli.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
