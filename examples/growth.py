"""How time and memory grow with the work: with photos, megapixels and faces, by `gfp restore` and its built-in model.

    python examples/growth.py --json examples/figures/growth.json

Prints for each row of runs the seconds and the peak of memory, and how far the seconds are from a straight line.
`examples/plots.py` draws what the JSON file holds.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from gfpcli.weights.autotune import machine_of

LOG = logging.getLogger("growth")
PORTRAIT = Path(__file__).parent / "photos" / "grace_hopper.jpg"
FLAGS = ["--model", "compact", "--detector", "builtin", "--mask", "soft", "--offline", "--quiet", "--format", "jpg"]


def rows(folder: Path) -> Iterator[tuple[str, int, Path]]:
    """(what grows, how much of it, folder of photos)."""
    face = cv2.resize(np.asarray(cv2.imread(str(PORTRAIT)), np.uint8)[:600, :512], (400, 400))
    small = cv2.resize(face, (200, 200))
    for n in (10, 100, 1000):
        yield "photos", n, write(folder / f"photos {n}", [small] * n)
    for megapixels in (3, 6, 12, 24, 48):
        height = round((megapixels * 1e6 * 2 / 3) ** 0.5)
        picture = np.full((height, height * 3 // 2, 3), 128, np.uint8)
        picture[100:500, 100:500] = face
        yield "megapixels", megapixels, write(folder / f"megapixels {megapixels}", [picture] * 4)
    for n in (1, 8, 16, 32):
        picture = np.full((1700, 3300, 3), 128, np.uint8)
        for i in range(n):
            y, x = 10 + 410 * (i // 8), 10 + 410 * (i % 8)
            picture[y : y + 400, x : x + 400] = face
        yield "faces", n, write(folder / f"faces {n}", [picture] * 4)


def write(folder: Path, pictures: list[np.ndarray]) -> Path:
    """The pictures as JPEG."""
    folder.mkdir()
    for i, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{i:04d}.jpg"), picture)
    return folder


def run(source: Path) -> tuple[float, float, int]:
    """Seconds, peak memory in MB, and faces that were restored."""
    out, records = source.with_name(f"{source.name} out"), source.with_name(f"{source.name}.jsonl")
    command = [sys.executable, "-m", "gfpcli", "restore", str(source), "-o", str(out), "--json", str(records), *FLAGS]
    start = time.perf_counter()
    child = subprocess.Popen(command)
    _, status, used = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)  # else Popen waits for a child that is gone
    assert child.returncode == 0, command
    lines = records.read_text().splitlines()
    return seconds, used.ru_maxrss / 1e3, sum(len(json.loads(line)["faces"]) for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    told: dict[str, list[tuple[int, float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        for what, amount, source in rows(Path(name)):
            seconds, peak_mb, n_faces = run(source)
            LOG.info("%4d %-10s %6.1f s  peak %5.0f MB  %4d faces", amount, what, seconds, peak_mb, n_faces)
            told.setdefault(what, []).append((amount, seconds, peak_mb))
    for what, points in told.items():
        x, y, _ = np.array(points).T
        slope, start = np.polyfit(x, y, 1)
        off = np.abs(slope * x + start - y).max() / y.max()
        LOG.info("%s: %.1f s + %.3f s each (4 pictures each of megapixels and faces), off a straight line by at most "
                 "%.0f %% of the longest run", what, start, slope, 100 * off)  # fmt: skip
    if args.json:
        facts = {"machine": machine_of(torch.device("cpu")), "threads": torch.get_num_threads(), "rows": told}
        args.json.write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
