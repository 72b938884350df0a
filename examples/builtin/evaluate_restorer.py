"""Score restorer weights on held-out faces, degraded with a fixed seed by the paper's ranges scaled to the size.

    python examples/builtin/evaluate_restorer.py --faces DATA/faces/heldout256 --model RUN/best.safetensors

A face of 256 px has half the pixels of the paper's 512 across: the blur's sigma and kernel and the shrinking are half
as large, so that the face that is left has as many pixels as in the paper. Noise and JPEG quality are the paper's.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from gfpcli.adapters.basicsr import niqe, psnr
from gfpcli.pipeline.arrays import from_batch, to_batch
from gfpcli.train.degrade import degrade, draw_degradation
from gfpcli.train.options import DegradeOptions
from gfpcli.weights.face_model import load_face_model

LOG = logging.getLogger("evaluate_restorer")
SEED = 1
NO_COLOUR = {"shift_chance": 0.0, "jitter_chance": 0.0, "gray_chance": 0.0}
SCALED = DegradeOptions(kernel_size=21, sigma=(0.1, 5.0), shrink=(0.8, 4.0), **NO_COLOUR)
HARDER = DegradeOptions(kernel_size=21, sigma=(0.1, 5.0), shrink=(0.8, 8.0), **NO_COLOUR)
Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Scores:
    """Of one face: PSNR (dB), NIQE, and the variance of the Laplacian over the truth's."""

    psnr: float
    niqe: float
    sharpness: float


def sharpness(face: Picture) -> float:
    """Variance of the Laplacian of the luma."""
    return float(cv2.Laplacian(cv2.cvtColor(face, cv2.COLOR_BGR2GRAY), cv2.CV_64F).var())


def scores_of(face: Picture, true: Picture) -> Scores:
    return Scores(psnr(face, true), niqe(face), sharpness(face) / sharpness(true))


def mean_of(rows: list[Scores]) -> Scores:
    psnrs, niqes = [row.psnr for row in rows], [row.niqe for row in rows]
    return Scores(float(np.mean(psnrs)), float(np.nanmean(niqes)), float(np.mean([row.sharpness for row in rows])))


def score(model: Path, folder: Path, sheet: Path | None) -> None:
    """Prints the means of the degraded faces, the restored ones, and what the network does to clean faces."""
    torch.set_num_threads(2)
    net = load_face_model(model, torch.device("cpu"), "fp32", is_compiled=False)
    faces = [face for path in sorted(folder.glob("*")) if (face := cv2.imread(str(path))) is not None]
    with torch.inference_mode():
        clean = [psnr(from_batch(net(to_batch([face])))[0], face) for face in faces]
        LOG.info(
            "%d faces; clean ones %.1f dB to themselves, the least %.1f dB", len(faces), np.mean(clean), min(clean)
        )
        for name, ranges in (("paper's ranges, scaled", SCALED), ("shrunk up to 8 times", HARDER)):
            rng = np.random.default_rng(SEED)
            lows = [degrade(face, draw_degradation(ranges, rng), kernel_size=ranges.kernel_size) for face in faces]
            outs = [from_batch(net(to_batch([low])))[0] for low in lows]
            before = mean_of([scores_of(*pair) for pair in zip(lows, faces, strict=True)])
            after = mean_of([scores_of(*pair) for pair in zip(outs, faces, strict=True)])
            LOG.info(
                "%s: PSNR %.2f -> %.2f dB, sharpness %.2f -> %.2f of the truth's, NIQE %.2f -> %.2f (%+.0f %%)",
                name, before.psnr, after.psnr, before.sharpness, after.sharpness, before.niqe, after.niqe,
                100 * (after.niqe / before.niqe - 1),
            )  # fmt: skip
            if sheet:
                rows = [np.concatenate(each, axis=1) for each in zip(lows, outs, faces, strict=True)]
                name = "scaled" if ranges is SCALED else "harder"
                cv2.imwrite(str(sheet.with_stem(f"{sheet.stem}_{name}")), np.concatenate(rows[:8]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True, help="folder of aligned 256 px faces")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--sheet", type=Path, help="FILE.png: also show eight faces, degraded, restored, true")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    score(args.model, args.faces, args.sheet)


if __name__ == "__main__":
    main()
