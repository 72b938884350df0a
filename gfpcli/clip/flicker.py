"""How much restored faces flicker from frame to frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gfpcli.clip.track import Steady, same_face
from gfpcli.errors import FaceError
from gfpcli.pipeline.align import cut_crop
from gfpcli.pipeline.paste import soft_mask
from gfpcli.types import Face, Frame, Image

METER = 128  # px of the aligned faces that flicker is measured on


@dataclass(slots=True)
class Meter:
    """Flicker of one stretch: how much consecutive aligned faces change, more than the input's."""

    total: float = 0.0
    n_pairs: int = 0
    before: list[tuple[Face, NDArray[np.float32], NDArray[np.float32]]] = field(default_factory=list)

    def add(self, steadied: Steady, image: Image) -> None:
        """The next frame and its restored image."""
        now = []
        earlier = [] if steadied.is_cut else self.before
        for face in steadied.paths:
            try:
                old, new = _aligned(steadied.frame, steadied.frame.image, face), _aligned(steadied.frame, image, face)
            except FaceError:
                continue
            now.append((face, old, new))
            match = same_face(face, [each for each, _, _ in earlier])
            for _, was_old, was_new in (entry for entry in earlier if entry[0] is match):
                inside = soft_mask(METER) > 0.5
                change = np.abs(new - was_new)[inside].mean() - np.abs(old - was_old)[inside].mean()
                self.total += float(change)
                self.n_pairs += 1
        self.before = now


def _aligned(frame: Frame, image: Image, face: Face) -> NDArray[np.float32]:
    """A face of `frame` in its restored or own image, (METER, METER, 3) grey levels."""
    zoom = image.shape[1] / frame.image.shape[1], image.shape[0] / frame.image.shape[0]
    scaled = Face(face.box * np.tile(zoom, 2), (face.landmarks + 0.5) * zoom - 0.5, face.score)
    return cut_crop(image, scaled, METER, frame.pixel_aspect).image.astype(np.float32)
