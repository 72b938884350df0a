"""Score the built-in weights on pictures they never saw.

python examples/builtin/evaluate.py --data DATA
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from pathlib import Path

import cv2
import numpy as np

from gfpcli.align import TEMPLATE_512
from gfpcli.build import Parts, choose_parts, load_restorer
from gfpcli.images import read_frame
from gfpcli.options import RestoreOptions
from gfpcli.restorer import Restorer
from gfpcli.types import Crop, Face

sys.path.insert(0, str(Path(__file__).parent))
from evaluate_detector import score_detector
from train_restorer import degrade

LOG = logging.getLogger("evaluate")


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(one.astype(float) - other).mean()))


def score_restorer(restorer: Restorer, folder: Path) -> None:
    """Mean PSNR over held-out faces, degraded with one fixed seed, before and after; and of faces left as they are."""
    rng = np.random.default_rng(1)
    rows = []
    for path in sorted(folder.glob("*")):
        true = cv2.imread(str(path))
        if true is None:
            continue
        face = Face(np.zeros(4), TEMPLATE_512, 1.0)
        low = degrade(true, rng)
        out, same = restorer.restore_crops([Crop(face, each, np.eye(2, 3)) for each in (low, true)])
        rows.append((psnr(low, true), psnr(out, true), psnr(same, true)))
    low_db, out_db, same_db = np.mean(rows, axis=0)
    n_better = sum(row[1] > row[0] for row in rows)
    LOG.info(
        "restorer: %d faces, %.2f -> %.2f dB, %d better; clean faces %.2f dB",
        len(rows),
        low_db,
        out_db,
        n_better,
        same_db,
    )


def count_faces(restorer: Restorer, folder: Path) -> None:
    """Faces found beside those counted by eye in SOURCES.md (pictures with a definite count only)."""
    n_true = n_least = n_more = 0
    for name, counted in re.findall(
        r"^\| (\S+) \|[^|]*\| (?:about )?(\d+)[^|o]*\|", (folder / "SOURCES.md").read_text(), re.M
    ):
        if not (folder / name).exists():
            continue
        n_found = len(restorer.detector(read_frame(folder / name, 0).image))
        n_true += int(counted)
        n_least += min(n_found, int(counted))
        n_more += max(n_found - int(counted), 0)
        if n_found != int(counted):
            LOG.info("  %s: %s by eye, %d found", name, counted, n_found)
    LOG.info("detector, photos: at most %d of %d faces, at least %d false boxes", n_least, n_true, n_more)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threshold", type=float, default=RestoreOptions().det_threshold)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = RestoreOptions(model="compact", detector="builtin", mask="soft", det_threshold=args.threshold)
    parts: Parts = choose_parts(options, warn=LOG.warning)
    restorer = load_restorer(options, parts)
    score_restorer(restorer, args.data / "faces" / "heldout256")
    score_detector(restorer.detector, args.data / "wild", "detector")
    count_faces(restorer, args.data / "photos")


if __name__ == "__main__":
    main()
