"""The persons that `--only` and `--not` show: one face from each photo."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gfpcli.errors import InputError
from gfpcli.files.storage import place_of
from gfpcli.options import RestoreOptions
from gfpcli.photo.codec import decode_frame, read_file
from gfpcli.pipeline.align import cut_crop
from gfpcli.pipeline.restorer import Restorer
from gfpcli.pipeline.who import ALIKE, PersonFilter, product_at
from gfpcli.types import Detector, Identifier
from gfpcli.weights.build import load_detector_and_identifier
from gfpcli.weights.choose import Parts

REFERENCE_SIZE = 256  # px of the crop that is identified


@dataclass(frozen=True, slots=True, eq=False)
class References:
    """The faces that were shown; sent to workers as they are."""

    wanted: NDArray[np.float32]  # (N, D) unit vectors, of `--only`
    unwanted: NDArray[np.float32]  # (M, D), of `--not`
    least: float  # product of two faces of one person
    digest: str  # of the photos' content

    def applied_to(self, restorer: Restorer) -> Restorer:
        """The restorer, which then leaves other persons alone."""
        if restorer.identifier is None:
            return restorer
        persons = PersonFilter(restorer.identifier, self.least, self.wanted, self.unwanted)
        return replace(restorer, persons=persons)

    def settings_with(self, settings: str) -> str:
        """The settings of a run's outputs: they change with the photos that are shown."""
        return hashlib.sha256(f"{settings} {self.digest}".encode()).hexdigest()[: len(settings)]


def read_references(options: RestoreOptions, parts: Parts) -> References | None:
    """None where no person is shown.

    Raises:
        InputError: a photo that cannot be read, shows no face, or several.
        CheckpointError: the detector or the identity network cannot be loaded.
    """
    if not (options.only or options.without):
        return None
    detector, identifier, scale = load_detector_and_identifier(options, parts)
    digest = hashlib.sha256()
    vectors = []
    for flag, words in (("only", options.only), ("not", options.without)):
        found = [_vector_of(f"--{flag} {word}", word, detector, identifier) for word in words]
        digest.update("".join([flag, *(each for _, each in found)]).encode())
        vectors.append(_stacked([vector for vector, _ in found]))
    return References(vectors[0], vectors[1], product_at(scale, ALIKE), digest.hexdigest())


def _vector_of(
    told: str, word: str, detector: Detector, identifier: Identifier
) -> tuple[NDArray[np.float32], str]:
    """The vector (D,) of the one face of a photo, and the SHA-256 of its content. Raises InputError."""
    data = read_file(place_of(word))
    frame = decode_frame(data, word, 0)
    (faces,) = detector([frame.image])
    if not faces:
        raise InputError(f"{told}: shows no face")
    if len(faces) > 1:
        raise InputError(f"{told}: shows {len(faces)} faces: cut it down to the one that is meant")
    vector = identifier([cut_crop(frame.image, faces[0], REFERENCE_SIZE).image])[0]
    return vector, hashlib.sha256(data).hexdigest()


def _stacked(vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.stack(vectors) if vectors else np.zeros((0, 1), np.float32)
