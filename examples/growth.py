"""How time and memory grow with the work: with photos, megapixels, faces and frames, by the built-in weights.

    python examples/growth.py --json examples/figures/growth.json
    python examples/growth.py --quick        less of each, in about two minutes

Prints for each row of runs the seconds, those of the processor, which other work on the machine changes little, and
the peak of memory; then how far the seconds are from a straight line.
`examples/plots.py` draws what the JSON file holds.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import psutil
import torch
from runs import BUILT_IN, run_gfp
from scenes import Picture, portraits, write_clip, write_photos

from gfpcli.weights.autotune import machine_of
from gfpcli.weights.cpu import cpu_features

LOG = logging.getLogger("growth")
AS_JPEG = ("--format", "jpg")
N_PICTURES = 4  # of a run over megapixels or faces
CLIP_SIZE = 360, 640  # height, width


@dataclass(frozen=True)
class Amounts:
    """How much of each is tried."""

    photos: tuple[int, ...] = (10, 100, 1000)
    megapixels: tuple[int, ...] = (3, 6, 12, 24, 48)
    faces: tuple[int, ...] = (1, 8, 16, 32)
    frames: tuple[int, ...] = (25, 100, 200, 400)


QUICK = Amounts((10, 40, 80), (3, 6, 12), (1, 8, 16), (10, 30, 60))


def rows(folder: Path, amounts: Amounts) -> Iterator[tuple[str, int, Path]]:
    """(what grows, how much of it, folder of photos or a clip)."""
    face = np.asarray(cv2.resize(portraits()[1][:600, :512], (400, 400)), np.uint8)
    small = np.asarray(cv2.resize(face, (200, 200)), np.uint8)
    for n in amounts.photos:
        yield "photos", n, write_photos(folder / f"photos {n}", [small] * n)
    for megapixels in amounts.megapixels:
        height = round((megapixels * 1e6 * 2 / 3) ** 0.5)
        picture = _gray(height, height * 3 // 2)
        picture[100:500, 100:500] = face
        yield "megapixels", megapixels, write_photos(folder / f"megapixels {megapixels}", [picture] * N_PICTURES)
    for n in amounts.faces:
        picture = _gray(1700, 3300)
        for i in range(n):
            y, x = 10 + 410 * (i // 8), 10 + 410 * (i % 8)
            picture[y : y + 400, x : x + 400] = face
        yield "faces", n, write_photos(folder / f"faces {n}", [picture] * N_PICTURES)
    for n in amounts.frames:
        yield "frames", n, write_clip(folder / f"frames {n}" / "clip.mp4", n, CLIP_SIZE)


def _gray(height: int, width: int) -> Picture:
    return np.full((height, width, 3), 128, np.uint8)


def straight_lines(what: str, points: list[tuple[int, float, float, float]]) -> Iterator[str]:
    """The lines that fit best through seconds and processor seconds, and how far these are from them."""
    amounts, *columns, _ = np.array(points).T
    each = f" ({N_PICTURES} pictures each)" if what in ("megapixels", "faces") else ""
    for name, seconds in zip(("s", "processor s"), columns, strict=True):
        slope, start = np.polyfit(amounts, seconds, 1)
        off = 100 * np.abs(slope * amounts + start - seconds).max() / seconds.max()
        yield f"{what}{each}: {start:.1f} {name} + {slope:.3f} each, off a straight line by at most {off:.0f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    load, features = psutil.getloadavg()[0], cpu_features()
    LOG.info("%s; %d threads", features.line(), torch.get_num_threads())
    told: dict[str, list[tuple[int, float, float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        for what, amount, source in rows(Path(name), QUICK if args.quick else Amounts()):
            is_clip = what == "frames"
            run = run_gfp("video" if is_clip else "restore", source, (*BUILT_IN, *(() if is_clip else AS_JPEG)))
            peak_mb = run.peak_bytes / 1e6
            LOG.info("%4d %-10s %6.1f s, of the processor %6.1f s, peak %5.0f MB, %4d faces", amount, what,
                     run.seconds, run.cpu_s, peak_mb, run.n_faces)  # fmt: skip
            told.setdefault(what, []).append((amount, run.seconds, run.cpu_s, peak_mb))
    for what, points in told.items():
        for line in straight_lines(what, points):
            LOG.info("%s", line)
    if args.json:
        machine, threads = machine_of(torch.device("cpu")), torch.get_num_threads()
        facts = {"machine": machine, "threads": threads, "cpu": asdict(features), "load": load, "rows": told}
        args.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
