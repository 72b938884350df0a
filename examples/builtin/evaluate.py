"""Score the built-in weights on pictures they never saw.

python examples/builtin/evaluate.py --data DATA
"""

from __future__ import annotations

import argparse
import json
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
from train_restorer import degrade
from wild import is_held_out

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


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    shared = np.prod(np.maximum(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0))
    return float(shared / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - shared))


def score_detector(restorer: Restorer, folder: Path) -> None:
    """Sure faces of 16 px and more in the held-out tenth of `wild/`; a box is false where no label, sure or not, is."""
    n_true = n_found = n_boxes = n_false = 0
    off: list[float] = []
    for name, facts in json.loads((folder / "labels.json").read_text())["images"].items():
        if not is_held_out(name) or not (folder / name).exists():
            continue
        found = restorer.detector(read_frame(folder / name, 0).image)
        labels = facts.get("faces", [])
        boxes = [np.array(label["box"], float) for label in labels]
        n_boxes += len(found)
        n_false += sum(all(overlap(face.box, box) < 0.3 for box in boxes) for face in found)
        for label, box in zip(labels, boxes, strict=True):
            if not label["sure"] or min(box[2:] - box[:2]) < 16:
                continue
            n_true += 1
            hits = [face for face in found if overlap(face.box, box) > 0.4]
            if hits:
                n_found += 1
                marks = np.array(label["landmarks"])
                error = np.hypot(*(hits[0].landmarks - marks).T).mean()
                off.append(error / max(np.hypot(*(marks[1] - marks[0])), 1))
    LOG.info("detector, wild: %d of %d faces, %d of %d boxes false", n_found, n_true, n_false, n_boxes)
    LOG.info(
        "landmarks off by, of the eye distance: median %.1f %%, mean %.1f %%", 100 * np.median(off), 100 * np.mean(off)
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
    score_detector(restorer, args.data / "wild")
    count_faces(restorer, args.data / "photos")


if __name__ == "__main__":
    main()
