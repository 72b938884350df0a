"""Train the built-in identity network as a student of dlib's, from random weights.

    python examples/builtin/train_identity.py --data DATA --cache FILE.npz --out identity.safetensors

It learns to give the teacher's vector of a good face from poor looks of it: small, blurred, noisy, packed hard, gray,
or restored by the built-in restorer.
"""

from __future__ import annotations

import argparse
import copy
import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from begin import begin
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from gfpcli.model.identity import IdentityNet
from gfpcli.model.views import IDENTITY_VIEW
from gfpcli.pipeline.align import warp_area
from gfpcli.pipeline.identity import crop_to_view_of
from gfpcli.pipeline.tensors import to_tensor
from gfpcli.stream import prefetch
from gfpcli.train.nets import update_ema

sys.path.insert(0, str(Path(__file__).parent))
from known_faces import SIZE, Picture, all_teacher_vectors, faces_of, new_faces, restored_faces
from train_detector import save_half

LOG = logging.getLogger("train_identity")
N_FACES = 64  # in a batch
FINEST, COARSEST = 96.0, 15.0  # px across the view that a poor look still has
TEMPERATURE = 0.1  # of the contrastive term
WEIGHT_OF_TWENTY = 0.15  # how often one of twenty pictures of one person is drawn, beside the others


@dataclass(frozen=True, slots=True)
class Stock:
    """All faces that are learnt from or chosen by."""

    images: NDArray[np.uint8]  # (N, SIZE, SIZE, 3) BGR
    vectors: NDArray[np.float32]  # (N, 128) the teacher's, less their mean, of length 1
    persons: NDArray[np.str_]  # (N,)
    is_held_out: NDArray[np.bool_]  # (N,)
    restored: NDArray[np.uint8]  # (M, SIZE, SIZE, 3): the first M faces degraded and restored
    restored_vectors: NDArray[np.float32]  # (M, 128): who these are now, to the teacher

    @classmethod
    def gathered(cls, data: Path, cache: Path, n_new: int, rng: np.random.Generator) -> Stock:
        """From the file of an earlier run, else made, which takes half an hour, and written there."""
        if not cache.exists():
            make_stock(data, cache, n_new, rng)
        with np.load(cache) as kept:
            return cls(*(kept[each.name] for each in fields(cls)))


def make_stock(data: Path, cache: Path, n_new: int, rng: np.random.Generator) -> None:
    known = faces_of(data)
    LOG.info("%d faces, %d of them held out", len(known), sum(face.is_held_out for face in known))
    new = list(new_faces([face for face in known if not face.is_held_out], n_new, rng))
    faces = [*known, *new]
    LOG.info("%d new faces", len(new))
    restored = list(restored_faces(known, rng))
    vectors = all_teacher_vectors([*(face.image for face in faces), *restored], 2)
    is_held_out = np.array([face.is_held_out for face in faces])
    vectors -= vectors[: len(known)][~is_held_out[: len(known)]].mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    LOG.info("the teacher's vectors are there")
    np.savez(
        cache, images=np.stack([face.image for face in faces]), vectors=vectors[: len(faces)],
        persons=np.array([face.person for face in faces]), is_held_out=is_held_out, restored=np.stack(restored),
        restored_vectors=vectors[len(faces) :],
    )  # fmt: skip


def view_of(face: Picture, rng: np.random.Generator, worse: float) -> Picture:
    """The network's square (IDENTITY_VIEW, IDENTITY_VIEW, 3), a little off, with a chance of `worse` of damage."""
    affine = crop_to_view_of(SIZE)
    turn, zoom = rng.normal(0, 2.0), float(np.exp(rng.normal(0, 0.02)))
    middle = (IDENTITY_VIEW - 1) / 2
    jitter = np.asarray(cv2.getRotationMatrix2D((middle, middle), turn, zoom))
    jitter[:, 2] += rng.normal(0, 1.0, 2)
    moved = np.hstack([jitter[:, :2] @ affine[:, :2], (jitter[:, :2] @ affine[:, 2] + jitter[:, 2])[:, None]])
    view = warp_area(face, moved, IDENTITY_VIEW)
    if rng.random() < 0.5:
        view = np.ascontiguousarray(view[:, ::-1])
    return damaged(view, rng) if rng.random() < worse else view


def damaged(view: Picture, rng: np.random.Generator) -> Picture:
    """Light, gray, blur, fewer pixels, noise, JPEG, and back to the size."""
    out = view.astype(np.float32)
    if rng.random() < 0.4:
        out = out * np.float32(rng.uniform(0.6, 1.25) * rng.uniform(0.92, 1.08, 3)) + np.float32(rng.uniform(-20, 20))
    if rng.random() < 0.2:
        out = np.repeat(out.mean(axis=2, keepdims=True), 3, axis=2)
    if rng.random() < 0.5:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.3, 2.5))
    small = max(4, round(float(np.exp(rng.uniform(np.log(COARSEST), np.log(FINEST))))))
    out = cv2.resize(out, (small, small), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.7:
        out = out + np.float32(rng.uniform(0, 14)) * rng.standard_normal(out.shape, np.float32)
    out8 = np.clip(np.round(out), 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        code = cv2.imencode(".jpg", out8, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 96))])[1]
        out8 = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)
    how = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)[rng.integers(3)]
    return np.asarray(cv2.resize(out8, (IDENTITY_VIEW, IDENTITY_VIEW), interpolation=how), np.uint8)


def batches(stock: Stock, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor, NDArray[np.intp]]]:
    """A look (N, 3, S, S) of each of N faces, one in four a good one, their targets (N, 128), and which they are (N,).

    A damaged face is to be known by what it was; a restored one is who it looks like now.
    """
    pool = np.flatnonzero(~stock.is_held_out)
    odds = np.where(np.char.startswith(stock.persons[pool], "omival_"), WEIGHT_OF_TWENTY, 1.0)
    odds /= odds.sum()
    while True:
        at = rng.choice(pool, size=N_FACES, replace=False, p=odds)
        is_restored = (at < len(stock.restored)) & (rng.random(len(at)) < 0.4)
        pairs = list(zip(at, is_restored, strict=True))
        looks = [view_of((stock.restored if new else stock.images)[i], rng, 0.3 if new else 0.75) for i, new in pairs]
        target = np.stack([stock.restored_vectors[i] if new else stock.vectors[i] for i, new in pairs])
        yield to_tensor(looks).contiguous(memory_format=torch.channels_last), torch.from_numpy(target), at


def losses_of(found: Tensor, target: Tensor, is_other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The errors of the vectors, of the faces' likeness to each other, and of telling the people of the batch apart.

    Args:
        found: (N, 128) unit vectors.
        target: (N, 128) the teacher's.
        is_other: (N, N) whether two faces are of different people.
    """
    own = (1 - (found * target).sum(dim=1)).mean()
    pairs = F.mse_loss(found @ found.T, target @ target.T)
    is_own = torch.eye(len(target), dtype=torch.bool)
    logits = (found @ target.T / TEMPERATURE).masked_fill(~is_other & ~is_own, -1e4)
    return own, pairs, F.cross_entropy(logits, torch.arange(len(target)))


def figures_of(net: IdentityNet, stock: Stock) -> str:
    """AUC, rank-1 and likeness to the teacher on the held-out faces of the wild pictures, by damage."""
    rng = np.random.default_rng(7)
    is_wild = ~np.char.startswith(stock.persons, "omi") & stock.is_held_out
    faces, target = stock.images[is_wild], torch.from_numpy(stock.vectors[is_wild])
    told, gallery = [], None
    for name, size, noise in (("clean", 256, 0), ("middle", 80, 6), ("32 px", 32, 6)):
        lows = []
        for face in faces:
            low = cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
            low8 = np.clip(low + rng.normal(0, noise, low.shape), 0, 255).astype(np.uint8)
            lows.append(np.asarray(cv2.resize(low8, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), np.uint8))
        with torch.inference_mode():
            found = net(to_tensor([warp_area(low, crop_to_view_of(SIZE), IDENTITY_VIEW) for low in lows]))
        gallery = found if gallery is None else gallery
        table = found @ gallery.T
        same, other = table.diag(), table[~torch.eye(len(table), dtype=torch.bool)]
        auc = (same[:, None] > other[None]).float().mean()
        rank = (table.argmax(dim=1) == torch.arange(len(table))).float().mean()
        told.append(f"{name} {auc:.4f} {rank:.3f} {(found * target).sum(dim=1).mean():.3f}")
    return "; ".join(told)


def save(net: IdentityNet, path: Path) -> None:
    save_half(net.state_dict(), {"arch": "identity", "licence": "CC BY-NC-SA 4.0"}, path)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds wild/ and faces/")
    parser.add_argument("--cache", type=Path, required=True, help="an .npz of faces and vectors: read, or made first")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--new", type=int, default=9, help="new faces made of each face, in the cache")
    parser.add_argument("--start", type=Path, help="go on from these weights")
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = read_options()
    rng = begin(args.threads, args.seed)
    stock = Stock.gathered(args.data, args.cache, args.new, rng)
    net = IdentityNet().train().to(memory_format=torch.channels_last)
    if args.start:
        net.load_state_dict({key: value.float() for key, value in load_file(args.start).items()})
    ema = copy.deepcopy(net).requires_grad_(False).eval()
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.rate, weight_decay=0.05)
    start, step, means = time.monotonic(), 0, np.zeros(3)
    for batch, target, at in prefetch(batches(stock, rng), depth=2):
        if (done := (time.monotonic() - start) / (60 * args.minutes)) >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 200) * (0.5 + 0.5 * np.cos(np.pi * done)) + 1e-6
        persons = stock.persons[at]
        with torch.autocast("cpu", torch.bfloat16):
            found = net(batch)
        terms = losses_of(found.float(), target, torch.from_numpy(persons[:, None] != persons[None]))
        optimizer.zero_grad()
        (terms[0] + 2 * terms[1] + 0.1 * terms[2]).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        step += 1
        update_ema(ema, net, min(0.998, step / (step + 10)))
        means += (np.array([term.item() for term in terms]) - means) / min(step, 200)
        if step % 200 == 0:
            LOG.info("step %d, %.0f %%, vectors %.3f, pairs %.4f, people %.3f", step, 100 * done, *means)
        if step % 250 == 0:
            LOG.info(figures_of(ema, stock))
            save(ema, args.out)
    save(ema, args.out)
    LOG.info("%d steps in %.1f minutes: %s", step, (time.monotonic() - start) / 60, figures_of(ema, stock))


if __name__ == "__main__":
    main()
