"""Score background weights against Lanczos on held-out photos, damaged with a fixed seed, and say what changed.

    python examples/builtin/evaluate_background.py --data DATA --model gfpcli/builtin/compact-x2.safetensors

The held-out tenth of the photos that the network learns from is damaged as in training, and, in a second row, only
made smaller. A third row takes photographs of a collection that no training photo is from (DATA/photos).
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

from gfpcli.adapters.basicsr import psnr
from gfpcli.adapters.realesrgan import load_enlarging_net
from gfpcli.model.checkpoint import read_state
from gfpcli.pipeline.paste import resize_background
from gfpcli.pipeline.tensors import ArrayNet
from gfpcli.pipeline.upsample import NetUpsampler
from gfpcli.weights.cache import BUILTINS

sys.path.insert(0, str(Path(__file__).parent))
from mild import HELD_OUT_SHRINK, Picture, damage, read_photos

LOG = logging.getLogger("evaluate_background")
SEED = 1
OTHERS = (  # of photos/: landscapes, things, two people; public domain, CC0, MIT or BSD
    "exif_landscape_3.jpg", "exif_landscape_6.jpg", "gray_camera.png", "noface_grass.jpg", "noface_motorcycle.png",
    "noface_rocket.jpg", "portrait_astronaut.png",
)  # fmt: skip


def sharp_of(photo: Picture) -> Picture:
    """The photo made smaller, without its own JPEG traces; even height and width."""
    small = cv2.resize(photo, None, fx=HELD_OUT_SHRINK, fy=HELD_OUT_SHRINK, interpolation=cv2.INTER_AREA)
    height, width = small.shape[:2]
    return np.asarray(small[: height // 2 * 2, : width // 2 * 2], np.uint8)


def only_smaller(true: Picture, rng: np.random.Generator) -> Picture:
    """Half the size by area means, and no other damage."""
    return np.asarray(cv2.resize(true, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


def score(
    name: str, photos: dict[str, Picture], harm: Callable[..., Picture], net: NetUpsampler, folder: Path | None
) -> None:
    """Prints the means of a set; with `folder` writes Lanczos, network and truth side by side, one file for each."""
    rng = np.random.default_rng(SEED)
    before, after = [], []
    for file, photo in sorted(photos.items()):
        true = sharp_of(photo)
        low = harm(true, rng)
        lanczos, made = resize_background(low, true.shape[:2]), net(low, true.shape[:2])
        before.append(psnr(lanczos, true))
        after.append(psnr(made, true))
        if folder:
            cv2.imwrite(str(folder / f"{name.split()[0]}_{Path(file).stem}.png"), np.hstack([lanczos, made, true]))
    gains = np.array(after) - np.array(before)
    LOG.info(
        "%s: %d photos, PSNR %.2f dB by Lanczos, %.2f dB by the network: %+.2f dB (least %+.2f, better on %d)",
        name, len(gains), np.mean(before), np.mean(after), gains.mean(), gains.min(), (gains > 0).sum(),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds wild/ and photos/")
    parser.add_argument("--model", type=Path, default=BUILTINS["compact-x2"])
    parser.add_argument("--sheets", type=Path, help="folder: Lanczos, network and truth of each photo")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.sheets:
        args.sheets.mkdir(parents=True, exist_ok=True)
    enlarging = load_enlarging_net(read_state(args.model), source=str(args.model))
    net = NetUpsampler(ArrayNet(enlarging.net, torch.device("cpu")), enlarging.tiling)
    held_out = read_photos(args.data / "wild", held_out=True)
    others = {name: np.asarray(cv2.imread(str(args.data / "photos" / name)), np.uint8) for name in OTHERS}
    score("damaged held-out photos", held_out, damage, net, args.sheets)
    score("clean held-out photos, only made smaller", held_out, only_smaller, net, args.sheets)
    score("other photographs, damaged", others, damage, net, args.sheets)


if __name__ == "__main__":
    main()
