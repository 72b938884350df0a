"""Score the built-in face detector on the tenth of the wild pictures it never saw.

    python examples/builtin/evaluate_detector.py --data DATA [--detector FILE]

Counted are the labels called sure; size is the shorter side of a box. Boxes are taken best score first:
right: IoU of 0.5 or more with a sure label that no better box has taken;
neither: not right, and on an unsure label or a box drawn by hand (IoU of 0.5, or half of the box inside it);
false: all others, a second box on the same face too.
Recall is over sure labels, precision is right / (right + false) over boxes of every size.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gfpcli.options import RestoreOptions
from gfpcli.photo.codec import read_frame
from gfpcli.types import Detector, Face, Image
from gfpcli.weights.build import load_detector_for
from gfpcli.weights.cache import BUILTINS

sys.path.insert(0, str(Path(__file__).parent))
from wild import CHOOSING, HELD_OUT, tenth_of

LOG = logging.getLogger("evaluate_detector")
HALF = 0.5  # px: the labels count from the first pixel's corner, as RetinaFace does; gfpcli from its centre
MASKED = ("mask_", "rmfd_")  # names of these sets: landmarks below the nose are guesses
RIGHT, NEITHER, FALSE = 1, 0, -1


@dataclass(frozen=True, slots=True)
class Labels:
    """What is known of one picture."""

    name: str
    image: Image
    boxes: NDArray[np.float64]  # (F, 4) sure faces, xyxy
    landmarks: NDArray[np.float64]  # (F, 5, 2)
    ignored: NDArray[np.float64]  # (G, 4) unsure labels and boxes drawn by hand
    is_faceless: bool  # looked at by eye: no face at all


@dataclass(slots=True)
class Tally:
    """Sums over pictures."""

    sides: list[float] = field(default_factory=list)  # shorter side of every sure face
    found: list[bool] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)  # mean landmark error of every sure face, of the eye distance
    masked: list[bool] = field(default_factory=list)  # of every sure face: from a set of masked people
    verdicts: list[int] = field(default_factory=list)  # of every box
    faceless: list[bool] = field(default_factory=list)  # of every picture without faces: whether a face was found


def read_labels(folder: Path, tenth: int = HELD_OUT) -> Iterator[Labels]:
    """The pictures of one tenth, by name."""
    for name, facts in sorted(json.loads((folder / "labels.json").read_text())["images"].items()):
        if tenth_of(name) != tenth or not (folder / name).exists():
            continue
        faces = facts.get("faces", [])
        sure = [face for face in faces if face["sure"]]
        ignored = [face["box"] for face in faces if not face["sure"]] + [
            each["box"] if isinstance(each, dict) else each for each in facts.get("human_boxes", [])
        ]
        yield Labels(
            name,
            read_frame(folder / name, 0).image,
            np.array([face["box"] for face in sure], float).reshape(-1, 4),
            np.array([face["landmarks"] for face in sure], float).reshape(-1, 5, 2) - HALF,
            np.array([box[:4] for box in ignored], float).reshape(-1, 4),
            facts["kind"] != "face",
        )


def shared_area(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    return np.prod(np.maximum(high - low, 0), axis=1)


def overlaps(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of one box (4,) with each of (N, 4)."""
    shared = shared_area(box, others)
    return shared / (np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=1) - shared)


def judge(faces: Sequence[Face], labels: Labels) -> tuple[list[int], dict[int, Face]]:
    """A verdict for each box, best score first, and the face found for each sure label."""
    verdicts, taken = [], {}
    for face in faces:
        iou = overlaps(face.box, labels.boxes)
        iou[list(taken)] = 0
        if len(iou) and iou.max() >= 0.5:
            taken[int(iou.argmax())] = face
            verdicts.append(RIGHT)
            continue
        inside = shared_area(face.box, labels.ignored) / np.prod(face.box[2:] - face.box[:2])
        is_ignored = (inside >= 0.5).any() or (overlaps(face.box, labels.ignored) >= 0.5).any()
        verdicts.append(NEITHER if is_ignored else FALSE)
    return verdicts, taken


def add(tally: Tally, faces: Sequence[Face], labels: Labels) -> None:
    """Counts one picture."""
    verdicts, taken = judge(faces, labels)
    tally.verdicts += verdicts
    if labels.is_faceless:
        tally.faceless.append(bool(faces))
    for index, (box, marks) in enumerate(zip(labels.boxes, labels.landmarks, strict=True)):
        tally.sides.append(float(min(box[2:] - box[:2])))
        tally.found.append(index in taken)
        tally.masked.append(Path(labels.name).name.startswith(MASKED))
        error = np.hypot(*(taken[index].landmarks - marks).T).mean() if index in taken else np.nan
        tally.errors.append(float(error / max(np.hypot(*(marks[1] - marks[0])), 1)))


def report(tally: Tally, title: str) -> None:
    """The bars' figures, one line each."""
    sides, found = np.array(tally.sides), np.array(tally.found)
    for least in (24, 16):
        chosen = found[sides >= least]
        LOG.info("%s: recall %.3f (%d of %d sure faces of %d px and more)", title, chosen.mean(), chosen.sum(),
                 len(chosen), least)  # fmt: skip
    n_right, n_neither, n_false = (tally.verdicts.count(each) for each in (RIGHT, NEITHER, FALSE))
    LOG.info("%s: precision %.3f (%d right, %d false, %d neither)", title, n_right / max(n_right + n_false, 1),
             n_right, n_false, n_neither)  # fmt: skip
    LOG.info("%s: a false face in %d of %d pictures without faces", title, sum(tally.faceless), len(tally.faceless))
    errors, bare = np.array(tally.errors), ~np.array(tally.masked)
    for what, chosen in (("24 px and more", sides >= 24), ("16 px and more", sides >= 16),
                         ("24 px and more, none masked", (sides >= 24) & bare)):  # fmt: skip
        off = 100 * errors[chosen & found]
        LOG.info("%s: landmarks off by %.1f %% (median), %.1f %% (mean) of the eye distance: found faces of %s",
                 title, np.median(off), off.mean(), what)  # fmt: skip


def score_detector(detect: Detector, folder: Path, title: str, tenth: int = HELD_OUT) -> None:
    """Prints recall, precision and landmark errors on one tenth of `wild/`, and the time it took."""
    tally, seconds = Tally(), 0.0
    for labels in read_labels(folder, tenth):
        start = time.perf_counter()
        (faces,) = detect([labels.image])
        seconds += time.perf_counter() - start
        add(tally, faces, labels)
    report(tally, title)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    LOG.info("%s: %.0f s for %d boxes; peak memory of the process so far %.0f MB", title, seconds, len(tally.verdicts),
             peak)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds wild/ and detector/")
    parser.add_argument("--detector", type=Path, default=BUILTINS["builtin"])
    parser.add_argument("--threshold", type=float, default=RestoreOptions().det_threshold)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--choosing", action="store_true", help="the tenth of train_landmarks.py --choosing instead")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    options = RestoreOptions(det_threshold=args.threshold)
    score_detector(load_detector_for(options, args.detector), args.data / "wild", args.detector.stem,
                   CHOOSING if args.choosing else HELD_OUT)  # fmt: skip


if __name__ == "__main__":
    main()
