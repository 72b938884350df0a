"""Photos and clips of known content for measurements, made from the two portraits in `examples/photos`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from imageio_ffmpeg import write_frames
from numpy.typing import NDArray

PHOTOS = Path(__file__).parent / "photos"
CLIP_RATE = 30  # frames/s
GRAY = (128,) * 3
Picture = NDArray[np.uint8]  # (H, W, 3) BGR


def portraits() -> list[Picture]:
    """The two photos."""
    return [np.asarray(cv2.imread(str(path)), np.uint8) for path in sorted(PHOTOS.glob("*.jpg"))]


def wall(pair: Sequence[Picture], grid: tuple[int, int], size: tuple[int, int]) -> Picture:
    """Portraits side by side, in (rows, columns), in a picture of (height, width)."""
    cell = size[1] // grid[1], size[0] // grid[0]
    rows = [[cv2.resize(pair[(x + y) % 2], cell) for x in range(grid[1])] for y in range(grid[0])]
    made = cv2.vconcat([cv2.hconcat(row) for row in rows])
    return np.asarray(cv2.resize(made, size[::-1]), np.uint8)


def twenty_faces() -> Picture:
    """24 megapixels with faces of about 210 px, which the detector knows as such at full size and at 1280 px."""
    small = cv2.resize(portraits()[1], (600, 704), interpolation=cv2.INTER_CUBIC)
    framed = np.asarray(cv2.copyMakeBorder(small, 148, 148, 300, 300, cv2.BORDER_CONSTANT, value=GRAY), np.uint8)
    return wall([framed, np.asarray(cv2.flip(framed, 1), np.uint8)], (4, 5), (4000, 6000))


def swaying(n_frames: int, size: tuple[int, int]) -> Iterator[Picture]:
    """Frames of (height, width) with one head that sways slowly, its face about 0.4 of the height."""
    height, width = size
    portrait = portraits()[1]
    zoom = height / portrait.shape[0]
    for i in range(n_frames):
        x = (width - zoom * portrait.shape[1]) / 2 + height / 40 * np.sin(i / 9)
        shift = np.array([[zoom, 0, x], [0, zoom, height / 60 * np.cos(i / 13)]], np.float64)
        yield np.asarray(cv2.warpAffine(portrait, shift, (width, height), borderValue=GRAY), np.uint8)


def write_photos(folder: Path, pictures: Sequence[Picture]) -> Path:
    """The pictures as JPEG files in a new folder."""
    folder.mkdir(parents=True)
    for i, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{i:04d}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return folder


def write_clip(path: Path, n_frames: int, size: tuple[int, int]) -> Path:
    """The swaying head as an H.264 clip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = write_frames(str(path), size[::-1], fps=CLIP_RATE, quality=None, macro_block_size=1,
                          output_params=["-crf", "18", "-preset", "veryfast"])  # fmt: skip
    writer.send(None)
    for frame in swaying(n_frames, size):
        writer.send(np.ascontiguousarray(frame[..., ::-1]))
    writer.close()
    return path
