"""What a run keeps besides its results: the pictures `--save` asks for, and what a report tells of the run."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

import cv2
import numpy as np

from gfpcli import __version__
from gfpcli.files.atomic import write_bytes
from gfpcli.files.jobs import Job
from gfpcli.files.locking import check_inside
from gfpcli.options import RestoreOptions
from gfpcli.photo.report import About
from gfpcli.photo.sheets import compare_sheet
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
    return About(__version__, weights, [each for each in settings if each[0] not in UNTOLD])


def _words_of(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) or "nothing" if isinstance(value, tuple) else str(value) or "none"


def save_extras(root: Path, job: Job, result: Restored, options: RestoreOptions) -> None:
    """What `--save` asks for: a sheet of the whole picture as JPEG, one PNG for each face. Raises OutputError."""
    target = job.target.relative_to(root)
    stem = target.with_name(target.stem + target.suffix.replace(".", "_"))
    for kind in options.save:
        check_inside(root, root / kind / stem)
        if kind == "compare":
            sheet = compare_sheet((result.frame.image, result.frame.alpha), (result.image, result.alpha))
            data = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, SHEET_QUALITY])[1]
            write_bytes(root / kind / f"{stem}.jpg", data.tobytes())
            continue
        for index, picture in enumerate(extras_of(kind, result)):
            write_bytes(root / kind / f"{stem}_{index:02d}.png", cv2.imencode(".png", picture)[1].tobytes())


def extras_of(kind: str, result: Restored) -> list[Image]:
    """The pictures of one kind, in the order of the faces."""
    if kind == "crops":
        return [crop.image for crop in result.crops]
    if kind == "faces":
        return list(result.faces)
    return [np.asarray(np.round(mask * 255), np.uint8) for mask in result.masks]
