"""Plans: which faces a run restores and how strongly, as a JSON file that a person may edit.

`gfp faces` and the report write plans, `gfp restore --plan` obeys them. The file is one object::

    {"gfp_plan": 1, "photos": [
      {"photo": "1950/wedding.jpg", "sha256": "...", "width": 1200, "height": 800, "faces": [
        {"box": [410.2, 96.5, 522.0, 240.1], "landmarks": [[440.1, 150.3], ...], "score": 0.9981, "person": 3,
         "blur": 2.1, "planned_strength": 0.85, "strength": "auto", "action": "restore"}]}]}

`photo` is the path relative to the input folder, `sha256` that of the file, width and height those of the upright
picture. A person may change `action` (restore or skip), `strength` (0 to 1; "auto" is what the run decides), `box`,
`landmarks` (eyes, nose, mouth corners, image left first), and add faces: a box is enough, the landmarks are then looked
for in it. `score`, `person`, `blur` and `planned_strength` tell what was measured and change no output. A photo that
the plan does not name is restored as without a plan.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import hypot, isfinite
from pathlib import Path
from typing import Any, NoReturn, get_args

from gfpcli.errors import InputError, UsageError
from gfpcli.files.atomic import os_errors_as
from gfpcli.files.jobs import Job
from gfpcli.files.storage import store_of
from gfpcli.types import FaceAction, FaceRecord, Frame, PlannedFace, PlannedPhoto

VERSION_KEY, PLAN_VERSION = "gfp_plan", 1
MOST_PLAN_BYTES = 1 << 30
N_LANDMARKS = 5
LEAST_BOX = 2.0  # px: a smaller box holds nothing
MIRRORED_BELOW = -0.5  # sine of the angle from the eyes' line down to the mouth: below it the two sides were swapped
SHA256_DIGITS = 64
PHOTO_KEYS = ("photo", "sha256", "width", "height", "faces")
FACE_KEYS = ("box", "landmarks", "score", "person", "blur", "planned_strength", "strength", "action")


def plan_text(photos: Iterable[PlannedPhoto]) -> str:
    """The content of a plan's file: a line for each face, so that a person finds it."""
    return f'{{"{VERSION_KEY}": {PLAN_VERSION}, "photos": [{",".join(map(_photo_text, photos))}\n]}}\n'


def _photo_text(photo: PlannedPhoto) -> str:
    facts = photo.to_json()
    faces = facts.pop("faces")
    head = _json_text(facts).removesuffix("}")
    lines = ",".join("\n  " + _json_text(face) for face in faces)
    return f'\n {head}, "faces": [{lines}]}}'


def _json_text(value: Mapping[str, Any]) -> str:
    """As it is read best; a name that is no Unicode as escapes, from which it can be read back."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def read_plan(path: Path) -> dict[str, PlannedPhoto]:
    """The photos of a plan by their names.

    Raises:
        InputError: the file cannot be read.
        UsageError: it is no plan, or one that says something impossible; the line names the place.
    """
    with os_errors_as(InputError, path):
        if store_of(path).size(path) > MOST_PLAN_BYTES:
            raise UsageError(f"{path}: is larger than any plan")
        data = store_of(path).read(path)
    return parse_plan(data, str(path))


def parse_plan(data: bytes, name: str) -> dict[str, PlannedPhoto]:
    """As `read_plan`, from the file's bytes; `name` is for messages."""
    try:
        content = json.loads(data, object_pairs_hook=_without_twins, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name}: is no plan: not JSON ({error})") from error
    whole = _Place(name)
    if not isinstance(content, dict) or VERSION_KEY not in content:
        whole.refuse(f'is no plan of gfp: "{VERSION_KEY}" is missing')
    version = content[VERSION_KEY]
    if type(version) is not int or version != PLAN_VERSION:
        whole.refuse(f"is a plan of version {_shown(version)}; this gfp reads version {PLAN_VERSION}: make it again")
    whole.check_keys(content, (VERSION_KEY, "photos"), ("photos",))
    photos: dict[str, PlannedPhoto] = {}
    for i, each in enumerate(whole.listed(content["photos"], "photos")):
        photo = _photo_of(each, _Place(name, f"photo {i + 1}"))
        if photo.photo in photos:
            whole.refuse(f"has two entries for {photo.photo!r}")
        photos[photo.photo] = photo
    return photos


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's values. Raises ValueError where a key stands there twice, of which Python takes the last."""
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"an object has two {next(key for key in keys if keys.count(key) > 1)!r}")
    return values


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


class _Place:
    """Where in a plan a value stands, for the line that refuses it."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def refuse(self, reason: str) -> NoReturn:
        """Raises UsageError."""
        raise UsageError(f"{', '.join(self.names)}: {reason}")

    def check_keys(self, value: Any, known: Sequence[str], needed: Sequence[str]) -> None:
        """Refuses what is no object, lacks a key, or has an unknown one."""
        if not isinstance(value, dict):
            self.refuse(f"must be an object, not {_shown(value)}")
        for key in value:
            if key not in known:
                self.refuse(f"has no {key!r}: choose of {', '.join(known)}")
        for key in needed:
            if key not in value:
                self.refuse(f"{key!r} is missing")

    def listed(self, value: Any, key: str) -> list[Any]:
        """A list."""
        if not isinstance(value, list):
            self.refuse(f"{key} must be a list, not {_shown(value)}")
        return value

    def number(self, value: Any, key: str, low: float, high: float) -> float:
        """A number from low to high."""
        if type(value) not in (int, float) or not low <= value <= high:
            self.refuse(f"{key} must be a number from {low:g} to {high:g}, not {_shown(value)}")
        return float(value)

    def numbers(self, value: Any, key: str, count: int) -> tuple[float, ...]:
        """So many finite numbers."""
        is_good = isinstance(value, list) and len(value) == count and all(map(_is_finite, value))
        if not is_good:
            self.refuse(f"{key} must be {count} numbers, not {_shown(value)}")
        return tuple(map(float, value))


def _is_finite(value: Any) -> bool:
    return type(value) is float and isfinite(value) or type(value) is int and abs(value) < 1 << 53


def _shown(value: Any) -> str:
    """A value for a message, cut short."""
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _photo_of(value: Any, place: _Place) -> PlannedPhoto:
    """Raises UsageError."""
    place.check_keys(value, PHOTO_KEYS, PHOTO_KEYS)
    name, digest = value["photo"], value["sha256"]
    if not isinstance(name, str) or not name:
        place.refuse(f"photo must be a path relative to the input folder, not {_shown(name)}")
    place = _Place(*place.names, repr(name))
    if not isinstance(digest, str) or len(digest) != SHA256_DIGITS or set(digest) - set("0123456789abcdef"):
        place.refuse(f"sha256 must be {SHA256_DIGITS} hex digits, not {_shown(digest)}")
    sides = [value[key] for key in ("width", "height")]
    if any(type(side) is not int or not 0 < side < 1 << 31 for side in sides):
        place.refuse(f"width and height must be whole numbers above 0, not {_shown(sides)}")
    photo = PlannedPhoto(name, digest, sides[0], sides[1])
    faces = [
        _face_of(each, photo, _Place(*place.names, f"face {i + 1}"))
        for i, each in enumerate(place.listed(value["faces"], "faces"))
    ]
    boxes = [face.box for face in faces]
    if twice := next((i for i, box in enumerate(boxes) if box in boxes[:i]), None):
        place.refuse(f"face {boxes.index(boxes[twice]) + 1} and face {twice + 1} have the same box")
    return replace(photo, faces=tuple(faces))


def _face_of(value: Any, photo: PlannedPhoto, place: _Place) -> PlannedFace:
    """Raises UsageError."""
    place.check_keys(value, FACE_KEYS, ("box",))
    action, strength, person = value.get("action", "restore"), value.get("strength", "auto"), value.get("person")
    if action not in get_args(FaceAction):
        place.refuse(f"action must be {' or '.join(get_args(FaceAction))}, not {_shown(action)}")
    if isinstance(strength, str) and strength != "auto":
        place.refuse(f"strength must be auto or a number from 0 to 1, not {_shown(strength)}")
    if person is not None and (type(person) is not int or person < 1):
        place.refuse(f"person must be a whole number above 0, not {_shown(person)}")

    def optional(key: str, high: float) -> float | None:
        return None if value.get(key) is None else place.number(value[key], key, 0, high)

    return PlannedFace(
        _box_of(value["box"], photo, place), _landmarks_of(value.get("landmarks"), photo, place),
        place.number(value.get("score", 1.0), "score", 0, 1), action,
        None if strength == "auto" else place.number(strength, "strength", 0, 1),
        person, optional("blur", 1e6), optional("planned_strength", 1),
    )  # fmt: skip


def _box_of(value: Any, photo: PlannedPhoto, place: _Place) -> tuple[float, ...]:
    """Raises UsageError."""
    box = place.numbers(value, "box", 4)
    x0, y0, x1, y1 = box
    if x0 >= x1 or y0 >= y1:
        place.refuse(f"box {_shown(value)} is empty: it must be left, top, right, bottom")
    if min(x1 - x0, y1 - y0) < LEAST_BOX:
        place.refuse(f"box {_shown(value)} is smaller than {LEAST_BOX:g} px")
    if x1 <= 0 or y1 <= 0 or x0 >= photo.width or y0 >= photo.height:
        place.refuse(f"box {_shown(value)} lies outside the picture of {photo.width}x{photo.height} px")
    if x1 - x0 > 2 * photo.width or y1 - y0 > 2 * photo.height:
        place.refuse(f"box {_shown(value)} is larger than the picture of {photo.width}x{photo.height} px")
    return box


def _landmarks_of(value: Any, photo: PlannedPhoto, place: _Place) -> tuple[tuple[float, ...], ...]:
    """Raises UsageError."""
    if value is None:
        return ()
    points = place.listed(value, "landmarks")
    if len(points) != N_LANDMARKS:
        place.refuse(f"landmarks must be {N_LANDMARKS} points (eyes, nose, mouth corners), not {len(points)}")
    landmarks = tuple(place.numbers(point, "each of the landmarks", 2) for point in points)
    width, height = photo.width, photo.height
    for x, y in landmarks:
        if not (-width <= x <= 2 * width and -height <= y <= 2 * height):
            place.refuse(f"landmark {_shown([x, y])} lies far outside the picture of {width}x{height} px")
    if _turn_of(landmarks) < MIRRORED_BELOW:
        place.refuse("landmarks are mirrored: the eye and the mouth corner at the left of an upright face come first")
    return landmarks


def _turn_of(landmarks: tuple[tuple[float, ...], ...]) -> float:
    """The sine of the angle from the eyes' line to the mouth, about 1 for any face; 0 where points fall together."""
    left, right, _, *corners = landmarks
    eyes = right[0] - left[0], right[1] - left[1]
    down = [(corners[0][i] + corners[1][i] - left[i] - right[i]) / 2 for i in (0, 1)]
    return (eyes[0] * down[1] - eyes[1] * down[0]) / max(hypot(*eyes) * hypot(*down), 1e-9)


def with_plan(jobs: Sequence[Job], plan: Mapping[str, PlannedPhoto], name: str) -> list[Job]:
    """The jobs with their entries of a plan.

    Raises:
        UsageError: the plan names a photo that is not among the inputs.
    """
    known = {job.name for job in jobs}
    if unknown := [photo for photo in plan if photo not in known]:
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise UsageError(f"{name}: {unknown[0]!r}{more} is not among the inputs: give the folder the plan was made of")
    return [replace(job, planned=plan.get(job.name)) for job in jobs]


def check_unchanged(job: Job, sha256: str) -> None:
    """Raises InputError where a photo is not the one that its entry of the plan was made of."""
    if job.planned and job.planned.sha256 != sha256:
        raise InputError(f"{job.source}: was changed since the plan was made: make the plan again")


def frame_as_planned(frame: Frame, job: Job) -> Frame:
    """A photo's picture with its faces as the plan says. Raises InputError where it has another size than there."""
    planned = job.planned
    if planned is None:
        return frame
    height, width = frame.image.shape[:2]
    if (planned.width, planned.height) != (width, height):
        told = f"{planned.width}x{planned.height} px by the plan, but {width}x{height} px in truth"
        raise InputError(f"{job.source}: is {told}")
    return replace(frame, planned=planned.faces)


def entry_of_records(name: str, sha256: str, frame: Frame, faces: Iterable[FaceRecord]) -> PlannedPhoto:
    """The entry that asks for what was done to the faces of a photo; `frame` is its upright picture."""
    height, width = frame.image.shape[:2]
    planned = [
        PlannedFace(face.box, face.landmarks, face.score, "skip" if face.status == "skipped" else "restore")
        for face in faces
    ]
    return PlannedPhoto(name, sha256, width, height, tuple(planned))


def settings_as_planned(settings: str, planned: PlannedPhoto | None) -> str:
    """The settings of a photo's output: they change with what its entry of a plan asks for."""
    if planned is None:
        return settings
    asked = [[face.box, face.landmarks, face.action, face.strength] for face in planned.faces]
    return hashlib.sha256(f"{settings} {json.dumps(asked)}".encode()).hexdigest()[: len(settings)]


