"""Score the identity network on the 60 held-out faces, beside its teacher, and what the guard and strengths do.

    python examples/builtin/evaluate_identity.py --data DATA --cache FILE.npz --write-scale
    python examples/builtin/evaluate_identity.py --data DATA --cache FILE.npz [--sheet FOLDER]
    python examples/builtin/evaluate_identity.py --data DATA --cache FILE.npz --limits
    python examples/builtin/evaluate_identity.py --data DATA --cost

The cache is that of `train_identity.py`. `--write-scale` only writes the scale beside the built-in weights, from the
cache's held-out faces, none of which is among the 60. `--limits` only compares limits of the guard, on faces that the
network learnt from. `--cost` only measures time. The comparison needs face-recognition-models and dlib-bin.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from begin import begin
from numpy.typing import NDArray

from gfpcli.adapters.basicsr import psnr
from gfpcli.options import RestoreOptions
from gfpcli.pipeline.guard import Decision, Guard, pasted
from gfpcli.pipeline.restorer import Restorer
from gfpcli.pipeline.steps import Share
from gfpcli.train.degrade import Degradation, Round, degrade
from gfpcli.types import Crop, Face, Frame
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
SETTINGS = (("1", "off"), ("auto", "off"), ("auto", "on"))  # strength and guard
LIMITS = (0.0, 0.8, 0.85, 0.9, 0.93, 0.96, 0.98)
N_ROUNDS = 5  # of pairs of runs whose time is taken
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Damaged:
    """Faces that were damaged, cut out of photos that show them at the size they were shrunk to."""

    crops: list[Crop]
    nets: list[Picture]  # what the network makes of them

    @property
    def lows(self) -> list[Picture]:
        return [crop.image for crop in self.crops]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a setting makes of damaged faces, and why."""

    images: list[Picture]
    decisions: list[Decision]

    @property
    def n_kept(self) -> int:
        return sum(each.is_kept for each in self.decisions)


def damaged(faces: list[Picture], name: str) -> list[Picture]:
    sigma, noise, shrink, quality = DAMAGES[name]
    return [
        degrade(face, Degradation(Round(sigma, sigma, 0.0, shrink, noise, i, quality)), kernel_size=21)
        for i, face in enumerate(faces)
    ]


def options_of(strength: str, guard: str) -> RestoreOptions:
    return RestoreOptions(model="compact", offline=True, device="cpu", strength=strength, identity_guard=guard)


def restorer(options: RestoreOptions) -> Restorer:
    return load_restorer(options, choose_parts(options, warn=LOG.info), warn=LOG.info)


def nets_of(lows: list[Picture]) -> list[Picture]:
    """What the built-in restorer makes of aligned faces."""
    parts = restorer(replace(options_of("1", "off"), aligned=True))
    return [np.asarray(parts.restore(Frame(i, low, str(i))).image, np.uint8) for i, low in enumerate(lows)]


def damaged_and_restored(faces: list[Picture], name: str) -> Damaged:
    zoom, lows = DAMAGES[name][2], damaged(faces, name)
    nowhere = Face(np.zeros(4), np.zeros((5, 2)), 1.0)
    return Damaged([Crop(nowhere, low, zoom * np.eye(2, 3)) for low in lows], nets_of(lows))


def shown(given: Damaged, strength: str, guard: str | Guard) -> Shown:
    """The faces as a run with this strength and guard pastes them."""
    judge = restorer(options_of(strength, guard)).guard if isinstance(guard, str) else guard
    pairs = list(zip(given.crops, given.nets, strict=True))
    decisions = [judge.decide([pair], Share()) for pair in pairs]
    images = [
        pasted(crop.image, net, made.strength, made.coarse, 1)
        for (crop, net), made in zip(pairs, decisions, strict=True)
    ]
    return Shown(images, decisions)


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


def compare_strengths(faces: list[Picture], given: dict[str, Damaged]) -> None:
    """PSNR and identity by strength, damage by damage."""
    truth = student_vectors(faces)
    for name, each in given.items():
        own = Damaged(each.crops[: len(faces)], each.nets[: len(faces)])
        LOG.info("%s: input %.2f dB %.3f", name, mean_psnr(own.lows, faces), likeness(own.lows, truth))
        for strength, guard in SETTINGS:
            made = shown(own, strength, guard)
            LOG.info(
                "%s: strength %s, guard %s: %.2f dB %.3f, mean strength %.2f, %d kept", name, strength, guard,
                mean_psnr(made.images, faces), likeness(made.images, truth),
                np.mean([decision.strength for decision in made.decisions]), made.n_kept,
            )  # fmt: skip


def mean_psnr(images: list[Picture], faces: list[Picture]) -> float:
    return float(np.mean([psnr(*pair) for pair in zip(images, faces, strict=True)]))


def likeness(images: list[Picture], truth: Vectors) -> float:
    """Mean product with the true faces, to the built-in network."""
    return float((student_vectors(images) * truth).sum(axis=1).mean())


def guard_goal(faces: list[Picture], given: dict[str, Damaged], sheet: Path | None) -> None:
    """How many restored faces end nearer to another of the set than to themselves, where the input did not."""
    mean = teacher_vectors(faces[:60]).mean(axis=0)
    judges = {"teacher": lambda images: unit(teacher_vectors(images), mean), "student": student_vectors}
    truths = {judge: vectors(faces) for judge, vectors in judges.items()}
    for name, each in given.items():
        made = {setting: shown(each, *setting) for setting in SETTINGS}
        free, guarded = made["auto", "off"], made["auto", "on"]
        is_acted = [one != other for one, other in zip(
            [(d.strength, d.coarse) for d in free.decisions], [(d.strength, d.coarse) for d in guarded.decisions],
            strict=True,
        )]  # fmt: skip
        LOG.info("%s: %d faces; the guard acted on %d, kept %d", name, len(faces), sum(is_acted), guarded.n_kept)
        for judge, vectors in judges.items():
            before = margins(vectors(each.lows), truths[judge])
            LOG.info("%s, judged by the %s: of the inputs %d are nearer to another", name, judge, (before < 0).sum())
            for setting, out in made.items():
                now = margins(vectors(out.images), truths[judge])
                LOG.info(
                    "    strength %s, guard %s: %d more, %d no longer", *setting, ((now < 0) & (before >= 0)).sum(),
                    ((now >= 0) & (before < 0)).sum(),
                )  # fmt: skip
        if sheet:
            chosen = [i for i in range(len(faces)) if is_acted[i]]
            columns = each.lows, made["1", "off"].images, free.images, guarded.images, faces
            write_sheet(sheet / f"guard_{name.replace(' ', '')}.png", chosen, columns)


def compare_limits(faces: list[Picture]) -> None:
    """What each limit of the guard does, at the strength that `auto` chooses."""
    truth, guard = student_vectors(faces), restorer(options_of("auto", "on")).guard
    for name in DAMAGES:
        given = damaged_and_restored(faces, name)
        before = margins(student_vectors(given.lows), truth)
        LOG.info("%s: input %.2f dB %.3f", name, mean_psnr(given.lows, faces), likeness(given.lows, truth))
        for limit in LIMITS:
            made = shown(given, "auto", replace(guard, limits=((0.0, limit),)))
            now = margins(student_vectors(made.images), truth)
            LOG.info(
                "%s, limit %.2f: %.2f dB %.3f, %d kept, %d of %d nearer to another where the input was not",
                name, limit, mean_psnr(made.images, faces), likeness(made.images, truth), made.n_kept,
                ((now < 0) & (before >= 0)).sum(), len(faces),
            )  # fmt: skip


def margins(found: Vectors, truth: Vectors) -> NDArray[np.float32]:
    """(N,): by how much each face is more like itself than like the nearest other."""
    table = found @ truth.T
    own = np.diag(table).copy()
    np.fill_diagonal(table, -np.inf)
    return own - table.max(axis=1)


def write_sheet(path: Path, chosen: list[int], columns: tuple[list[Picture], ...]) -> None:
    """Input, strength 1, without and with the guard, and truth, of ten faces that the guard acted on."""
    spread = chosen[:: max(1, len(chosen) // 10)][:10]
    rows = [np.concatenate([column[i] for column in columns], axis=1) for i in spread]
    if rows:
        cv2.imwrite(str(path), np.concatenate(rows))


def cost_of(faces: list[Picture], photos: list[Picture]) -> None:
    """Time of the guard by the clock, and of whole runs with everything on beside runs without, in pairs."""
    given = damaged_and_restored(faces, "middle")
    guard, pairs = restorer(options_of("auto", "on")).guard, list(zip(given.crops, given.nets, strict=True))
    guard.decide([pairs[0]], Share())  # what a first call prepares
    start = time.perf_counter()
    for pair in pairs:
        guard.decide([pair], Share())
    LOG.info("strength and guard: %.1f ms a face", 1e3 * (time.perf_counter() - start) / len(faces))
    runs = [restorer(options_of(*setting)) for setting in (("1", "off"), ("auto", "on"))]
    n_faces = [sum(len(run.restore(Frame(0, photo, "")).crops) for photo in photos) for run in runs][-1]
    seconds = np.array([[seconds_of(run, photos) for run in runs] for _ in range(N_ROUNDS)])  # (R, 2)
    LOG.info(
        "%d photos with %d faces, detected to pasted: %.2f s at strength 1 without a guard, %.2f s with both; median "
        "ratio of %d pairs %.3f, on %d threads", len(photos), n_faces, *np.median(seconds, axis=0), len(seconds),
        np.median(seconds[:, 1] / seconds[:, 0]), torch.get_num_threads(),
    )  # fmt: skip


def seconds_of(run: Restorer, photos: list[Picture]) -> float:
    start = time.perf_counter()
    for photo in photos:
        run.restore(Frame(0, photo, ""))
    return time.perf_counter() - start


def write_scale(cache: Path) -> None:
    """Quantiles of the products of pairs of looks of one held-out face, and of different people's."""
    with np.load(cache) as kept:
        held = np.flatnonzero(kept["is_held_out"])
        faces, persons, truth = [*kept["images"][held]], kept["persons"][held], kept["vectors"][held]
    looks = [faces]
    for name in DAMAGES:
        lows = damaged(faces, name)
        looks += [lows, nets_of(lows)]
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
    parser.add_argument("--data", type=Path, required=True, help="folder that holds faces/ and photos/")
    parser.add_argument("--cache", type=Path, help="the .npz of train_identity.py")
    parser.add_argument("--write-scale", action="store_true")
    parser.add_argument("--limits", action="store_true")
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--sheet", type=Path, help="folder for pictures of faces where the guard acted")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def wild_faces_in(cache: Path) -> tuple[list[Picture], list[Picture]]:
    """The wild faces of the cache: those left out by the training, and those it saw."""
    with np.load(cache) as kept:
        persons, is_held_out = kept["persons"], kept["is_held_out"]
        is_wild = ~np.char.startswith(persons, "omi") & ~np.char.startswith(persons, "new_")
        images = kept["images"]
        return [*images[is_wild & is_held_out]], [*images[is_wild & ~is_held_out]]


def main() -> None:
    args = read_options()
    begin(args.threads, 0)
    faces = [read(path) for path in sorted((args.data / "faces" / "heldout256").glob("*.jpg"))]
    if args.cost:
        cost_of(faces, [read(path) for path in sorted((args.data / "photos").glob("group_*.jpg"))])
        return
    if args.write_scale:
        write_scale(args.cache)
        return
    left_out, seen = wild_faces_in(args.cache)
    n_more = N_GUARDED - len(faces) - len(left_out)
    if args.limits:
        compare_limits(seen[n_more : n_more + N_GUARDED])
        return
    compare_with_teacher(faces)
    everybody = [*faces, *left_out, *seen[:n_more]]
    given = {name: damaged_and_restored(everybody, name) for name in DAMAGES}
    compare_strengths(faces, given)
    guard_goal(everybody, given, args.sheet)


if __name__ == "__main__":
    main()
