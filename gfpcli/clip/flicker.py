"""How much restored faces flicker from frame to frame, more than the same faces of the input do."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gfpcli.clip.track import TrackedFrame, match_face
from gfpcli.errors import FaceError
from gfpcli.pipeline.align import cut_crop
from gfpcli.pipeline.paste import soft_mask
from gfpcli.types import Face, Frame, Image

MEASURED_SIZE = 128  # px of the aligned faces that flicker is measured on


@dataclass(slots=True)
class FlickerMeter:
    """Sums, over the pairs of consecutive frames of one segment, how much an aligned face changes."""

    restored: float = 0.0  # grey levels of mean absolute change, of the restored faces
    source: float = 0.0  # of the input's
    n_pairs: int = 0
    before: list[tuple[Face, NDArray[np.float32], NDArray[np.float32]]] = field(default_factory=list)

    @property
    def total(self) -> float:
        """The restored faces' change less the input's, grey levels."""
        return self.restored - self.source

    def add(self, tracked: TrackedFrame, image: Image) -> None:
        """The next frame and its restored image."""
        now = []
        inside = soft_mask(MEASURED_SIZE) > 0.5
        earlier = [] if tracked.is_cut else self.before
        for face in tracked.paths:
            try:
                old = _aligned_face(tracked.frame, tracked.frame.image, face)
                new = _aligned_face(tracked.frame, image, face)
            except FaceError:
                continue
            now.append((face, old, new))
            match = match_face(face, [each for each, _, _ in earlier])
            for _, old_before, new_before in (entry for entry in earlier if entry[0] is match):
                self.restored += float(np.abs(new - new_before)[inside].mean())
                self.source += float(np.abs(old - old_before)[inside].mean())
                self.n_pairs += 1
        self.before = now


def _aligned_face(frame: Frame, image: Image, face: Face) -> NDArray[np.float32]:
    """(MEASURED_SIZE, MEASURED_SIZE, 3) BGR, 0..255: a face of `frame` cut out of its own or its restored image."""
    zoom = image.shape[1] / frame.image.shape[1], image.shape[0] / frame.image.shape[0]
    scaled = Face(face.box * np.tile(zoom, 2), (face.landmarks + 0.5) * zoom - 0.5, face.score)
    return cut_crop(image, scaled, MEASURED_SIZE, frame.pixel_aspect).image.astype(np.float32)
