"""Whether the border of a pasted face shows: how steeply the fine detail changes across it, face by face.

    python examples/builtin/evaluate_seams.py --photos DATA/photos --scale 4 --crops out/seams

Each photo is restored with the built-in weights. The surroundings of a mask's border (where the mask is a half) are cut
into rings of BAND of the face's edge that lie inside one another. The gain of a ring is the RMS of the fine detail of
the result over that of the photo enlarged without faces, so that what the photo itself shows there does not count. A
face's seam is the largest ratio of the gains of two neighbouring rings: 1 where nothing shows, 1.5 is the goal.

Three columns: the faces as the network made them, pasted with the mask; as gfp pastes them, their detail faded in; and
as a yardstick the whole square of the crop, where there is no border at all near the mask's. The rings are also cut
into sectors (hair, cheeks, jaw, ...): the largest step within one sector follows edges in the photo more than the
border, which the yardstick shows.

With --crops a picture of each face's surroundings is written: the enlargement, without fading in, with it.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.options import RestoreOptions
from gfpcli.photo.codec import read_frame
from gfpcli.pipeline.align import to_8_bit
from gfpcli.pipeline.drawn import luma_of
from gfpcli.pipeline.paste import crop_to_canvas_of, paste_faces, resize_background
from gfpcli.pipeline.seams import fade_in
from gfpcli.types import Crop, Image, Mask, Restored
from gfpcli.weights.build import load_restorer

LOG = logging.getLogger("evaluate_seams")
PHOTOS = (  # portraits, groups, blurred, gray and old ones
    "portrait_astronaut.png", "group_dlib_2008_002470.jpg", "group_solvay_1927.png", "lowq_codeformer_01.jpg",
    "lowq_codeformer_05.jpg", "lowq_diffbir_hepburn.jpg", "scratched_ms_c.png", "gray_camera.png",
)  # fmt: skip
FINE = 1.5 / 256  # sigma, of the face's edge, above which detail does not count as fine
BAND = 0.03  # of the face's edge
RANGE = (-3, 3)  # rings: those outside of the border, and those inside
N_SECTORS = 8
LEAST_LEVELS = 0.5  # rms grey levels, added to all: what is weaker is not seen
LEAST_PIXELS = 60  # of a piece that counts
WAYS = ("as made", "faded in", "no border")
Plane = NDArray[np.float32]
Scale = tuple[float, float]  # canvas / frame, (x, y)


def seams_of(gains: NDArray[np.float64]) -> tuple[float, float]:
    """The largest ratio of neighbouring rings, and the largest within one sector; `gains` is (rings, sectors)."""
    with np.errstate(invalid="ignore"):
        rings = np.abs(np.diff(np.log(np.nanmean(gains, axis=1))))
        pieces = np.abs(np.diff(np.log(gains), axis=0))
    return float(np.exp(np.nanmax(rings))), float(np.exp(np.nanmax(pieces)))


def gains_of(result: Plane, plain: Plane, crop: Crop, mask: Mask, scale: Scale) -> NDArray[np.float64]:
    """(rings, N_SECTORS), from the outermost ring inwards; NaN where a piece has too few pixels.

    Args:
        result: (H, W) luma of the canvas with the face.
        plain: the same without.
    """
    affine = crop_to_canvas_of(crop, scale)
    edge = len(mask) * np.sqrt(abs(np.linalg.det(affine[:, :2])))
    inside = cv2.warpAffine(mask, affine, plain.shape[::-1], flags=cv2.INTER_LINEAR) > 0.5
    within, beyond = (cv2.distanceTransform(each.astype(np.uint8), cv2.DIST_L2, 5) for each in (inside, ~inside))
    ring = np.floor((within - beyond) / (BAND * edge)).astype(int)
    middle = affine @ (len(mask) / 2, len(mask) / 2, 1)
    y, x = np.ogrid[: plain.shape[0], : plain.shape[1]]
    turned = np.arctan2(y - middle[1], x - middle[0]) - np.arctan2(affine[1, 0], affine[0, 0])
    sector = np.floor((turned / (2 * np.pi) + 1 / (2 * N_SECTORS)) * N_SECTORS).astype(int) % N_SECTORS
    powers = [np.square(each - cv2.GaussianBlur(each, (0, 0), FINE * edge)) for each in (result, plain)]
    gains = np.full((RANGE[1] - RANGE[0], N_SECTORS), np.nan)
    for i, j in product(range(RANGE[1] - RANGE[0]), range(N_SECTORS)):
        piece = (ring == i + RANGE[0]) & (sector == j)
        if piece.sum() >= LEAST_PIXELS:
            after, before = (power[piece].mean() + LEAST_LEVELS**2 for power in powers)
            gains[i, j] = np.sqrt(after / before)
    return gains


def cut_out(canvas: Image, crop: Crop, scale: Scale) -> tuple[Image, Crop]:
    """The part of the canvas on which the crop lies, and the crop in pixels of that part."""
    side = len(crop.image)
    corners = np.array([(0, 0, 1), (side, 0, 1), (0, side, 1), (side, side, 1)]) @ crop_to_canvas_of(crop, scale).T
    (x0, y0), (x1, y1) = np.clip(corners.min(axis=0), 0, None).astype(int), corners.max(axis=0).astype(int)
    moved = crop.frame_to_crop.copy()
    moved[:, 2] += moved[:, :2] @ (x0 / scale[0], y0 / scale[1])
    return canvas[y0:y1, x0:x1], replace(crop, frame_to_crop=moved)


def measured(restored: Restored, folder: Path | None, name: str) -> Iterator[list[tuple[float, float]]]:
    """The seams of each face that is pasted, in WAYS; writes its picture."""
    frame, height, width = restored.frame.image, *restored.image.shape[:2]
    canvas = resize_background(frame, (height, width))
    scale = width / frame.shape[1], height / frame.shape[0]
    strengths = [each.strength or 0.0 for each in restored.outcomes if each.strength is not None]
    together = zip(restored.crops, restored.faces, restored.masks, strengths, strict=True)
    for i, (whole, face, mask, strength) in enumerate(together):
        if strength == 0:
            continue
        plain, crop = cut_out(canvas, whole, scale)
        faded = fade_in([face], [crop], [mask], [strength])[0]
        made = ((face, mask), (faded, mask), (face, np.ones_like(mask)))
        results = [plain.copy() for _ in made]
        for result, (pasted, area) in zip(results, made, strict=True):
            paste_faces(result, [pasted], [crop], [area], scale=scale, strengths=[strength], made=[face])
        luma = luma_of(to_8_bit(plain))
        seams = [seams_of(gains_of(luma_of(to_8_bit(each)), luma, crop, mask, scale)) for each in results]
        LOG.info("%s, face %d: %s", name, i, ", ".join(f"{way} {a:.2f} ({b:.2f})" for way, (a, b) in
                                                       zip(WAYS, seams, strict=True)))  # fmt: skip
        if folder:
            cv2.imwrite(str(folder / f"{Path(name).stem}_{i}.png"), np.hstack([plain, *results[:2]]))
        yield seams


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of the photos")
    parser.add_argument("--names", default=",".join(PHOTOS))
    parser.add_argument("--scale", type=float, default=4)
    parser.add_argument("--strength", default="auto")
    parser.add_argument("--model", default="compact")
    parser.add_argument("--crops", type=Path, help="folder for a picture of each face")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.crops:
        args.crops.mkdir(parents=True, exist_ok=True)
    options = RestoreOptions(model=args.model, detector="builtin", mask="soft", scale=args.scale,
                             strength=args.strength, offline=True)  # fmt: skip
    restorer = load_restorer(options)
    seams: list[list[tuple[float, float]]] = []
    for name in args.names.split(","):
        seams += measured(restorer.restore(read_frame(args.photos / name, 0)), args.crops, name)
    for way, each in zip(WAYS, np.array(seams).transpose(1, 2, 0), strict=True):
        LOG.info("%-9s %d faces: median %.2f, worst %.2f, over 1.5: %d; largest step in a sector: median %.2f", way,
                 len(seams), np.median(each[0]), each[0].max(), (each[0] > 1.5).sum(), np.median(each[1]))  # fmt: skip


if __name__ == "__main__":
    main()
