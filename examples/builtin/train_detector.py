"""Train the built-in detector, facexlib's RetinaFace mobile0.25, from random weights.

    python examples/builtin/train_detector.py --data DATA/wild --out detector.safetensors --minutes 35

One picture in ten, chosen by the SHA-1 of its name, is never trained on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from facexlib.detection.retinaface import RetinaFace
from facexlib.detection.retinaface_utils import PriorBox
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torchvision.ops import box_convert, box_iou

LOG = logging.getLogger("train_detector")
SIZE = 320
MEAN = np.array([104.0, 117.0, 123.0], np.float32)  # BGR
MIRRORED = [1, 0, 2, 4, 3]  # landmarks of a mirrored face


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture (H, W, 3) BGR with its labels in pixels."""

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]  # (F, 4) xyxy
    landmarks: NDArray[np.float32]  # (F, 5, 2)
    is_sure: NDArray[np.bool_]  # (F,); the others are neither faces nor background


def is_held_out(name: str) -> bool:
    """True for the tenth of the pictures that only evaluation sees."""
    return int(hashlib.sha1(Path(name).name.encode()).hexdigest(), 16) % 10 == 0


def read_pictures(folder: Path) -> list[Picture]:
    """Every picture of labels.json that is not held out."""
    pictures = []
    for name, facts in json.loads((folder / "labels.json").read_text())["images"].items():
        if is_held_out(name) or not (folder / name).exists():
            continue
        faces = facts.get("faces", [])
        pictures.append(
            Picture(
                cv2.imread(str(folder / name)),
                np.array([face["box"] for face in faces], np.float32).reshape(-1, 4),
                np.array([face["landmarks"] for face in faces], np.float32).reshape(-1, 5, 2),
                np.array([face["sure"] for face in faces], bool),
            )
        )
    return pictures


def choose_view(picture: Picture, rng: np.random.Generator) -> NDArray[np.float64]:
    """A random similarity (2, 3) into the training square, most often around a sure face of 16 to 260 px."""
    height, width = picture.image.shape[:2]
    sure = np.flatnonzero(picture.is_sure)
    if len(sure) and rng.random() < 0.9:
        x0, y0, x1, y1 = picture.boxes[rng.choice(sure)]
        centre = (x0 + x1) / 2, (y0 + y1) / 2
        zoom = np.exp(rng.uniform(np.log(16), np.log(260))) / max(x1 - x0, y1 - y0, 1)
        zoom = min(zoom, 6.0)
    else:
        centre = rng.uniform(0, width), rng.uniform(0, height)
        zoom = SIZE / max(height, width) * np.exp(rng.uniform(np.log(0.5), np.log(3)))
    turn = rng.normal(0, 12) if rng.random() < 0.8 else rng.uniform(-40, 40)
    view = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), turn, float(zoom))
    view[:, 2] += rng.uniform(0.25 * SIZE, 0.75 * SIZE, 2) - centre
    return view


def worsen(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Light, gray, blur, noise and JPEG of poor photos."""
    out = image.astype(np.float32) * rng.uniform(0.35, 1.3) * rng.uniform(0.9, 1.1, 3) + rng.uniform(-25, 25)
    if rng.random() < 0.25:
        out = np.repeat(out.mean(axis=2, keepdims=True), 3, axis=2)
    if rng.random() < 0.35:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.4, 2.2))
    if rng.random() < 0.35:
        out = out + rng.normal(0, rng.uniform(2, 15), out.shape)
    worse = np.clip(out, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        _, code = cv2.imencode(".jpg", worse, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 90))])
        worse = cv2.imdecode(code, cv2.IMREAD_COLOR)
    return worse


def draw_sample(picture: Picture, rng: np.random.Generator) -> Picture:
    """One (320, 320) view with its labels; faces mostly outside become ignored."""
    view = choose_view(picture, rng)
    zoom = np.hypot(view[0, 0], view[0, 1])
    source = picture.image if zoom >= 0.5 else cv2.blur(picture.image, (int(1 / zoom),) * 2)
    fill = tuple(float(v) for v in rng.integers(0, 256, 3))
    image = cv2.warpAffine(source, view, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderValue=fill)
    points = picture.landmarks @ view[:, :2].T + view[:, 2]
    centres = (picture.boxes[:, :2] + picture.boxes[:, 2:]) / 2 @ view[:, :2].T + view[:, 2]
    half = (picture.boxes[:, 2:] - picture.boxes[:, :2]) / 2 * zoom
    if rng.random() < 0.5:
        image = image[:, ::-1]
        points = points[:, MIRRORED] * (-1, 1) + (SIZE - 1, 0)
        centres = centres * (-1, 1) + (SIZE - 1, 0)
    inside = ((centres > 0) & (centres < SIZE)).all(axis=1) if len(centres) else np.zeros(0, bool)
    boxes = np.concatenate([centres - half, centres + half], axis=1) if len(centres) else picture.boxes
    large = half.max(axis=1) >= 5 if len(half) else inside
    return Picture(worsen(image, rng), np.float32(boxes), np.float32(points), picture.is_sure & inside & large)


def match(sample: Picture, priors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Targets of every anchor: class (P,) 1 face, 0 background, -1 ignored; box (P, 4); landmarks (P, 10)."""
    labels = torch.zeros(len(priors), dtype=torch.long)
    boxes, points = torch.zeros(len(priors), 4), torch.zeros(len(priors), 10)
    if not len(sample.boxes):
        return labels, boxes, points
    truth = torch.from_numpy(sample.boxes) / SIZE
    overlap = box_iou(box_convert(priors, "cxcywh", "xyxy"), truth)  # (P, F)
    best, owner = overlap.max(dim=1)
    for face in range(len(truth)):  # every face keeps the anchor that fits it best
        anchor = overlap[:, face].argmax()
        if overlap[anchor, face] > 0.15:
            best[anchor], owner[anchor] = 1.0, face
    sure = torch.from_numpy(sample.is_sure)[owner]
    labels[(best > 0.35) & sure] = 1
    labels[(best > 0.2) & ~sure] = -1
    matched = box_convert(truth, "xyxy", "cxcywh")[owner]
    boxes[:, :2] = (matched[:, :2] - priors[:, :2]) / (0.1 * priors[:, 2:])
    boxes[:, 2:] = (matched[:, 2:] / priors[:, 2:]).clamp(min=1e-4).log() / 0.2
    marks = (torch.from_numpy(sample.landmarks) / SIZE)[owner]  # (P, 5, 2)
    points = ((marks - priors[:, None, :2]) / (0.1 * priors[:, None, 2:])).flatten(1)
    return labels, boxes, points


def loss_of(outputs: tuple[torch.Tensor, ...], targets: list[torch.Tensor]) -> torch.Tensor:
    """Boxes and landmarks of faces by smooth L1, classes with the hardest seven negatives a face."""
    box_out, class_out, point_out = outputs
    labels, boxes, points = targets
    faces = labels == 1
    n_faces = max(int(faces.sum()), 1)
    cost = F.cross_entropy(class_out.flatten(0, 1), labels.clamp(min=0).flatten(), reduction="none").view_as(labels)
    n_hard = min(7 * n_faces + 32, int((labels == 0).sum()))
    hard = cost[labels == 0].topk(n_hard).values.sum()
    box_loss = F.smooth_l1_loss(box_out[faces], boxes[faces], reduction="sum") / n_faces
    point_loss = F.smooth_l1_loss(point_out[faces], points[faces], reduction="sum", beta=0.3) / n_faces
    return 2 * box_loss + (cost[faces].sum() + hard) / n_faces + 3 * point_loss


def save(net: RetinaFace, path: Path) -> None:
    """Half-precision safetensors (counters kept whole), written whole or not at all."""
    state = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    facts = {"arch": "retinaface-mobile0.25", "min_sizes": "[[16,32],[64,128],[256,512]]", "licence": "CC BY-NC-SA 4.0"}
    part = path.with_suffix(".part")
    save_file(state, part, facts)
    part.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds labels.json")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=35)
    parser.add_argument("--batch-size", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="go on from these weights")
    parser.add_argument("--rate", type=float, default=2e-2, help="highest learning rate")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    pictures = read_pictures(args.data)
    odds = np.array([1.0 if p.is_sure.any() else 0.7 for p in pictures])
    odds /= odds.sum()
    net = RetinaFace("mobile0.25", phase="train", device=torch.device("cpu")).train()
    if args.start:
        net.load_state_dict({key: value.float() for key, value in load_file(args.start).items()})
    priors = PriorBox(net.cfg, image_size=(SIZE, SIZE)).forward()
    optimizer = torch.optim.SGD(net.parameters(), lr=2e-2, momentum=0.9, weight_decay=5e-4, nesterov=True)
    start, step, saved = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - start) / (60 * args.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 100) * (0.5 + 0.5 * np.cos(np.pi * done)) + 1e-5
        samples = [draw_sample(pictures[i], rng) for i in rng.choice(len(pictures), args.batch_size, p=odds)]
        targets = [torch.stack(part) for part in zip(*(match(s, priors) for s in samples), strict=True)]
        pixels = np.stack([sample.image for sample in samples]).astype(np.float32) - MEAN
        outputs = net(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last))
        loss = loss_of(outputs, targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        step += 1
        if step % 50 == 0:
            LOG.info("step %d, %.0f %%, loss %.3f", step, 100 * done, loss.item())
        if time.monotonic() - start - saved > 240:
            saved = time.monotonic() - start
            save(net, args.out)
    save(net, args.out)
    LOG.info("%d steps in %.1f minutes", step, (time.monotonic() - start) / 60)


if __name__ == "__main__":
    main()
