"""What each named degradation makes of a few faces, as a picture, and what it costs.

    python examples/builtin/degradation_sheet.py --faces DATA/faces/heldout512 --sheets sheets
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import cv2
import numpy as np

from gfpcli.train.degrade import make_pair
from gfpcli.train.degrade_options import DEGRADATIONS

N_FACES, N_SEEDS = 6, 4
SHOWN = 256  # px


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--sheets", type=Path, required=True)
    parser.add_argument("--names", nargs="*", default=list(DEGRADATIONS))
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cv2.setNumThreads(1)
    given.sheets.mkdir(parents=True, exist_ok=True)
    paths = sorted(path for path in given.faces.iterdir() if path.suffix in (".png", ".jpg"))[:N_FACES]
    faces = [cv2.imread(str(path)) for path in paths]
    for name in given.names:
        start = time.process_time()
        pairs = [[make_pair(name, face, seed) for seed in range(N_SEEDS)] for face in faces]
        cost = (time.process_time() - start) / (len(faces) * N_SEEDS)
        rows = [np.concatenate([row[0][1], *(low for low, _ in row)], axis=1) for row in pairs]
        sheet = np.concatenate(rows)
        zoom = SHOWN / len(faces[0])
        shown = cv2.resize(sheet, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(given.sheets / f"{name}.png"), shown)
        logging.info("%-14s%7.1f ms for each face of %d px", name, 1000 * cost, len(faces[0]))


if __name__ == "__main__":
    main()
