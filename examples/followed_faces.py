"""How many of the faces that a look at every frame of a clip finds are found when known faces are only followed.

    python examples/followed_faces.py ../shared/data/video/*.mp4

Prints for each clip: faces of a look at each frame, those of them that `gfp video` finds as it is (boxes overlap by
half), faces that only it finds, the distance of their landmarks in per cent of the eye distance, and the processor time
of decoding and finding faces, ms a frame, of both. Weights of the package.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gfpcli.clip.clip import open_clip, track_clip
from gfpcli.files.jobs import VideoJob
from gfpcli.options import VideoOptions
from gfpcli.pipeline.restorer import Restorer
from gfpcli.types import Face
from gfpcli.weights.build import load_restorer
from gfpcli.weights.choose import choose_parts

LOG = logging.getLogger(__name__)
LEAST_OVERLAP = 0.5  # intersection / union of two boxes of one face
AS_IT_IS = VideoOptions(model="compact", detector="builtin", device="cpu", offline=True)
EACH_FRAME = VideoOptions(model="compact", detector="builtin", device="cpu", offline=True, detect_every=1, look_every=1)


def faces_in(source: Path, restorer: Restorer, options: VideoOptions) -> tuple[list[tuple[Face, ...]], float]:
    """The faces of each frame, and processor time, ms a frame."""
    clip = open_clip(VideoJob(source, source.with_name("restored.mp4")), options)
    began = time.process_time()
    faces = [each.faces for each in track_clip(clip, restorer, clip.decode())]
    return faces, 1000 * (time.process_time() - began) / max(len(faces), 1)


def overlap_of(face: Face, other: Face) -> float:
    """Intersection / union of their boxes."""
    low, high = np.maximum(face.box[:2], other.box[:2]), np.minimum(face.box[2:], other.box[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    return shared / (sum(float(np.prod(each.box[2:] - each.box[:2])) for each in (face, other)) - shared)


def matched(wanted: Sequence[Face], found: Sequence[Face]) -> list[float]:
    """Of each wanted face that is found: how far its landmarks are off, per cent of the eye distance."""
    left, off = list(found), []
    for face in wanted:
        best = max(left, key=lambda other: overlap_of(face, other), default=None)
        if best and overlap_of(face, best) > LEAST_OVERLAP:
            left.remove(best)
            away = np.hypot(*(face.landmarks - best.landmarks).T).mean()
            off.append(100 * float(away / np.hypot(*(face.landmarks[1] - face.landmarks[0]))))
    return off


def main() -> None:
    """Prints the lines."""
    parser = argparse.ArgumentParser(description="Faces found when known ones are followed.")
    parser.add_argument("clips", nargs="+", type=Path)
    clips: list[Path] = parser.parse_args().clips
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    restorer = load_restorer(AS_IT_IS, choose_parts(AS_IT_IS, warn=LOG.warning))
    n_wanted = n_found = 0
    for clip in clips:
        each, each_ms = faces_in(clip, restorer, EACH_FRAME)
        followed, followed_ms = faces_in(clip, restorer, AS_IT_IS)
        off = [far for wanted, found in zip(each, followed, strict=True) for far in matched(wanted, found)]
        n_clip, n_more = sum(map(len, each)), sum(map(len, followed)) - len(off)
        told = f"{len(off)} of {n_clip} faces, {n_more} more, landmarks off by {np.mean(off or [0]):.1f} %"
        LOG.info("%s: %s; %.1f -> %.1f ms", clip.name, told, each_ms, followed_ms)
        n_wanted, n_found = n_wanted + n_clip, n_found + len(off)
    LOG.info("%d of %d faces: %.2f %%", n_found, n_wanted, 100 * n_found / max(n_wanted, 1))


if __name__ == "__main__":
    main()
