"""Score restorers on 60 held-out faces at 512 px, with three damages: one table of input, today's and new weights.

    python examples/builtin/evaluate_512.py --faces DATA/faces/heldout512 --sheet FOLDER \
        --models input gfpcli/builtin/compact.safetensors gfpcli/builtin/compact-512.safetensors

Besides the three damages there are `halftone`, `scratched` and `real-life`: the training degradations of these names, a
seed for each face, whose targets are gray where the screen is.

A network of another size sees the face reduced to it, and its answer is pasted into the 512 px face as `gfp restore`
does, without a mask. Columns of the table:

- PSNR, dB; sharpness (variance of the Laplacian over the truth's); NIQE;
- lite0: the loss term `lite`, distance of EfficientNet-Lite0's features, 0 to 20 (gfpcli[lite]);
- rank-1 of the built-in identity network among the true faces, and of its teacher (face-recognition-models, dlib-bin);
- lmd: mean distance of five landmarks from those found in the truth, px, by the built-in detector.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from begin import begin
from numpy.typing import NDArray

from gfpcli.adapters.basicsr import niqe, psnr
from gfpcli.adapters.efficientnet_lite0 import lite0_file, load_lite0
from gfpcli.model.checkpoint import load_face_net
from gfpcli.model.efficientnet_lite import EfficientNetLite0
from gfpcli.pipeline.align import aligned_crop
from gfpcli.pipeline.paste import paste_faces
from gfpcli.pipeline.tensors import to_images, to_tensor
from gfpcli.train import losses
from gfpcli.train.degrade import Degradation, Round, degrade, make_pair
from gfpcli.train.face_metrics import load_face_judge
from gfpcli.types import Frame
from gfpcli.weights.cache import BUILTINS
from gfpcli.weights.identifier import load_identifier

sys.path.insert(0, str(Path(__file__).parent))
from known_faces import teacher_vectors

LOG = logging.getLogger("evaluate_512")
DAMAGES = {  # sigma of blur and noise, shrinking, JPEG quality: those of evaluate_identity.py, for faces twice as large
    "mild": (2.0, 3.0, 4.0, 90),
    "middle": (5.0, 8.0, 8.0, 70),
    "hard": (3.0, 12.0, 16.0, 50),
}
MADE = ("halftone", "scratched", "real-life")  # training degradations that are judged too, when they are asked for
SIZE = 512  # px
N_SHOWN = 12
Picture = NDArray[np.uint8]
Restore = Callable[[Picture], Picture]


def damaged(faces: list[Picture], name: str) -> tuple[list[Picture], list[Picture]]:
    """The damaged faces and what is wanted of them. The draws of each face have the face's number as their seed."""
    if name == "clean":
        return faces, faces
    if name in MADE:
        lows, wanted = zip(*(make_pair(name, face, i) for i, face in enumerate(faces)), strict=True)
        return list(lows), list(wanted)
    sigma, noise, shrink, quality = DAMAGES[name]
    lows = [
        degrade(face, Degradation(Round(sigma, sigma, 0.0, shrink, noise, i, quality)), kernel_size=41)
        for i, face in enumerate(faces)
    ]
    return list(lows), faces


def shown_at(face: Picture, edge: int) -> Picture:
    return face if edge == SIZE else np.asarray(cv2.resize(face, (edge, edge), interpolation=cv2.INTER_AREA), np.uint8)


def restorer_of(path: Path) -> Restore:
    """Faces of any size through the network of a file."""
    net = load_face_net(path)

    def restore(face: Picture) -> Picture:
        crop = aligned_crop(Frame(0, face, "face"), net.size)
        with torch.inference_mode():
            (out,) = to_images(net(to_tensor([crop.image])))
        if net.size == face.shape[0]:
            return out
        canvas = face.copy()
        whole = np.ones((net.size, net.size), np.float32)
        paste_faces(canvas, [out], [crop], [whole], scale=(1.0, 1.0), strengths=[1.0])
        return canvas

    return restore


def sharpness(face: Picture) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(face, cv2.COLOR_BGR2GRAY), cv2.CV_64F).var())


def lite_distance(net: EfficientNetLite0, face: Picture, true: Picture) -> float:
    with torch.inference_mode():
        return losses.feature_distance(net(to_tensor([face])), net(to_tensor([true]))).item()


def rank_1(found: NDArray[np.float32], gallery: NDArray[np.float32]) -> float:
    return float(((found @ gallery.T).argmax(axis=1) == np.arange(len(gallery))).mean())


def student_vectors(faces: list[Picture]) -> NDArray[np.float32]:
    return load_identifier(BUILTINS["identity"], torch.device("cpu"))[0](faces)


def teachers_unit(faces: list[Picture], mean: NDArray[np.float32]) -> NDArray[np.float32]:
    small = [np.asarray(cv2.resize(face, (256, 256), interpolation=cv2.INTER_AREA), np.uint8) for face in faces]
    moved = teacher_vectors(small) - mean
    return np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True), np.float32)


def plain_figures(outs: list[Picture], faces: list[Picture]) -> dict[str, float]:
    pairs = list(zip(outs, faces, strict=True))
    return {
        "PSNR": float(np.mean([min(psnr(*pair), 99.0) for pair in pairs])),
        "sharpness": float(np.mean([sharpness(out) / sharpness(true) for out, true in pairs])),
        "NIQE": float(np.nanmean([niqe(out) for out in outs])),
    }


class Judges:
    """The networks that judge, and what they say of the true faces."""

    def __init__(self, faces: list[Picture]) -> None:
        self.lite = load_lite0(lite0_file())
        self.marks = load_face_judge()
        self.student = student_vectors(faces)
        self.mean = np.zeros(1, np.float32)  # so that the next line gives plain directions
        self.mean = teachers_unit(faces, self.mean).mean(axis=0)
        self.teacher = teachers_unit(faces, self.mean)

    def figures(self, outs: list[Picture], faces: list[Picture]) -> dict[str, float]:
        pairs = list(zip(outs, faces, strict=True))
        return {
            "lite0": float(np.mean([lite_distance(self.lite, *pair) for pair in pairs])),
            "rank-1": rank_1(student_vectors(outs), self.student),
            "teacher's": rank_1(teachers_unit(outs, self.mean), self.teacher),
            "lmd": float(np.nanmean([self.marks(*pair)["lmd"] for pair in pairs])),
        }


def seconds_a_face(path: Path, n: int = 9) -> tuple[float, float]:
    """Median of `n` faces: wall clock and CPU time of the network, with the threads torch was given."""
    net = load_face_net(path)
    x = torch.rand(1, 3, net.size, net.size) * 2 - 1
    walls, cpus = [], []
    with torch.inference_mode():
        net(x)
        for _ in range(n):
            wall, cpu = time.perf_counter(), time.process_time()
            net(x)
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
    return float(np.median(walls)), float(np.median(cpus))


def write_sheet(path: Path, columns: list[list[Picture]]) -> None:
    """A row for each of the first faces: input, each model, truth."""
    rows = [np.concatenate([column[i] for column in columns], axis=1) for i in range(min(N_SHOWN, len(columns[0])))]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.concatenate(rows))


def score(args: argparse.Namespace) -> None:
    paths = sorted(args.faces.glob("*"))[: args.count]
    faces = [np.asarray(cv2.imread(str(path)), np.uint8) for path in paths]
    judges = None if args.quick else Judges(faces)
    models: list[tuple[str, Restore]] = [
        (Path(name).name, np.copy if name == "input" else restorer_of(Path(name))) for name in args.models
    ]
    for name in args.damages:
        lows, wanted = ([shown_at(face, args.shown) for face in each] for each in damaged(faces, name))
        columns = [[restore(low) for low in lows] for _, restore in models]
        for (model, _), outs in zip(models, columns, strict=True):
            figures = plain_figures(outs, wanted) | (judges.figures(outs, wanted) if judges else {})
            told = ", ".join(f"{key} {value:.3f}" for key, value in figures.items())
            LOG.info("%s, %s: %s", name, model, told)
        if args.sheet:
            write_sheet(args.sheet / f"{name}.png", [*columns, wanted])
    for path in (Path(name) for name in args.models if name != "input"):
        LOG.info("%s: %.1f ms a face, %.1f ms of CPU time", path.name, *(1e3 * each for each in seconds_a_face(path)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True, help="folder of aligned 512 px faces")
    parser.add_argument("--models", nargs="+", required=True, help="checkpoints of any size, and `input` for none")
    parser.add_argument("--damages", nargs="+", default=[*DAMAGES, "clean"], choices=[*DAMAGES, "clean", *MADE])
    parser.add_argument("--quick", action="store_true", help="only PSNR, sharpness and NIQE")
    parser.add_argument("--count", type=int, help="only the first faces")
    parser.add_argument("--shown", type=int, default=SIZE, help="px: the damaged faces and the truth at this size")
    parser.add_argument("--sheet", type=Path, help="folder for contact sheets")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    begin(args.threads, 0)
    score(args)


if __name__ == "__main__":
    main()
