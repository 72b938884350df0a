"""Train the built-in detector, facexlib's RetinaFace mobile0.25, from random weights.

    python examples/builtin/train_detector.py --data DATA --out detector.safetensors --minutes 35

One picture in ten, chosen by the SHA-1 of its name, is never trained on.
"""

from __future__ import annotations

import argparse
import copy
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from begin import begin
from facexlib.detection.retinaface import RetinaFace
from facexlib.detection.retinaface_utils import PriorBox
from safetensors.torch import load_file, save_file
from torchvision.ops import box_convert, box_iou

from gfpcli.adapters.facexlib import REFINER_PREFIX
from gfpcli.train.nets import update_ema

sys.path.insert(0, str(Path(__file__).parent))
from wild import SIZE, Picture, Stock, draw_sample

LOG = logging.getLogger("train_detector")
FACTS = {"arch": "retinaface-mobile0.25", "min_sizes": "[[16,32],[64,128],[256,512]]", "licence": "CC BY-NC-SA 4.0"}
MEAN = np.array([104.0, 117.0, 123.0], np.float32)  # BGR


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
    return 2 * box_loss + (cost[faces].sum() + hard) / n_faces + point_loss  # a second network refines landmarks


def save_half(state: Mapping[str, torch.Tensor], facts: dict[str, str], path: Path) -> None:
    """Safetensors, kernels in half precision (a variance may not fit in it), written whole or not at all."""
    part = path.with_suffix(".part")
    save_file({key: (v.half() if v.dim() > 1 else v).contiguous() for key, v in state.items()}, part, facts)
    part.replace(path)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds wild/ and faces/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=35)
    parser.add_argument("--batch-size", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="go on from these weights")
    parser.add_argument("--rate", type=float, default=1e-2, help="highest learning rate")
    return parser.parse_args()


def main() -> None:
    args = read_options()
    rng = begin(args.threads, args.seed)
    stock = Stock.read(args.data)
    net = RetinaFace("mobile0.25", phase="train", device=torch.device("cpu")).train()
    if args.start:
        before = load_file(args.start).items()
        net.load_state_dict({key: value.float() for key, value in before if not key.startswith(REFINER_PREFIX)})
    net = net.to(memory_format=torch.channels_last)
    ema = copy.deepcopy(net).requires_grad_(False)
    priors = PriorBox(net.cfg, image_size=(SIZE, SIZE)).forward()
    optimizer = torch.optim.SGD(net.parameters(), lr=args.rate, momentum=0.9, weight_decay=5e-4, nesterov=True)
    start, step, saved, mean = time.monotonic(), 0, 0.0, 0.0
    while (done := (time.monotonic() - start) / (60 * args.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 100) * (0.5 + 0.5 * np.cos(np.pi * done)) + 1e-6
        samples = [draw_sample(stock, rng) for _ in range(args.batch_size)]
        targets = [torch.stack(part) for part in zip(*(match(s, priors) for s in samples), strict=True)]
        pixels = torch.from_numpy(np.stack([sample.image for sample in samples]).astype(np.float32) - MEAN)
        with torch.autocast("cpu", torch.bfloat16):
            outputs = net(pixels.permute(0, 3, 1, 2))  # channels last as they lie
        loss = loss_of(tuple(part.float() for part in outputs), targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        step += 1
        update_ema(ema, net, min(0.998, step / (step + 10)))
        mean += (loss.item() - mean) / min(step, 200)
        if step % 50 == 0:
            LOG.info("step %d, %.0f %%, loss %.3f", step, 100 * done, mean)
        if time.monotonic() - start - saved > 240:
            saved = time.monotonic() - start
            save_half(ema.state_dict(), FACTS, args.out)
    save_half(ema.state_dict(), FACTS, args.out)
    LOG.info("%d steps in %.1f minutes", step, (time.monotonic() - start) / 60)


if __name__ == "__main__":
    main()
