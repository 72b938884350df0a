"""Train the built-in restorer (`gfpcli/builtin/compact.safetensors`) on folders of aligned 256 px faces.

    python examples/builtin/train_restorer.py --data DATA/faces --out compact.safetensors --minutes 35

Degradation: x = [(y*k)|r + n]JPEG (GFP-GAN, section 3), the paper's ranges scaled from 512 to 256 px.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file

from gfpcli.model.compact import CompactUNet

LOG = logging.getLogger("train_restorer")
SIZE = 256
Picture = NDArray[np.uint8]


def read_faces(folder: Path) -> tuple[list[Picture], NDArray[np.float64]]:
    """All faces, BGR, and the chance to draw each: twenty edits of one person weigh like three faces."""
    paths = sorted(folder.glob("*.jpg"))
    weights = np.array([0.15 if path.name.startswith("omival_") else 1.0 for path in paths])
    return [cv2.imread(str(path)) for path in paths], weights / weights.sum()


def jitter(face: Picture, rng: np.random.Generator) -> Picture:
    """Flip, small similarity (our alignment is not exact), light and colour of real photos."""
    if rng.random() < 0.5:
        face = face[:, ::-1]
    turn = cv2.getRotationMatrix2D((SIZE / 2, SIZE / 2), rng.normal(0, 3), rng.uniform(0.92, 1.1))
    turn[:, 2] += rng.normal(0, 4, 2)
    face = cv2.warpAffine(face, turn, (SIZE, SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    if rng.random() < 0.15:
        face = cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    gain = rng.uniform(0.55, 1.15) * rng.uniform(0.92, 1.08, 3)
    return np.clip(face * gain + rng.uniform(-15, 15), 0, 255).astype(np.uint8)


def blur_kernel(rng: np.random.Generator) -> NDArray[np.float64]:
    """A 21 px Gaussian kernel, isotropic or turned and stretched, sigma 0.1 to 4."""
    sigmas = rng.uniform(0.1, 4, 2) if rng.random() < 0.5 else np.full(2, rng.uniform(0.1, 4))
    theta = rng.uniform(-np.pi, np.pi)
    turn = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
    inverse = np.linalg.inv(turn @ np.diag(sigmas**2) @ turn.T)
    grid = np.stack(np.meshgrid(np.arange(-10, 11), np.arange(-10, 11)), axis=-1)
    kernel = np.exp(-0.5 * np.einsum("...i,ij,...j", grid, inverse, grid))
    return kernel / kernel.sum()


def degrade(face: Picture, rng: np.random.Generator) -> Picture:
    """x = [(y*k)|r + n]JPEG, back to 256 px."""
    small = round(SIZE / rng.uniform(0.8, 6))
    low = cv2.resize(cv2.filter2D(face, -1, blur_kernel(rng)), (small, small), interpolation=cv2.INTER_LINEAR)
    noise = rng.normal(0, rng.uniform(0, 20), low.shape[: 2 if rng.random() < 0.4 else 3])
    low = np.clip(low + (noise[..., None] if noise.ndim == 2 else noise), 0, 255).round().astype(np.uint8)
    _, code = cv2.imencode(".jpg", low, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 101))])
    way = cv2.INTER_CUBIC if rng.random() < 0.5 else cv2.INTER_LINEAR
    return cv2.resize(cv2.imdecode(code, cv2.IMREAD_COLOR), (SIZE, SIZE), interpolation=way)


def draw_batch(
    faces: list[Picture], odds: NDArray[np.float64], n_faces: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, 3, 256, 256) RGB in [-1, 1]: degraded and true faces; one in ten is left as it is."""
    true = [jitter(faces[i], rng) for i in rng.choice(len(faces), n_faces, p=odds)]
    low = [face if rng.random() < 0.08 else degrade(face, rng) for face in true]
    both = torch.from_numpy(np.ascontiguousarray(np.stack([low, true])[..., ::-1])).permute(0, 1, 4, 2, 3)
    return tuple(both.float().div(127.5).sub(1))  # type: ignore[return-value]


def loss_of(out: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """L1 and squared error on pixels, L1 on differences of neighbours, which keeps edges sharp."""
    edges = [F.l1_loss(out.diff(dim=axis), true.diff(dim=axis)) for axis in (2, 3)]
    return F.l1_loss(out, true) + 2 * F.mse_loss(out, true) + 0.5 * sum(edges)


def save(state: dict[str, torch.Tensor], path: Path) -> None:
    """Half-precision safetensors, written whole or not at all."""
    part = path.with_suffix(".part")
    facts = {"arch": "compact-unet", "size": "256", "licence": "CC BY-NC-SA 4.0"}
    save_file({key: value.half().contiguous() for key, value in state.items()}, part, facts)
    part.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds train256/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=35)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    faces, odds = read_faces(args.data / "train256")
    net = CompactUNet().to(memory_format=torch.channels_last)
    mean = {key: value.clone() for key, value in net.state_dict().items()}
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-4)
    start, step, saved = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - start) / (60 * args.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, step / 40) * (0.5 + 0.5 * np.cos(np.pi * done)) + 1e-6
        low, true = draw_batch(faces, odds, args.batch_size, rng)
        with torch.autocast("cpu", torch.bfloat16):
            out = net(low.to(memory_format=torch.channels_last))
        loss = loss_of(out.float(), true)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(0.99, step / (step + 10))
        for key, value in net.state_dict().items():
            mean[key].lerp_(value, 1 - decay)
        if step % 20 == 0:
            gain = 10 * torch.log10(F.mse_loss(low, true) / F.mse_loss(out.float(), true)).item()
            LOG.info("step %d, %.0f %%, loss %.4f, gain over the input %.2f dB", step, 100 * done, loss.item(), gain)
        if time.monotonic() - start - saved > 240:
            saved = time.monotonic() - start
            save(mean, args.out)
    save(mean, args.out)
    LOG.info("%d steps in %.1f minutes", step, (time.monotonic() - start) / 60)


if __name__ == "__main__":
    main()
