"""How well `--save map` tells where a restored face is wrong: its correlation with the true error on held-out faces.

    python examples/builtin/evaluate_map.py --faces DATA/faces/heldout256 --model gfpcli/builtin/compact.safetensors

Faces are degraded as in evaluate_restorer.py. The true error is the local RMS of restored minus true luma, over the
Gaussian neighbourhood of the map; both are compared pixel by pixel where the soft oval mask is above a half. Other
measures are scored beside the map: those that run the network again (flip, shifts, noise) take that much longer.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from gfpcli.pipeline.arrays import from_batch, to_batch
from gfpcli.pipeline.drawn import AROUND_SIGMA, FINE_SIGMA, FULL, drawn_detail
from gfpcli.pipeline.paste import soft_mask
from gfpcli.train.degrade import degrade, draw_degradation
from gfpcli.weights.face_model import load_face_model

sys.path.insert(0, str(Path(__file__).parent))
from evaluate_restorer import HARDER, SCALED, SEED, Picture

LOG = logging.getLogger("evaluate_map")
SHIFTS = ((1, 0), (0, 1), (2, 2), (-1, 1))  # px
NOISE = 4.0  # sigma, grey levels
N_NOISY = 3
Plane = NDArray[np.float32]
Network = Callable[[Picture], Picture]


def luma(face: Picture) -> Plane:
    return np.asarray(face.astype(np.float32) @ np.array([0.114, 0.587, 0.299], np.float32), np.float32)


def local_rms(steps: list[Plane]) -> Plane:
    """Over the map's neighbourhood, and over several pictures."""
    power = np.mean([np.square(step) for step in steps], axis=0)
    return np.sqrt(np.maximum(cv2.GaussianBlur(power, (0, 0), AROUND_SIGMA * len(power)), 0))


def fine(plane: Plane) -> Plane:
    return np.asarray(plane - cv2.GaussianBlur(plane, (0, 0), FINE_SIGMA * len(plane)), np.float32)


def measures_of(low: Picture, out: Picture, run: Network, rng: np.random.Generator) -> dict[str, Plane]:
    """Every measure of one face, each (S, S)."""
    made = luma(out)
    flipped = luma(run(np.ascontiguousarray(low[:, ::-1]))[:, ::-1]) - made
    shifted = [np.roll(luma(run(np.roll(low, (y, x), (0, 1)))), (-y, -x), (0, 1)) - made for x, y in SHIFTS]
    noisy = [np.clip(np.round(low + rng.normal(0, NOISE, low.shape)), 0, 255).astype(np.uint8) for _ in range(N_NOISY)]
    jittered = [luma(run(each)) - made for each in noisy]
    return {
        "map (fine detail added)": drawn_detail(low, out),
        "|output - input|": local_rms([made - luma(low)]),
        "fine detail of the output": local_rms([fine(made)]),
        "1 more run: flipped": local_rms([flipped]),
        "3 more runs: noise": local_rms(jittered),
        "4 more runs: shifts": local_rms(shifted),
        "map and flipped together": np.hypot(drawn_detail(low, out), local_rms([flipped])),
    }


def score(model: Path, folder: Path, sheet: Path | None) -> None:
    """Prints the correlation over all pixels, and the mean of those of single faces."""
    net = load_face_model(model, torch.device("cpu"), "fp32", is_compiled=False)

    def run(face: Picture) -> Picture:
        with torch.inference_mode():
            return from_batch(net(to_batch([face])))[0]

    faces = [face for path in sorted(folder.glob("*")) if (face := cv2.imread(str(path))) is not None]
    inside = soft_mask(faces[0].shape[0]) > 0.5
    for name, ranges in (("paper's ranges, scaled", SCALED), ("shrunk up to 8 times", HARDER)):
        rng, noise = np.random.default_rng(SEED), np.random.default_rng(SEED)
        found: dict[str, list[Plane]] = {}
        errors, rows = [], []
        for face in faces:
            low = degrade(face, draw_degradation(ranges, rng), kernel_size=ranges.kernel_size)
            out = run(low)
            error = local_rms([luma(out) - luma(face)])
            errors.append(error[inside])
            for what, plane in measures_of(low, out, run, noise).items():
                found.setdefault(what, []).append(plane[inside])
            shown = [np.clip(255 / FULL * drawn_detail(low, out), 0, 255), np.clip(85 / FULL * error, 0, 255)]
            rows.append(np.hstack([low, out, face, *(np.repeat(each[..., None], 3, axis=2) for each in shown)]))
        LOG.info("%s: %d faces; correlation with the true error: all pixels, mean of single faces", name, len(faces))
        for what, planes in found.items():
            whole = np.corrcoef(np.concatenate(planes), np.concatenate(errors))[0, 1]
            each = np.mean([np.corrcoef(one, other)[0, 1] for one, other in zip(planes, errors, strict=True)])
            LOG.info("  %-26s %.3f  %.3f", what, whole, each)
        if sheet:
            cv2.imwrite(str(sheet.with_stem(f"{sheet.stem}_{'scaled' if ranges is SCALED else 'harder'}")),
                        np.concatenate(rows[:8]).astype(np.uint8))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True, help="folder of aligned 256 px faces")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--sheet", type=Path, help="FILE.png: eight faces: degraded, restored, true, map, error")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    score(args.model, args.faces, args.sheet)


if __name__ == "__main__":
    main()
