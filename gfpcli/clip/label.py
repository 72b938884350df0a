"""The label of a finished clip: XMP where the container has a place for it, tags in Matroska and WebM.

MP4 and QuickTime hold an XMP packet in a top-level `uuid` box (XMP specification part 3, 1.2.7.1), which goes behind
all others, so that no offset of the file changes. Matroska has no place for XMP; its tags hold the same facts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from gfpcli.clip.probe import open_video
from gfpcli.errors import InputError, OutputError
from gfpcli.files.atomic import os_errors_as
from gfpcli.files.formats import CONTAINERS
from gfpcli.photo.label import DRAWN_IN, Label, labelled, read_label
from gfpcli.photo.xmp import MAX_PACKET_BYTES

XMP_UUID = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")
XMP_CONTAINERS = ("mp4", "mov")
LABEL_TAG, SOURCE_TAG = "GFP_LABEL", "DIGITAL_SOURCE_TYPE"
MAX_TAG_CHARS = 1 << 16


def label_tags(label: Label | None, container: str) -> dict[str, str]:
    """The tags that say a label where no XMP can: JSON of it, and the IPTC's word for what is drawn.

    Where XMP can, one that the source brings along is emptied: it tells of an earlier run.
    """
    if label is None:
        return {}
    if container in XMP_CONTAINERS:
        return {LABEL_TAG: ""}
    return {LABEL_TAG: json.dumps(label.to_json()), **({SOURCE_TAG: DRAWN_IN} if label.is_drawn else {})}


def write_label(path: Path, label: Label | None, packet: bytes | None) -> None:
    """Adds the label, and what XMP the source had, to a finished file, and reads the label back.

    Args:
        label: None where none is wanted; in Matroska it is there already.
        packet: the source's XMP that is to be kept.

    Raises:
        OutputError: it cannot be written, or does not come back.
    """
    content = labelled(packet, label) if label else packet
    if content and CONTAINERS[path.suffix.lower()] in XMP_CONTAINERS:
        with os_errors_as(OutputError, path), path.open("ab") as file:
            file.write((24 + len(content)).to_bytes(4, "big") + b"uuid" + XMP_UUID + content)
    if label and label_of_clip(path) != label:
        raise OutputError(f"{path.name}: its label does not come back when it is read")


def label_of_clip(path: Path) -> Label | None:
    """The label in a video file; None where it has none. Raises InputError for a file that is damaged or cut short."""
    if is_cut_short(path):
        raise InputError(f"{path}: cut short: a part of it ends behind the end of the file")
    if packet := xmp_in(path):
        return read_label(packet)
    with open_video(path) as container:
        return _label_in_tag(container.metadata.get(LABEL_TAG, ""))


def is_cut_short(path: Path) -> bool:
    """Whether an MP4 or QuickTime file lacks its end; False for others. Raises InputError where it cannot be read."""
    with os_errors_as(InputError, path), path.open("rb") as file:
        is_boxed = file.read(8)[4:] == b"ftyp"
        return is_boxed and max((end for _, _, end in _top_boxes(path)), default=0) + 8 <= path.stat().st_size


def xmp_in(path: Path) -> bytes | None:
    """The XMP packet of an MP4 or QuickTime file; None in others. Raises InputError where it cannot be read."""
    with os_errors_as(InputError, path), path.open("rb") as file:
        if file.read(8)[4:] != b"ftyp":
            return None
        for kind, start, end in _top_boxes(path):
            if kind == b"uuid" and 16 < end - start <= MAX_PACKET_BYTES:
                file.seek(start)
                if file.read(16) == XMP_UUID:
                    return file.read(end - start - 16)
    return None


def _top_boxes(path: Path) -> Iterator[tuple[bytes, int, int]]:
    """(type, start and end of the content) of the top-level boxes; ends where they are damaged. Raises OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        at = 0
        while at + 8 <= size:
            file.seek(at)
            head = file.read(16)
            n_bytes, n_head = int.from_bytes(head[:4], "big"), 8
            if n_bytes == 1:
                n_bytes, n_head = int.from_bytes(head[8:], "big"), 16
            n_bytes = n_bytes or size - at
            if n_bytes < n_head or at + n_bytes > size:
                return
            yield head[4:8], at + n_head, at + n_bytes
            at += n_bytes


def _label_in_tag(text: str) -> Label | None:
    """The label in a tag of Matroska; None where it is none of ours."""
    try:
        facts = json.loads(text[:MAX_TAG_CHARS])
        label = Label(
            facts["version"], facts["model"], facts["model_sha256"], facts["strength"], facts["background"] or "",
            facts["faces_drawn"],
        )  # fmt: skip
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    words = (label.version, label.model, label.model_sha256, label.strength, label.background)
    return label if all(isinstance(each, str) for each in words) and type(label.n_faces) is int else None
