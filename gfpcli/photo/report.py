"""The HTML report of `gfp restore`: one page with before and after of each input, opened from disk.

The page holds thumbnails as WebP, and links to the full-size pictures where they are. Each outcome is written to an
unnamed temporary file at once, so that memory does not grow with the number of inputs.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias
from urllib.parse import quote

import cv2
import jinja2
import numpy as np

from gfpcli.errors import OutputError, UsageError
from gfpcli.files.atomic import os_errors_as, write_chunks
from gfpcli.files.storage import is_url
from gfpcli.photo.sheets import Layers, PlacedMask, SmallPicture, face_mask, face_pair, pair_of
from gfpcli.types import FaceRecord, Outcome, PlannedPhoto

SUFFIXES = (".html", ".htm")
TEMPLATE = "report.html"
STATUSES = ("restored", "no_face", "skipped", "failed")
EDGES = 640, 160  # px, longer side of a thumbnail and of a face
MANY, EDGES_OF_MANY = 200, (400, 128)  # more inputs than that get smaller ones
MASK_EDGE = 48  # px, longer side of a face's mask
QUALITY = 74  # of WebP
MARK = b"<title>gfp "  # of a page that is a report, of photos or of clips


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of one input in a report: pairs (before, after) of data URLs."""

    whole: tuple[str, str]
    sizes: tuple[tuple[int, int], tuple[int, int]]  # (width, height) before and after
    faces: tuple[tuple[str, str], ...]  # in the order of the outcome's faces
    masks: tuple[str, ...] = ()  # likewise: where each face's part shows the restored face; "" where that is not known


DrawPictures: TypeAlias = Callable[[Layers, Layers, Sequence[FaceRecord], Sequence[PlacedMask | None]], Pictures]
"""Makes the pictures of an input from before, after, its faces and their masks."""


@dataclass(frozen=True, slots=True)
class About:
    """What a report tells of the run itself."""

    version: str  # of gfpcli
    weights: Sequence[tuple[str, str, str]]  # purpose, file or name, licence
    settings: Sequence[tuple[str, str]]  # name, value
    review_below: float = 0.0  # identity score: faces below it are listed


@dataclass(frozen=True, slots=True)
class Report:
    """A report that is being written."""

    folder: Path  # of the page: links are relative to it
    spool: IO[str]  # temporary file, a JSON line for each input

    def add(
        self, outcome: Outcome, pictures: Pictures | None, entry: PlannedPhoto | None = None, *,
        is_planned: bool = False,
    ) -> None:  # fmt: skip
        """Adds an input.

        Args:
            entry: what a plan says, or would say, of it: with it the page's reader can edit its faces.
            is_planned: the run was given a plan with this entry: a plan saved from the page keeps it.

        Raises:
            OutputError: the disk is full.
        """
        words = {"input": outcome.source, "output": outcome.output}
        links = {what: link for what, word in words.items() if word and (link := link_to(word, self.folder))}
        shown = None
        if pictures:
            shown = {"whole": pictures.whole, "sizes": pictures.sizes, "faces": pictures.faces, "masks": pictures.masks}
        plan = {"name": entry.photo, "text": json.dumps(entry.to_json()), "is_given": is_planned} if entry else None
        facts = {"record": outcome.to_json(), "links": links, "shown": shown, "plan": plan}
        with os_errors_as(OutputError, f"the report in {self.folder}"):
            self.spool.write(json.dumps(facts) + "\n")


def check_report_path(path: Path, *, is_forced: bool = False) -> None:
    """Refuses what a report would replace, unless it is a report.

    Args:
        is_forced: any HTML file may be replaced.

    Raises:
        UsageError: `path` is not named like an HTML file, or is a folder.
        OutputError: another HTML file is there.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--report {path}: the name must end in .html")
    if path.is_dir():
        raise UsageError(f"--report {path}: this is a folder")
    if not path.exists():
        return
    with os_errors_as(OutputError, path), path.open("rb") as page:
        is_ours = MARK in page.read(2048)
    if not is_ours and not is_forced:
        raise OutputError(f"{path}: is there already and is no report of gfp: choose another --report, or --force")


@contextmanager
def open_report(
    path: Path, about: About, n_inputs: int, planned: Sequence[PlannedPhoto] = ()
) -> Iterator[Report]:
    """A report that is written to `path` when the block ends, also by an error: a run that is stopped has one too.

    Args:
        planned: all entries of the run's plan. Those of inputs that a stopped run did not reach are kept in the page,
            so that a plan saved from it is whole.

    Raises:
        OutputError: the folder or file cannot be written.
    """
    began = time.time()
    with os_errors_as(OutputError, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        spool = tempfile.TemporaryFile("w+", encoding="utf-8", dir=path.parent)  # noqa: SIM115  (closed below)
    with spool:
        try:
            yield Report(path.parent, spool)
        finally:
            write_chunks(path, _page_chunks(spool, about, n_inputs, began, planned))


def _page_chunks(
    spool: IO[str], about: About, n_inputs: int, began: float, planned: Sequence[PlannedPhoto]
) -> Iterator[bytes]:
    totals, to_review = _totals_of(_entries(spool)), _to_review(_entries(spool), about.review_below)
    told = {entry["plan"]["name"] for entry in _entries(spool) if entry["plan"]}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    stream = environment.get_template(TEMPLATE).generate(
        about=about,
        entries=_entries(spool),
        totals=totals,
        to_review=to_review,
        statuses=[status for status in STATUSES if totals[status]],
        rest=(json.dumps(each.to_json()) for each in planned if each.photo not in told),
        n_missing=n_inputs - totals["inputs"],
        began=time.strftime("%Y-%m-%d %H:%M", time.localtime(began)),
        seconds=time.time() - began,
    )
    for piece in stream:
        yield piece.encode("utf-8", "replace")  # file names may hold bytes that are no Unicode


def _entries(spool: IO[str]) -> Iterator[dict[str, Any]]:
    spool.seek(0)
    return map(json.loads, spool)


def _totals_of(entries: Iterator[dict[str, Any]]) -> Counter[str]:
    """Inputs by status, and faces found, restored and failed."""
    totals: Counter[str] = Counter()
    for entry in entries:
        record = entry["record"]
        totals["inputs"] += 1
        totals[record["status"]] += 1
        totals["errors"] += record["error"] is not None
        totals["editable"] += entry["plan"] is not None and bool(record["faces"])
        totals["faces"] += len(record["faces"])
        totals.update(f"faces_{face['status']}" for face in record["faces"])
    return totals


def _to_review(entries: Iterator[dict[str, Any]], below: float) -> list[dict[str, Any]]:
    """The faces whose identity score is below this, least first, each with its input and the number of that."""
    if below == 0:
        return []
    found = [
        {**face, "input": entry["record"]["input"], "number": number}
        for number, entry in enumerate(entries, 1)
        for face in entry["record"]["faces"]
        if face.get("identity", 1.0) < below
    ]
    return sorted(found, key=lambda face: face["identity"])


def pictures_for(n_inputs: int) -> DrawPictures:
    """The function that makes the pictures of a run's inputs: smaller ones where there are many inputs."""
    edges = EDGES if n_inputs <= MANY else EDGES_OF_MANY
    return lambda before, after, faces, masks: pictures_of(before, after, faces, edges, masks)


def pictures_of(
    before: Layers, after: Layers, faces: Sequence[FaceRecord], edges: tuple[int, int] = EDGES,
    masks: Sequence[PlacedMask | None] = (),
) -> Pictures:  # fmt: skip
    """A pair of thumbnails, and a pair and a mask for each face.

    Args:
        faces: boxes in pixels of `before`.
        edges: px, the longer side of a thumbnail and of a face, at most.
        masks: of the faces, in their order; None, or none at all, where they are not known.
    """
    whole = pair_of(before, after, edges[0])
    pairs = [face_pair(before, after, np.asarray(face.box, np.float64), edges[1]) for face in faces]
    sizes = [(picture.shape[1], picture.shape[0]) for picture, _ in (before, after)]
    boxes = [np.asarray(face.box, np.float64) for face in faces]
    known = zip(masks, boxes, strict=False)
    shapes = [data_url(face_mask(mask, box, sizes[0], MASK_EDGE)) if mask else "" for mask, box in known]
    return Pictures(_urls_of(whole), (sizes[0], sizes[1]), tuple(map(_urls_of, pairs)), tuple(shapes))


def _urls_of(pair: tuple[SmallPicture, SmallPicture]) -> tuple[str, str]:
    return data_url(pair[0]), data_url(pair[1])


def data_url(picture: SmallPicture) -> str:
    """A data URL with the picture as WebP."""
    data = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1].tobytes()
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"


def link_to(word: str, folder: Path) -> str | None:
    """A link from a page in `folder` to a path or URL; None for URLs that browsers do not open, such as s3://."""
    if not is_url(word):
        return url_of(Path(word), folder)
    return quote(word, safe="%/:=&?~#+!$,;'@()*[]") if word.lower().startswith(("http://", "https://")) else None


def url_of(path: Path, folder: Path) -> str:
    """A percent-encoded link from a page in `folder` to `path`, relative where both are on one drive."""
    target = path.parent.resolve() / path.name  # where `path` is a symbolic link: to itself, not to its target
    try:
        relative = Path(os.path.relpath(target, folder.resolve()))
    except ValueError:  # another drive
        return target.as_uri()
    return quote(os.fsencode(relative.as_posix()))
