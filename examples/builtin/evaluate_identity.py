"""Score the identity network on the 60 held-out faces, beside its teacher, and what the guard and strengths do.

    python examples/builtin/evaluate_identity.py --data DATA --cache FILE.npz --write-scale
    python examples/builtin/evaluate_identity.py --data DATA --cache FILE.npz [--sheet FOLDER]

The cache is that of `train_identity.py`. With `--write-scale` it only writes the scale beside the built-in weights,
from the cache's held-out faces, none of which is among the 60. Needs face-recognition-models and dlib-bin.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from begin import begin
from numpy.typing import NDArray

from gfpcli.adapters.basicsr import psnr
from gfpcli.options import RestoreOptions
from gfpcli.pipeline.restorer import Restorer
from gfpcli.train.degrade import Degradation, Round, degrade
from gfpcli.types import FaceOutcome, Frame
from gfpcli.weights.build import load_restorer
from gfpcli.weights.cache import BUILTINS
from gfpcli.weights.choose import SCALE, choose_parts
from gfpcli.weights.identifier import load_identifier

sys.path.insert(0, str(Path(__file__).parent))
from known_faces import Picture, read, teacher_vectors

LOG = logging.getLogger("evaluate_identity")
DAMAGES = {  # sigma and noise, shrinking and JPEG quality of a face of 256 px
    "mild": (1.0, 3.0, 2.0, 90),
    "middle": (2.5, 8.0, 4.0, 70),
    "32 px": (1.5, 12.0, 8.0, 50),
}
OTHERS = 0.3  # least product to the teacher of two wild faces that may be one person: such pairs are left out
N_GUARDED = 200
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Run:
    """Faces through the restorer, and what became of each."""

    images: list[Picture]
    outcomes: list[FaceOutcome]
    seconds: float


def damaged(faces: list[Picture], name: str) -> list[Picture]:
    sigma, noise, shrink, quality = DAMAGES[name]
    return [
        degrade(face, Degradation(Round(sigma, sigma, 0.0, shrink, noise, i, quality)), kernel_size=21)
        for i, face in enumerate(faces)
    ]


def restorer(strength: str, guard: str) -> Restorer:
    options = RestoreOptions(
        model="compact", aligned=True, offline=True, device="cpu", strength=strength, identity_guard=guard
    )
    return load_restorer(options, choose_parts(options, warn=LOG.info))


def restored(lows: list[Picture], strength: str = "auto", guard: str = "on") -> Run:
    parts, start = restorer(strength, guard), time.perf_counter()
    outs = [parts.restore(Frame(i, low, str(i))) for i, low in enumerate(lows)]
    seconds = time.perf_counter() - start
    return Run([np.asarray(out.image, np.uint8) for out in outs], [out.outcomes[0] for out in outs], seconds)


def student_vectors(faces: list[Picture]) -> Vectors:
    identifier, _ = load_identifier(BUILTINS["identity"], torch.device("cpu"))
    return identifier(faces)


def unit(vectors: Vectors, mean: Vectors) -> Vectors:
    moved = vectors - mean
    return moved / np.linalg.norm(moved, axis=1, keepdims=True)


def ranks(found: Vectors, gallery: Vectors) -> tuple[float, float]:
    """AUC of pairs of the same face over pairs of others, and how often a face is nearest to itself."""
    table = found @ gallery.T
    same, other = np.diag(table), table[~np.eye(len(table), dtype=bool)]
    auc = (same[:, None] > other[None]).mean()
    return float(auc), float((table.argmax(axis=1) == np.arange(len(table))).mean())


def compare_with_teacher(faces: list[Picture]) -> None:
    """Both networks on the held-out faces; pairs of different faces tell how alike their opinions are."""
    truth = teacher_vectors(faces)
    mean = truth.mean(axis=0)
    mine, theirs = student_vectors(faces), unit(truth, mean)
    upper = np.triu_indices(len(faces), 1)
    agreement = np.corrcoef((mine @ mine.T)[upper], (theirs @ theirs.T)[upper])[0, 1]
    LOG.info("%d held-out faces; products of pairs of them agree with the teacher's by %.3f", len(faces), agreement)
    for name in DAMAGES:
        lows = damaged(faces, name)
        student, teacher = ranks(student_vectors(lows), mine), ranks(unit(teacher_vectors(lows), mean), theirs)
        LOG.info(
            "%s: AUC %.4f, rank-1 %.3f; the teacher's %.4f, %.3f", name, *student, *teacher
        )


def compare_strengths(faces: list[Picture]) -> None:
    """PSNR and identity by strength, damage by damage."""
    truth = student_vectors(faces)
    for name in DAMAGES:
        lows = damaged(faces, name)
        told = [f"input {mean_psnr(lows, faces):.2f} dB {likeness(lows, truth):.3f}"]
        for strength, guard in (("1", "off"), ("auto", "off"), ("auto", "on")):
            run = restored(lows, strength, guard)
            n_kept = sum(each.status == "kept" for each in run.outcomes)
            asked = np.mean([each.strength for each in run.outcomes])
            told.append(
                f"strength {strength}, guard {guard}: {mean_psnr(run.images, faces):.2f} dB "
                f"{likeness(run.images, truth):.3f}, mean strength {asked:.2f}, {n_kept} kept"
            )
        LOG.info("%s: %s", name, "; ".join(told))


def mean_psnr(images: list[Picture], faces: list[Picture]) -> float:
    return float(np.mean([psnr(*pair) for pair in zip(images, faces, strict=True)]))


def likeness(images: list[Picture], truth: Vectors) -> float:
    """Mean product with the true faces, to the built-in network."""
    return float((student_vectors(images) * truth).sum(axis=1).mean())


def guard_goal(faces: list[Picture], sheet: Path | None) -> None:
    """Whether restored faces end nearer to another of the set than to themselves, where the input did not."""
    mean = teacher_vectors(faces[:60]).mean(axis=0)
    judges = {"teacher": lambda images: unit(teacher_vectors(images), mean), "student": student_vectors}
    for name in ("middle", "32 px"):
        lows = damaged(faces, name)
        plain, free, guarded = restored(lows, "1", "off"), restored(lows, guard="off"), restored(lows)
        is_acted = [bool((a != b).any()) for a, b in zip(free.images, guarded.images, strict=True)]
        n_kept = sum(each.status == "kept" for each in guarded.outcomes)
        LOG.info("%s: %d faces; the guard acted on %d, kept %d", name, len(faces), sum(is_acted), n_kept)
        for judge, vectors in judges.items():
            truth = vectors(faces)
            before, once, now = (margins(vectors(each), truth) for each in (lows, plain.images, guarded.images))
            LOG.info(
                "%s, judged by the %s: nearer to another than to itself: input %d, strength 1 %d, guarded %d; "
                "only restored: strength 1 %d, guarded %d; margin smaller than the input's: %d, %d",
                name, judge, (before < 0).sum(), (once < 0).sum(), (now < 0).sum(),
                ((once < 0) & (before >= 0)).sum(), ((now < 0) & (before >= 0)).sum(),
                (once < before).sum(), (now < before).sum(),
            )  # fmt: skip
        if sheet:
            chosen = [i for i in range(len(faces)) if is_acted[i]]
            path = sheet / f"guard_{name.replace(' ', '')}.png"
            write_sheet(path, chosen, (lows, plain.images, guarded.images, faces))


def margins(found: Vectors, truth: Vectors) -> NDArray[np.float32]:
    """(N,): by how much each face is more like itself than like the nearest other."""
    table = found @ truth.T
    own = np.diag(table).copy()
    np.fill_diagonal(table, -np.inf)
    return own - table.max(axis=1)


def write_sheet(path: Path, chosen: list[int], columns: tuple[list[Picture], ...]) -> None:
    """Input, strength 1, guarded and truth of the first ten faces that the guard acted on."""
    rows = [np.concatenate([column[i] for column in columns], axis=1) for i in chosen[:10]]
    if rows:
        cv2.imwrite(str(path), np.concatenate(rows))


def cost_of(faces: list[Picture]) -> None:
    """Seconds of whole runs, one after the other, and of the guard itself."""
    lows = damaged(faces, "middle")
    for _ in range(2):
        off, on = restored(lows, "1", "off").seconds, restored(lows).seconds
        LOG.info("%.1f ms a face without, %.1f ms with", 1e3 * off / len(lows), 1e3 * on / len(lows))


def write_scale(cache: Path) -> None:
    """Quantiles of the products of pairs of looks of one held-out face, and of different people's."""
    with np.load(cache) as kept:
        held = np.flatnonzero(kept["is_held_out"])
        faces, persons, truth = [*kept["images"][held]], kept["persons"][held], kept["vectors"][held]
    looks = [faces]
    for name in DAMAGES:
        lows = damaged(faces, name)
        looks += [lows, restored(lows, "1", "off").images]
    found = np.stack([student_vectors(each) for each in looks])  # (L, N, D)
    same, different = [], []
    is_other = (persons[:, None] != persons[None]) & (truth @ truth.T < OTHERS)
    for i in range(len(looks)):
        for j in range(i + 1, len(looks)):
            table = found[i] @ found[j].T
            same.append(np.diag(table))
            different.append(table[is_other])
    tables = {
        name: np.quantile(np.concatenate(each), np.linspace(0, 1, 101)).round(4).tolist()
        for name, each in (("same", same), ("different", different))
    }
    path = BUILTINS["identity"].with_suffix(SCALE)
    path.write_text(json.dumps(tables) + "\n", encoding="utf-8")
    LOG.info("%d faces, %d looks of each: %s", len(faces), len(looks), path)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds faces/")
    parser.add_argument("--cache", type=Path, required=True, help="the .npz of train_identity.py")
    parser.add_argument("--write-scale", action="store_true")
    parser.add_argument("--sheet", type=Path, help="folder for pictures of faces where the guard acted")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    args = read_options()
    begin(args.threads, 0)
    if args.write_scale:
        write_scale(args.cache)
        return
    faces = [read(path) for path in sorted((args.data / "faces" / "heldout256").glob("*.jpg"))]
    compare_with_teacher(faces)
    compare_strengths(faces)
    with np.load(args.cache) as kept:
        is_wild = ~np.char.startswith(kept["persons"], "omi") & ~np.char.startswith(kept["persons"], "new_")
        order = np.argsort(~kept["is_held_out"][is_wild], kind="stable")  # the held-out ones first
        wild = [*kept["images"][is_wild][order[: N_GUARDED - len(faces)]]]
    guard_goal([*faces, *wild], args.sheet)
    cost_of(faces)


if __name__ == "__main__":
    main()
