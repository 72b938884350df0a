"""How far the identity of a face that is followed wanders, in a restored clip and in the one it was made from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gfpcli.clip.track import TrackedFrame, match_face
from gfpcli.errors import FaceError
from gfpcli.pipeline.align import cut_crop
from gfpcli.types import Face, Identifier, Image

IDENTITY_SIZE = 256  # px of the aligned faces that the identity network is shown


@dataclass(slots=True)
class IdentityTrack:
    """The identity of one face in consecutive frames of a shot."""

    face: Face  # in the last frame
    total: NDArray[np.float64]  # (2, D): sums of its unit vectors in the restored clip and in the reference
    n: int = 1

    @property
    def squares(self) -> NDArray[np.float64]:
        """(2,): sums of the squared distances of its unit vectors from their mean."""
        return np.asarray(self.n - np.square(self.total).sum(axis=1) / self.n)


@dataclass(slots=True)
class SpreadMeter:
    """Takes the frames of both clips in step. Keeps sums only, however long the clips are."""

    identifier: Identifier
    tracks: list[IdentityTrack] = field(default_factory=list)  # that go on
    squares: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))  # of those that ended
    n: int = 0

    def add(self, reference: TrackedFrame, restored: Image) -> None:
        """The next frame.

        Args:
            reference: with its faces on their smoothed paths, where both clips are looked at.
            restored: its restored image (H, W, 3) BGR, at the same size.
        """
        before = [] if reference.is_cut else self.tracks[:]
        now = [self._followed(face, vectors, before) for face, vectors in self._vectors_of(reference, restored)]
        for track in self.tracks:
            if not any(track is each for each in now):
                self._end(track)
        self.tracks = now

    def _vectors_of(self, reference: TrackedFrame, restored: Image) -> list[tuple[Face, NDArray[np.float64]]]:
        """Each face with its (2, D) unit vectors in both clips."""
        found, aspect = [], reference.frame.pixel_aspect
        images = restored, reference.frame.image
        for face in reference.paths:
            try:
                crops = [cut_crop(image, face, IDENTITY_SIZE, aspect).image for image in images]
            except FaceError:
                continue
            found.append((face, self.identifier(crops).astype(np.float64)))
        return found

    def _followed(self, face: Face, vectors: NDArray[np.float64], before: list[IdentityTrack]) -> IdentityTrack:
        """The track of a face, taken from `before` where it is among those."""
        match = match_face(face, [track.face for track in before])
        at = next((i for i, track in enumerate(before) if track.face is match), None)
        if at is None:
            return IdentityTrack(face, vectors)
        track = before.pop(at)
        track.face, track.total, track.n = face, track.total + vectors, track.n + 1
        return track

    def _end(self, track: IdentityTrack) -> None:
        if track.n > 1:
            self.squares = self.squares + track.squares
            self.n += track.n

    @property
    def value(self) -> tuple[float, float] | None:
        """Root mean square distance from the track's mean, restored and reference; None without a face followed."""
        going_on = [track for track in self.tracks if track.n > 1]
        squares = sum((track.squares for track in going_on), self.squares)
        n = self.n + sum(track.n for track in going_on)
        if not n:
            return None
        restored, reference = np.sqrt(np.maximum(squares, 0) / n)
        return float(restored), float(reference)
