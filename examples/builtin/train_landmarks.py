"""Train the built-in detector's second network, which looks at each found face again, from random weights.

    python examples/builtin/train_landmarks.py --data DATA --detector detector.safetensors --out both.safetensors

It learns landmarks from the sure faces of `wild/` (but for the held-out tenth) and from the synthetic faces, and what
is no face from where the detector fires beside every label. The file written holds both networks.
"""

from __future__ import annotations

import argparse
import copy
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from begin import begin
from numpy.typing import NDArray
from safetensors.torch import load_file
from torchvision.ops import box_iou

from gfpcli.adapters.facexlib import REFINER_PREFIX, detector_of, load_detector_nets
from gfpcli.model.landmarks import LandmarkNet
from gfpcli.model.views import VIEW_SIZE
from gfpcli.pipeline.align import invert, warp_area
from gfpcli.pipeline.refine import roll_of, view_of
from gfpcli.pipeline.retinaface import RetinaFaceDetector
from gfpcli.pipeline.tensors import to_tensor
from gfpcli.train.nets import update_ema
from gfpcli.types import Affine

sys.path.insert(0, str(Path(__file__).parent))
from train_detector import save_half
from wild import CHOOSING, HELD_OUT, MIRRORED, Picture, Stock, draw, worsen

LOG = logging.getLogger("train_landmarks")
HALF = 0.5  # px: the labels count from the first pixel's corner, as RetinaFace does; gfpcli from its centre
LEAST = 14.0  # px of a face's shorter side to learn from
LARGE = 24.0  # px from which it is drawn twice as often: its labels are finer
N_FACES, N_SYNTHETIC, N_ALARMS = 48, 12, 20  # in one batch
MINED_AT = 0.1  # score of the detector from which a box beside every label is worth learning


@dataclass(frozen=True, slots=True)
class Spot:
    """A face or a false alarm: where it lies in a picture."""

    picture: Picture
    box: NDArray[np.float64]  # (4,) xyxy
    landmarks: NDArray[np.float64]  # (5, 2)
    is_face: bool


def spots_of(pictures: list[Picture]) -> list[Spot]:
    """The sure faces that are large enough."""
    return [
        Spot(picture, box.astype(float), marks.astype(float) - HALF, True)
        for picture in pictures
        for box, marks, is_sure in zip(picture.boxes, picture.landmarks, picture.is_sure, strict=True)
        if is_sure and min(box[2:] - box[:2]) >= LEAST
    ]


def mine(detector: RetinaFaceDetector, pictures: list[Picture], rng: np.random.Generator) -> list[Spot]:
    """False alarms of the detector at random zooms, on pictures without faces at random right angles too."""
    spots = []
    for picture in pictures:
        height, width = picture.image.shape[:2]
        centre = np.array([width - 1, height - 1]) / 2
        for _ in range(4 if picture.is_faceless else 1):
            zoom = min(np.exp(rng.uniform(np.log(0.3), np.log(1.5))), 640 / max(height, width))
            turn = float(rng.choice([0, 0, 0, 90, 180, 270])) if picture.is_faceless else 0.0
            side = int(np.ceil(max(height, width) * zoom))
            view = np.asarray(cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), turn, float(zoom)))
            view[:, 2] += (side - 1) / 2 - centre
            seen = worsen(warp_area(picture.image, view, side), rng)
            back = invert(view)
            for face in detector.candidates([seen], MINED_AT)[0]:
                middle = back[:, :2] @ ((face.box[:2] + face.box[2:]) / 2) + back[:, 2]
                half = (face.box[2:] - face.box[:2]) / 2 / zoom
                box = np.concatenate([middle - half, middle + half])
                if is_clear(box, picture):
                    spots.append(Spot(picture, box, face.landmarks @ back[:, :2].T + back[:, 2], False))
    return spots


def mine_once(path: Path | None, find: Callable[[], list[Spot]], pictures: list[Picture]) -> list[Spot]:
    """False alarms from a file written earlier, else found and written there."""
    if path is None or not path.exists():
        alarms = find()
        if path:
            index = {id(picture): i for i, picture in enumerate(pictures)}
            at = np.array([index[id(spot.picture)] for spot in alarms])
            np.savez(path, at=at, box=[spot.box for spot in alarms], landmarks=[spot.landmarks for spot in alarms])
        return alarms
    kept = np.load(path)
    rows = zip(kept["at"], kept["box"], kept["landmarks"], strict=True)
    return [Spot(pictures[at], box, landmarks, False) for at, box, landmarks in rows]


def is_clear(box: NDArray[np.float64], picture: Picture) -> bool:
    """Whether a box lies beside every label."""
    if not len(picture.boxes):
        return True
    low, high = np.maximum(box[:2], picture.boxes[:, :2]), np.minimum(box[2:], picture.boxes[:, 2:])
    shared = np.maximum(high - low, 0).prod(axis=1)
    iou = box_iou(torch.from_numpy(box[None]), torch.from_numpy(picture.boxes.astype(float)))
    return bool(iou.max() < 0.15 and shared.max() < 0.3 * np.prod(box[2:] - box[:2]))


def choose_look(spot: Spot, rng: np.random.Generator) -> Affine:
    """A view as the detector will have it: by the box and coarse landmarks, or by a first look, and off by chance."""
    box, marks = spot.box, spot.landmarks
    is_first = rng.random() < 0.5
    wide = 1.0 if is_first else 0.45
    centre = (box[:2] + box[2:]) / 2 if is_first else marks.mean(axis=0)
    side = float(max(box[2:] - box[:2]))
    turn = roll_of(marks) + rng.normal(0, 10) * wide
    if is_first and rng.random() < 0.15:
        turn += rng.uniform(-45, 45)
    shift = rng.normal(0, 0.06, 2) * side * wide
    view = view_of(centre + shift, turn, side * float(np.exp(rng.normal(0, 0.12))))
    middle = (VIEW_SIZE - 1) / 2
    bent = np.eye(2) + rng.normal(0, 0.05, (2, 2))  # other proportions: no two faces alike
    return np.hstack([bent @ view[:, :2], (bent @ (view[:, 2] - middle) + middle)[:, None]])


def draw_look(spot: Spot, rng: np.random.Generator, worse: float) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """One (80, 80, 3) view, worsened with a chance of `worse`, and its landmarks (5, 2)."""
    view = choose_look(spot, rng)
    square = warp_area(spot.picture.image, view, VIEW_SIZE)
    if rng.random() < 0.7 * worse:  # a small face, enlarged
        small = max(int(VIEW_SIZE * np.exp(rng.uniform(np.log(0.25), 0))), 4)
        square = cv2.resize(square, (small, small), interpolation=cv2.INTER_AREA)
        square = worsen(square, rng) if rng.random() < 0.3 else square
        square = cv2.resize(square, (VIEW_SIZE, VIEW_SIZE), interpolation=cv2.INTER_CUBIC)
    points = spot.landmarks @ view[:, :2].T + view[:, 2]
    if rng.random() < 0.5:
        square = square[:, ::-1]
        points = points[MIRRORED] * (-1, 1) + (VIEW_SIZE - 1, 0)
    square = worsen(np.ascontiguousarray(square), rng) if rng.random() < worse else square
    square = np.ascontiguousarray(square)
    if rng.random() < 0.3:
        hide(square, rng)
    return square, points


def hide(square: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Covers a rectangle in place, with one colour or another part of the square: what is hidden must be guessed."""
    (x, y), (width, height) = rng.integers(0, VIEW_SIZE, 2), rng.integers(12, 40, 2)
    part = square[y : y + height, x : x + width]
    if rng.random() < 0.5:
        part[:] = rng.integers(0, 256, 3)
    else:
        top, left = rng.integers(0, VIEW_SIZE - 40, 2)
        part[:] = square[top : top + part.shape[0], left : left + part.shape[1]].copy()


def loss_of(points: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Mean landmark error of faces (N, 5, 2) in eye distances; small errors count nearly as much."""
    off = (points - true).norm(dim=2).mean(dim=1)  # (N,) px
    error = off / (true[:, 1] - true[:, 0]).norm(dim=1).clamp(min=8.0)
    return (error + 0.2 * (1 + error / 0.03).log()).mean()


def save(detector: dict[str, torch.Tensor], net: LandmarkNet, path: Path) -> None:
    """Both networks in one file."""
    facts = {"arch": "retinaface-mobile0.25 and a landmark network", "licence": "CC BY-NC-SA 4.0"}
    save_half(detector | {REFINER_PREFIX + key: value for key, value in net.state_dict().items()}, facts, path)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds wild/ and faces/")
    parser.add_argument("--detector", type=Path, required=True, help="whose faces are looked at again")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=25, help="after the false alarms are mined")
    parser.add_argument("--alarms", type=Path, help="an .npz of false alarms: read where it exists, else written")
    parser.add_argument("--start", type=Path, help="go on from the second network in this file")
    parser.add_argument("--worse", type=float, default=0.7, help="share of the looks that are made worse")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--choosing", action="store_true", help="leave out one more tenth, to choose between trials by")
    return parser.parse_args()


def main() -> None:
    args = read_options()
    rng = begin(args.threads, args.seed)
    stock = Stock.read(args.data, (HELD_OUT, CHOOSING) if args.choosing else (HELD_OUT,))
    state = {key: v for key, v in load_file(args.detector).items() if not key.startswith(REFINER_PREFIX)}
    nets = load_detector_nets(
        {key: value.float() if value.is_floating_point() else value for key, value in state.items()},
        source=str(args.detector),
    )
    detector = detector_of(nets, threshold=MINED_AT, longest=0, device=torch.device("cpu"))
    alarms = mine_once(args.alarms, lambda: mine(detector, stock.pictures, rng), stock.pictures)
    faces = spots_of(stock.pictures)
    odds = np.array([1.0 if min(spot.box[2:] - spot.box[:2]) >= LARGE else 0.5 for spot in faces])
    odds /= odds.sum()
    LOG.info("%d faces, %d false alarms", len(faces), len(alarms))
    net = LandmarkNet().train().to(memory_format=torch.channels_last)
    if args.start:
        pairs = load_file(args.start).items()
        own = {key.removeprefix(REFINER_PREFIX): value for key, value in pairs if key.startswith(REFINER_PREFIX)}
        new = net.load_state_dict(own, strict=False).missing_keys  # the first version had no vote
        LOG.info("%d arrays from %s, %d new", len(own), args.start, len(new))
    ema = copy.deepcopy(net).requires_grad_(False)
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.rate, weight_decay=0.03)
    start, step, means = time.monotonic(), 0, np.zeros(2)
    while (done := (time.monotonic() - start) / (60 * args.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 100) * (0.5 + 0.5 * np.cos(np.pi * done)) + 1e-6
        spots = [faces[i] for i in rng.choice(len(faces), size=N_FACES, p=odds)]
        spots += spots_of([draw(stock.synthetic, rng) for _ in range(N_SYNTHETIC)])
        spots += [alarms[i] for i in rng.integers(len(alarms), size=N_ALARMS)]
        looks = [draw_look(spot, rng, args.worse) for spot in spots]
        batch = to_tensor([square for square, _ in looks]).contiguous(memory_format=torch.channels_last)
        true = torch.from_numpy(np.float32([points for _, points in looks]))
        is_face = torch.tensor([spot.is_face for spot in spots])
        with torch.autocast("cpu", torch.bfloat16):
            whole, voted, logits = net.answers(batch)
        answers = [each[is_face] for each in ((whole + voted) / 2, whole, voted)]
        losses = [loss_of(each, true[is_face]) for each in answers]
        terms = losses[0], F.binary_cross_entropy_with_logits(logits.float(), is_face.float())
        optimizer.zero_grad()
        (2 * losses[0] + losses[1] + losses[2] + terms[1]).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        step += 1
        update_ema(ema, net, min(0.998, step / (step + 10)))
        means += (np.array([term.item() for term in terms]) - means) / min(step, 200)
        if step % 100 == 0:
            LOG.info("step %d, %.0f %%, landmarks %.3f, faces %.3f", step, 100 * done, *means)
        if step % 300 == 0:
            save(state, ema, args.out)
    save(state, ema, args.out)
    LOG.info("%d steps in %.1f minutes", step, (time.monotonic() - start) / 60)


if __name__ == "__main__":
    main()
