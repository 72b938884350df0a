"""Score the built-in detector on pictures it never saw, and count its faces beside those counted by eye.

python examples/builtin/evaluate.py --data DATA
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from pathlib import Path

from gfpcli.options import RestoreOptions
from gfpcli.photo.codec import read_frame
from gfpcli.pipeline.restorer import Restorer
from gfpcli.weights.build import load_restorer
from gfpcli.weights.choose import Parts, choose_parts

sys.path.insert(0, str(Path(__file__).parent))
from evaluate_detector import score_detector

LOG = logging.getLogger("evaluate")


def count_faces(restorer: Restorer, folder: Path) -> None:
    """Faces found beside those counted by eye in SOURCES.md (pictures with a definite count only)."""
    n_true = n_least = n_more = 0
    for name, counted in re.findall(
        r"^\| (\S+) \|[^|]*\| (?:about )?(\d+)[^|o]*\|", (folder / "SOURCES.md").read_text(), re.M
    ):
        if not (folder / name).exists():
            continue
        n_found = len(restorer.detector([read_frame(folder / name, 0).image])[0])
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
    score_detector(restorer.detector, args.data / "wild", "detector")
    count_faces(restorer, args.data / "photos")


if __name__ == "__main__":
    main()
