"""Whether restored faces of natural photos are uglier than before: NIQE of 1,000 faces of `wild/`, and contact sheets.

    python examples/builtin/evaluate_wild.py --data DATA --sheet FOLDER \\
        --models gfpcli/builtin/compact.safetensors gfpcli/builtin/compact-512.safetensors

Each face is cut out at 512 px as gfp does, by the built-in detector, from pictures drawn with a fixed seed; the columns
of a sheet are the face as the photo has it and as each network makes it. No restorer was trained on these photos.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from begin import begin
from evaluate_512 import SIZE, Picture, Restore, restorer_of, write_sheet
from known_faces import is_large, read

from gfpcli.adapters.basicsr import niqe
from gfpcli.options import RestoreOptions
from gfpcli.pipeline.align import cut_crop
from gfpcli.weights.build import load_detector_for
from gfpcli.weights.cache import BUILTINS

LOG = logging.getLogger("evaluate_wild")
ON_A_SHEET = 12
SHOWN = 240  # px


def wild_crops(folder: Path, seed: int) -> Iterator[Picture]:
    """Aligned faces of 512 px, of pictures in random order."""
    detector = load_detector_for(RestoreOptions(det_size=640), BUILTINS["builtin"])
    paths = sorted(folder.glob("*"))
    for index in np.random.default_rng(seed).permutation(len(paths)):
        image = read(paths[index])
        yield from (cut_crop(image, face, SIZE).image for face in detector([image])[0] if is_large(face))


def shown(image: Picture) -> Picture:
    return np.asarray(cv2.resize(image, (SHOWN, SHOWN), interpolation=cv2.INTER_AREA), np.uint8)


def score(args: argparse.Namespace) -> None:
    models: dict[str, Restore] = {"input": np.copy} | {Path(name).stem: restorer_of(Path(name)) for name in args.models}
    figures: dict[str, list[float]] = {name: [] for name in models}
    columns: dict[str, list[Picture]] = {name: [] for name in models}
    for n_done, crop in enumerate(islice(wild_crops(args.data / "wild" / "faces", args.seed), args.count), start=1):
        for name, restore in models.items():
            made = restore(crop)
            figures[name].append(niqe(made))
            columns[name].append(shown(made))
        if args.sheet and n_done % ON_A_SHEET == 0:
            if n_done <= args.sheets * ON_A_SHEET:
                write_sheet(args.sheet / f"wild_{n_done // ON_A_SHEET:02d}.png", [*columns.values()])
            columns = {name: [] for name in models}
        if n_done % 100 == 0 or n_done == args.count:
            told = ", ".join(f"{name} {np.nanmean(each):.2f}" for name, each in figures.items())
            LOG.info("%d faces, NIQE: %s", n_done, told)
    before = np.array(figures["input"])
    for name in list(models)[1:]:
        LOG.info("%s: NIQE is lower than the input's on %d", name, int((np.array(figures[name]) < before).sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds wild/")
    parser.add_argument("--models", nargs="+", required=True, help="checkpoints of any size")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--sheet", type=Path, help="folder for contact sheets")
    parser.add_argument("--sheets", type=int, default=6, help="how many of them, of 12 faces each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    begin(args.threads, args.seed)
    score(args)


if __name__ == "__main__":
    main()
