"""The HTML report of `gfp video`: before and after of each clip, playing together, and its faces over time.

Browsers play few of the files that people have, so the page shows small copies of both (H.264, without sound), which
lie in a folder beside it. It opens from disk and loads nothing from a network.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import jinja2
import numpy as np

from gfpcli.clip.mux import file_url
from gfpcli.clip.probe import probe
from gfpcli.clip.track import match_face
from gfpcli.errors import GfpError, InputError, OutputError, failure_line
from gfpcli.files.atomic import os_errors_as, write_bytes, write_with
from gfpcli.files.folders import REPORT_MARK
from gfpcli.photo.report import About, data_url, face_pair, link_to
from gfpcli.types import Detector, Face, Image, Outcome

VIDEO_TEMPLATE = "report.html"
COPY_EDGE, COPY_S = 640, 60  # longer side of a small copy, px, and its length at most
N_SAMPLES = 8  # frames at which faces are looked for
FACE_EDGE = 96  # px, longer side of a face in the strip


@dataclass(slots=True)
class FollowedFace:
    """A face over the sampled frames."""

    face: Face  # where it was seen last
    pairs: list[tuple[str, str] | None] = field(default_factory=list)  # data URLs before and after; None: not seen


@dataclass(frozen=True, slots=True)
class ClipReport:
    """A report that is being written."""

    page: Path
    shown: tuple[float, float]  # s of the inputs: where the outputs begin, and end; 0: with the input
    entries: list[dict[str, Any]] = field(default_factory=list)

    def add(self, outcome: Outcome, detector: Callable[[], Detector]) -> None:
        """Adds a clip, with its pictures where it has an output, also where some of its faces failed.

        Args:
            detector: loads what finds the faces that are shown.
        """
        words = {"input": outcome.source, "output": outcome.output}
        links = {what: link for what, word in words.items() if word and (link := link_to(word, self.page.parent))}
        entry: dict[str, Any] = {"record": outcome.to_json(), "links": links}
        entry |= {"copies": None, "tracks": [], "unshown": None}  # the last: why there are no copies
        if outcome.output and outcome.status != "previewed":
            try:
                copies = self._copies_of(Path(outcome.source), Path(outcome.output))
                entry["copies"] = [link_to(str(each), self.page.parent) for each in copies]
                entry["tracks"] = tracks_of(copies, detector())
            except (GfpError, av.FFmpegError) as error:  # the clip is made: the page tells why it is not shown
                entry["unshown"] = failure_line(outcome.source, error)
        self.entries.append(entry)

    def _copies_of(self, source: Path, output: Path) -> tuple[Path, Path]:
        """Small copies of both, of the same size. Raises GfpError."""
        if source.is_dir():
            raise InputError(f"{source}: no player for a folder of frames; the finished clip can be opened")
        folder = copies_folder(self.page)
        write_bytes(folder / REPORT_MARK, b"gfp video --report keeps small copies of clips here\n")
        height, width = probe(output).size
        zoom = min(1.0, COPY_EDGE / max(height, width))
        size = 2 * max(1, round(width * zoom / 2)), 2 * max(1, round(height * zoom / 2))
        names = [folder / f"{len(self.entries):04d}_{what}.mp4" for what in ("before", "after")]
        write_with(names[0], partial(copy_small, source, size=size, shown=self.shown))
        write_with(names[1], partial(copy_small, output, size=size))
        return names[0], names[1]


def copies_folder(page: Path) -> Path:
    """The folder of a page's small copies."""
    return page.with_name(f"{page.stem}_files")


def check_copies_folder(page: Path, *, is_forced: bool) -> None:
    """Raises OutputError where the folder is a link, or is there and gfp did not make it."""
    folder = copies_folder(page)
    with os_errors_as(OutputError, folder):
        if folder.is_symlink():
            raise OutputError(f"{folder}: is a link; remove it, nothing is written through it")
        if not is_forced and folder.exists() and not (folder / REPORT_MARK).is_file():
            raise OutputError(f"{folder}: is there and is not gfp's: choose another --report, or --force")


@contextmanager
def open_clip_report(
    page: Path, about: About, shown: tuple[float, float], n_inputs: int, *, is_forced: bool = False
) -> Iterator[ClipReport]:
    """A report that is written to `page` when the block ends, also by an error.

    Args:
        shown: as of `ClipReport`.
        n_inputs: of the run: the page tells how many of them a stopped run did not come to.

    Raises:
        OutputError: it cannot be written, or the folder of its copies is somebody else's.
    """
    check_copies_folder(page, is_forced=is_forced)
    began, report = time.time(), ClipReport(page, shown)
    try:
        yield report
    finally:
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True,
            lstrip_blocks=True, undefined=jinja2.StrictUndefined,
        )  # fmt: skip
        text = environment.get_template(VIDEO_TEMPLATE).render(
            about=asdict(about), entries=report.entries, n_missing=n_inputs - len(report.entries), copy_s=COPY_S,
            seconds=time.time() - began, began=time.strftime("%Y-%m-%d %H:%M", time.localtime(began)),
        )  # fmt: skip
        write_bytes(page, text.encode("utf-8", "replace"))  # file names may hold bytes that are no Unicode


def copy_small(path: Path, copy: Path, size: tuple[int, int], shown: tuple[float, float] = (0, 0)) -> None:
    """The first minute of a video, or of a part of it, small, as every browser plays it.

    Args:
        size: (width, height) of the copy, px.
        shown: s: where the part begins, and ends; 0: with the video.

    Raises:
        InputError: ffmpeg cannot read it.
    """
    start, end = shown
    length = min(COPY_S, end - start) if end else COPY_S
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-v", "error", "-y"]
    command += ["-ss", f"{start:f}", "-i", file_url(path), "-t", f"{length:f}", "-map", "0:v:0", "-an", "-sn"]
    command += ["-vf", f"scale={size[0]}:{size[1]},setsar=1"]
    command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p"]
    command += ["-movflags", "+faststart", "-f", "mp4", file_url(copy)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise InputError(f"{path}: cannot be shown in the report: {done.stderr.strip().splitlines()[-1:]}")


def tracks_of(copies: tuple[Path, Path], detect: Detector) -> list[list[tuple[str, str] | None]]:
    """A row for each face that is followed through the sampled frames: pictures before and after, or None."""
    followed: list[FollowedFace] = []
    for n_before, (before, after) in enumerate(zip(*map(sampled_frames, copies), strict=False)):
        free = list(followed)
        for face in detect([before])[0]:
            pair = tuple(map(data_url, face_pair((before, None), (after, None), face.box, FACE_EDGE)))
            match = match_face(face, [each.face for each in free])
            row = next((each for each in free if each.face is match), None)
            if row is None:
                row = FollowedFace(face, [None] * n_before)
                followed.append(row)
            else:
                free.remove(row)
            row.face = face
            row.pairs.append((pair[0], pair[1]))
        for row in followed:
            row.pairs += [None] * (n_before + 1 - len(row.pairs))
    return [row.pairs for row in followed]


def sampled_frames(path: Path) -> Sequence[Image]:
    """N_SAMPLES frames, evenly spread, as (H, W, 3) BGR; all of a shorter clip."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        step = Fraction(stream.duration or 1, 1) * (stream.time_base or 1) / N_SAMPLES
        found: list[Image] = []
        for frame in container.decode(stream):
            if frame.pts is not None and frame.pts * (stream.time_base or 1) >= step * len(found):
                found.append(np.asarray(frame.to_ndarray(format="bgr24"), np.uint8))
    return found[:N_SAMPLES]
