"""gfpcli in Python: a picture in, by its path or as an array, and the restored one out with all that is known of it.

    from gfpcli import load_restorer, restore_image

    restorer = load_restorer()
    result = restore_image("old.jpg", restorer)
    result.save("new.jpg")

Arrays are BGR, as OpenCV has them; `is_rgb=True` takes RGB, and `RestoredImage.rgb` gives it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.errors import InputError, OutputError
from gfpcli.files.atomic import write_bytes
from gfpcli.files.formats import SUFFIX_FORMATS
from gfpcli.photo.batch import face_records
from gfpcli.photo.carried import Carried
from gfpcli.photo.codec import Photo, read_photo
from gfpcli.photo.encode import encode_photo
from gfpcli.photo.extras import face_maps
from gfpcli.photo.label import Label, label_of
from gfpcli.pipeline.drawn import frame_map
from gfpcli.pipeline.restorer import Restorer
from gfpcli.types import FaceRecord, Frame, Image, Mask, Restored

ARRAY = "array"  # the name of a picture that is no file, for messages


@dataclass(frozen=True, slots=True, eq=False)
class RestoredFace:
    """One face that was found; the arrays are None where it was left alone."""

    record: FaceRecord  # box, landmarks, score, status: in pixels of the input, as `--json` has them
    crop: NDArray[np.uint8] | None = None  # (S, S, 3) BGR: the input's face, upright
    restored: NDArray[np.uint8] | None = None  # (S, S, 3) BGR: what the network made of it
    mask: Mask | None = None  # (S, S) float32: 0 keeps the photo, 1 takes the restored face
    map: NDArray[np.uint8] | None = None  # (S, S): how much was drawn, as `--save map`


@dataclass(frozen=True, slots=True, eq=False)
class RestoredImage:
    """A restored picture. Arrays are not to be written to."""

    image: Image  # (H, W, 3) BGR, upright, uint8 or uint16 as the input
    alpha: NDArray[np.uint8] | NDArray[np.uint16] | None  # (H, W), of the same depth
    faces: tuple[RestoredFace, ...]  # every face that was found, the surest first
    map: NDArray[np.uint8]  # (H, W): how much was drawn, 0 outside of the faces
    photo: Photo  # the input, with the metadata that `save` keeps
    label: Label | None  # None for a restorer that names no files

    @property
    def rgb(self) -> Image:
        """(H, W, 3) RGB, a copy."""
        return np.ascontiguousarray(self.image[..., ::-1])  # type: ignore[return-value]

    @property
    def n_restored(self) -> int:
        """Faces that the network drew."""
        return sum(face.record.status == "restored" for face in self.faces)

    def save(
        self, path: str | Path, *, quality: str = "auto", keeps_metadata: bool = True, has_label: bool = True
    ) -> tuple[str, ...]:
        """Writes the picture in the format of the path's suffix, whole or not at all.

        Args:
            quality: of lossy formats, 1 to 100, or `auto`: the input's.
            keeps_metadata: EXIF, XMP, IPTC, ICC profile and resolution of the input's file.
            has_label: say in the file's XMP that a network drew faces, and which one.

        Returns:
            A line for each thing of the input that the file cannot hold.

        Raises:
            OutputError: a suffix in which no photo is written, or the file cannot be written.
        """
        target = Path(path)
        kind = SUFFIX_FORMATS.get(target.suffix.lower())
        if kind is None:
            raise OutputError(f"{target}: choose one of {', '.join(SUFFIX_FORMATS)}")
        encoded = encode_photo(
            self.photo, self.image, self.alpha, kind, quality=quality, strip=not keeps_metadata,
            label=self.label if has_label else None,
        )  # fmt: skip
        write_bytes(target, encoded.data)
        return encoded.notes


def restore_image(
    image: str | Path | NDArray[np.uint8] | NDArray[np.uint16], restorer: Restorer, *, is_rgb: bool = False
) -> RestoredImage:
    """Restores the faces of one picture.

    Args:
        image: the path of a photo, which is turned upright as its EXIF says; or an array of 0..255 (uint8) or 0..65535
            (uint16): (H, W) gray, (H, W, 3) BGR or (H, W, 4) BGR with alpha.
        restorer: of `gfpcli.load_restorer`; its options say which faces, how strongly, and the scale.
        is_rgb: the array's colours are RGB.

    Raises:
        InputError: no picture, or an array of another shape or depth.
        GfpError: it cannot be finished, for instance for lack of memory.
    """
    photo = read_photo(Path(image), 0) if isinstance(image, str | Path) else _photo_of_array(image, is_rgb=is_rgb)
    result = restorer.restore(photo.frame)
    label = None
    if restorer.files:
        named = label_of(restorer.files, restorer.options)
        n_drawn = sum(each.status == "restored" for each in result.outcomes) if named.draws_faces else 0
        label = replace(named, n_faces=n_drawn)
    maps = face_maps(result)
    height, width = result.image.shape[:2]
    whole = frame_map(maps, result.crops, (height, width), result.frame.image)
    return RestoredImage(result.image, result.alpha, tuple(_faces_of(result, maps)), whole, photo, label)


def _faces_of(result: Restored, maps: list[NDArray[np.uint8]]) -> list[RestoredFace]:
    """Each face that was found, with its pictures where it was cut out."""
    places = {id(crop.face): place for place, crop in enumerate(result.crops)}
    faces = []
    for found, record in zip(result.found, face_records(result), strict=True):
        place = places.get(id(found))
        if place is None:
            faces.append(RestoredFace(record))
        else:
            crop, face, mask = result.crops[place].image, result.faces[place], result.masks[place]
            faces.append(RestoredFace(record, crop, face, mask, maps[place]))
    return faces


def _photo_of_array(image: NDArray[np.uint8] | NDArray[np.uint16], *, is_rgb: bool) -> Photo:
    """An array as a photo without a file. Raises InputError."""
    is_known = isinstance(image, np.ndarray) and image.dtype in (np.uint8, np.uint16) and image.size > 0
    if not is_known or not (image.ndim == 2 or image.ndim == 3 and image.shape[2] in (3, 4)):
        raise InputError("an array must be uint8 or uint16 and of the shape (H, W), (H, W, 3) or (H, W, 4)")
    is_gray = image.ndim == 2
    colour = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if is_gray else image[..., :3]
    alpha = image[..., 3].copy() if not is_gray and image.shape[2] == 4 else None
    upright = np.ascontiguousarray(colour[..., ::-1] if is_rgb else colour)
    bits = 16 if image.dtype == np.uint16 else 8
    frame = Frame(0, upright, ARRAY, alpha=alpha, is_gray=is_gray)  # type: ignore[arg-type]
    return Photo(frame, "PNG", Carried(), bits=bits)
