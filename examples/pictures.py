"""Make the pictures of the README: an old photo, a group and a frame of a video, each before and after; the report.

    python examples/pictures.py

All begin from the two public-domain portraits in `examples/photos`. They are made small, blurred, gray or noisy and
compressed hard, then restored with the built-in weights and no download. The picture of the report needs Chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe, write_frames
from numpy.typing import NDArray

HERE = Path(__file__).parent
ASTRONAUT, ADMIRAL = (
    np.asarray(cv2.imread(str(HERE / "photos" / name)), np.uint8)
    for name in ("astronaut_small.jpg", "grace_hopper.jpg")
)
BUILT_IN = ["--model", "compact-512", "--detector", "builtin", "--mask", "soft", "--offline", "--quiet"]
GAP = 12  # px of white between before and after
Picture = NDArray[np.uint8]  # (H, W, 3) BGR


def old_photo() -> Picture:
    """A portrait as an old print comes from a cheap scanner: small, gray with a brown tint, soft, noisy, compressed."""
    small = cv2.resize(ADMIRAL, (288, 352), interpolation=cv2.INTER_AREA)
    gray = cv2.cvtColor(cv2.GaussianBlur(small, (0, 0), 1.3), cv2.COLOR_BGR2GRAY).astype(np.float32)
    faded = 40 + 0.72 * gray[..., None] * np.array([0.86, 0.95, 1.0], np.float32)
    noisy = faded + np.random.default_rng(0).normal(0, 4, faded.shape)
    return compressed(np.clip(noisy, 0, 255).astype(np.uint8), quality=60)


def group() -> Picture:
    """Six faces of about 60 px side by side, as in a contact sheet of passport photos."""
    portraits = ASTRONAUT[0:130, 40:150], ADMIRAL[20:440, 85:440]
    cells = [cv2.resize(each, (132, 156), interpolation=cv2.INTER_AREA) for each in portraits]
    row = [cells[0], cells[1], cells[0][:, ::-1]], [cells[1][:, ::-1], cells[0], cells[1]]
    sheet = np.vstack([np.hstack(each) for each in row])
    return compressed(cv2.GaussianBlur(sheet, (0, 0), 1.2), quality=45)


def clip(path: Path) -> None:
    """Two seconds of a camera that moves over a portrait, as a video of few bits."""
    portrait = cv2.GaussianBlur(cv2.resize(ADMIRAL, (340, 400), interpolation=cv2.INTER_AREA), (0, 0), 2.0)
    writer = write_frames(str(path), (320, 240), fps=25, quality=None, output_params=["-crf", "30"])
    writer.send(None)
    for i in range(50):
        shift = np.array([[1, 0, 12 - 0.6 * i], [0, 1, 4 - 0.4 * i]], np.float64)
        writer.send(np.ascontiguousarray(cv2.warpAffine(portrait, shift, (320, 240))[..., ::-1]))
    writer.close()


def compressed(picture: Picture, quality: int) -> Picture:
    """As it comes back from a JPEG file."""
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def gfp(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "gfpcli", *words, *BUILT_IN], check=True)


def frame_of(path: Path, folder: Path) -> Picture:
    """The 40th frame of a clip."""
    out = folder / f"{path.stem}_frame.png"
    command = [get_ffmpeg_exe(), "-v", "error", "-y", "-i", str(path), "-vf", r"select=eq(n\,40)", "-frames:v", "1"]
    subprocess.run([*command, str(out)], check=True)
    return np.asarray(cv2.imread(str(out)), np.uint8)


def side_by_side(before: Picture, after: Picture) -> Picture:
    """`before` enlarged to the size of `after`, a white line, `after`."""
    height, width = after.shape[:2]
    enlarged = cv2.resize(before, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.hstack([enlarged, np.full((height, GAP, 3), 255, np.uint8), after])


def screenshot(page: Path, width: int, height: int) -> Picture | None:
    """The top of a page as Chromium shows it; None without Chromium."""
    if (chromium := shutil.which("chromium") or shutil.which("google-chrome")) is None:
        return None
    out = page.with_suffix(".png")
    options = ["--headless", "--no-sandbox", f"--window-size={width},{height}", "--hide-scrollbars"]
    options.append("--virtual-time-budget=8000")  # ms of the page's own clock, for its pictures to be shown
    subprocess.run([chromium, *options, f"--screenshot={out}", page.as_uri()], check=True, capture_output=True)
    return np.asarray(cv2.imread(str(out)), np.uint8)


def report(photos: dict[str, Picture], folder: Path) -> None:
    """The report of these photos."""
    inputs = folder / "photos"
    inputs.mkdir()
    for kind, picture in photos.items():
        cv2.imwrite(str(inputs / f"{kind}.png"), picture)
    page = folder / "out" / "report.html"
    gfp("restore", str(inputs), "-o", str(page.parent), "--report", str(page))
    shown = screenshot(page, 1100, 900)
    if shown is not None:
        save("report", shown)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = {"old_photo": old_photo(), "group": group()}
        for kind, before in photos.items():
            source, out = folder / f"{kind}.png", folder / f"{kind}_restored.png"
            cv2.imwrite(str(source), before)
            gfp("restore", str(source), "-o", str(out), "--scale", "2", "-b", "compact-x2")
            save(kind, side_by_side(before, np.asarray(cv2.imread(str(out)), np.uint8)))
        report(photos, folder)
        source, out = folder / "clip.mp4", folder / "restored.mp4"
        clip(source)
        gfp("video", str(source), "-o", str(out), "--scale", "2", "-b", "compact-x2")
        save("video_frame", side_by_side(frame_of(source, folder), frame_of(out, folder)))


def save(kind: str, picture: Picture) -> None:
    cv2.imwrite(str(HERE / "pictures" / f"{kind}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
