"""Score background weights, at twice the size, against Lanczos on held-out photos damaged with a fixed seed.

    python examples/builtin/evaluate_background.py --data DATA --models gfpcli/builtin/compact-x2.safetensors \\
        DATA/weights/realesrgan_x4plus_fp16.safetensors

The held-out tenth of the photos that the network learns from is damaged as in training, and, in a second set, only
made smaller. A third set are photographs of a collection that no training photo is from (DATA/photos). In each line:
PSNR and what it is above Lanczos; NIQE of all 96 px blocks of the set; sharpness, the variance of the Laplacian as
share of the truth's.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from begin import begin

from gfpcli.adapters.basicsr import niqe, psnr
from gfpcli.pipeline.paste import resize_background
from gfpcli.pipeline.upsample import NetUpsampler
from gfpcli.weights.cache import BUILTINS

sys.path.insert(0, str(Path(__file__).parent))
from mild import HELD_OUT_SHRINK, Picture, damage, read_photos
from teacher import load_upsampler

LOG = logging.getLogger("evaluate_background")
SEED = 1
BLOCK = 96  # px, of NIQE
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


def made_by(upsampler: NetUpsampler | None, low: Picture, size: tuple[int, int]) -> Picture:
    """At (height, width), as `gfp restore --scale 2` has it; without a network by Lanczos."""
    made = upsampler(low, size) if upsampler else resize_background(low, size)
    return np.asarray(made, np.uint8)


def sharpness(picture: Picture) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.CV_64F).var())


def blocks_of(pictures: list[Picture]) -> Picture:
    """All whole NIQE blocks of a set as one picture: most pictures are too small for a figure of their own."""
    blocks = [
        picture[y : y + BLOCK, x : x + BLOCK]
        for picture in pictures
        for y in range(0, picture.shape[0] - BLOCK + 1, BLOCK)
        for x in range(0, picture.shape[1] - BLOCK + 1, BLOCK)
    ]
    width = int(len(blocks) ** 0.5)
    return np.vstack([np.hstack(blocks[i : i + width]) for i in range(0, len(blocks) - width + 1, width)])


def told(made: list[Picture], trues: list[Picture], lanczos: list[float]) -> str:
    """The figures of a set in one line; `lanczos` are its PSNRs to compare with."""
    gains = np.array([min(psnr(*pair), 99.0) for pair in zip(made, trues, strict=True)]) - np.array(lanczos)
    shares = [sharpness(mine) / sharpness(true) for mine, true in zip(made, trues, strict=True)]
    each = np.array([niqe(picture) for picture in made])
    return (
        f"PSNR {np.mean(lanczos) + gains.mean():.2f} dB ({gains.mean():+.2f}, least {gains.min():+.2f}, better on "
        f"{(gains > 0).sum()}), NIQE {niqe(blocks_of(made)):.2f} (mean of {np.isfinite(each).sum()} large ones "
        f"{np.nanmean(each):.2f}), sharpness {np.mean(shares):.2f} (most {max(shares):.2f})"
    )


def score(
    name: str, photos: dict[str, Picture], harm: Callable[..., Picture], nets: dict[str, NetUpsampler | None],
    folder: Path | None,
) -> None:  # fmt: skip
    """Prints a line for each network; with `folder` writes all and the truth side by side, one file for each photo."""
    rng = np.random.default_rng(SEED)
    trues = [sharp_of(photo) for _, photo in sorted(photos.items())]
    lows = [harm(true, rng) for true in trues]
    LOG.info("%s: %d photos", name, len(trues))
    columns: list[list[Picture]] = []
    before: list[float] = []
    for model, net in nets.items():
        columns.append([made_by(net, low, true.shape[:2]) for low, true in zip(lows, trues, strict=True)])
        before = before or [psnr(*pair) for pair in zip(columns[0], trues, strict=True)]
        LOG.info("  %s: %s", model, told(columns[-1], trues, before))
    LOG.info("  truth: NIQE %.2f (mean of large ones %.2f)", niqe(blocks_of(trues)), np.nanmean([*map(niqe, trues)]))
    for i, file in enumerate(sorted(photos) if folder else ()):
        sheet = np.hstack([*(column[i] for column in columns), trues[i]])
        cv2.imwrite(f"{folder}/{name.split()[0]}_{Path(file).stem}.png", sheet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds wild/ and photos/")
    parser.add_argument("--models", type=Path, nargs="+", default=[BUILTINS["compact-x2"]])
    parser.add_argument("--sheets", type=Path, help="folder: Lanczos, each network and the truth of each photo")
    args = parser.parse_args()
    begin(1, 0)
    if args.sheets:
        args.sheets.mkdir(parents=True, exist_ok=True)
    nets = {"Lanczos": None} | {path.name: load_upsampler(path) for path in args.models}
    held_out = read_photos(args.data / "wild", held_out=True)
    others = {name: np.asarray(cv2.imread(str(args.data / "photos" / name)), np.uint8) for name in OTHERS}
    score("damaged held-out photos", held_out, damage, nets, args.sheets)
    score("clean held-out photos, only made smaller", held_out, only_smaller, nets, args.sheets)
    score("other photographs, damaged", others, damage, nets, args.sheets)


if __name__ == "__main__":
    main()
