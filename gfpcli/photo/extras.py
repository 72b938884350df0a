"""What a run keeps besides its results: the pictures `--save` asks for, and what a report tells of the run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, fields
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli import __version__
from gfpcli.files.atomic import PendingOutput, prepare_output
from gfpcli.files.jobs import Job
from gfpcli.files.locking import check_inside
from gfpcli.files.storage import FileFacts
from gfpcli.options import RestoreOptions
from gfpcli.photo.report import About
from gfpcli.photo.sheets import compare_sheet
from gfpcli.pipeline.drawn import face_map, frame_map
from gfpcli.types import Image, Restored
from gfpcli.weights.cache import BUILTINS, licence_of
from gfpcli.weights.choose import Parts

SHEET_QUALITY = 92  # of JPEG
UNTOLD = ("force", "dry-run", "fail-fast", "quiet", "json", "report")  # options that a report leaves out


def about(options: RestoreOptions, parts: Parts) -> About:
    """What a report tells of a run's settings and weights."""
    given = {each.name: getattr(parts, each.name) for each in fields(parts)}
    files = {what: path for what, path in given.items() if isinstance(path, Path)}
    weights = [
        (what, f"built-in {path.stem}" if path in BUILTINS.values() else str(path), licence_of(path))
        for what, path in files.items()
    ]
    settings = [(name.replace("_", "-"), _words_of(value)) for name, value in asdict(options).items()]
    return About(__version__, weights, [each for each in settings if each[0] not in UNTOLD], options.review_below)


def _words_of(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) or "nothing" if isinstance(value, tuple) else str(value) or "none"


def prepare_extras(
    root: Path, job: Job, result: Restored, options: RestoreOptions, facts: FileFacts, pending: ExitStack
) -> Iterator[tuple[PendingOutput, str]]:
    """Writes what `--save` asks for under hidden names: a sheet of the whole picture as JPEG, a PNG for each face.

    Of the map, also a PNG of the whole picture.

    Args:
        facts: permissions and dates that they get.
        pending: discards them when it is closed.

    Yields:
        Each with the SHA-256 of its content.

    Raises:
        OutputError: one cannot be written.
    """
    target = job.target.relative_to(root)
    stem = target.with_name(target.stem + target.suffix.replace(".", "_"))
    for kind in options.save:
        check_inside(root, root / kind / stem)
        for ending, data in _files_of(kind, result):
            output = prepare_output(root / kind / f"{stem}{ending}", [data], facts)
            pending.callback(output.discard)
            yield output, hashlib.sha256(data).hexdigest()


def _files_of(kind: str, result: Restored) -> Iterator[tuple[str, bytes]]:
    """The ends of the names, and the bytes."""
    if kind == "compare":
        sheet = compare_sheet((result.frame.image, result.frame.alpha), (result.image, result.alpha))
        yield ".jpg", cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, SHEET_QUALITY])[1].tobytes()
        return
    if kind == "map":
        size = (result.image.shape[0], result.image.shape[1])
        whole = frame_map(face_maps(result), result.crops, size, result.frame.image)
        yield ".png", cv2.imencode(".png", whole)[1].tobytes()
    for index, picture in enumerate(face_pictures(kind, result)):
        yield f"_{index:02d}.png", cv2.imencode(".png", picture)[1].tobytes()


def face_maps(result: Restored) -> list[NDArray[np.uint8]]:
    """How much was drawn of each face (`face_map`), in the order of the faces."""
    strengths = [each.strength or 0.0 for each in result.outcomes if each.status in ("restored", "unchanged", "kept")]
    each = zip(result.crops, result.faces, result.masks, strengths, strict=True)
    return [face_map(crop, face, mask, strength) for crop, face, mask, strength in each]


def face_pictures(kind: str, result: Restored) -> list[Image] | list[NDArray[np.uint8]]:
    """The pictures of one kind (crops, faces, masks or map), in the order of the faces."""
    if kind == "map":
        return face_maps(result)
    if kind == "crops":
        return [crop.image for crop in result.crops]
    if kind == "faces":
        return list(result.faces)
    return [np.asarray(np.round(mask * 255), np.uint8) for mask in result.masks]
