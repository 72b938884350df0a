"""What kinds of files there are. A new kind is one row of a table; all else here follows from the tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """A format of photos."""

    name: str  # Pillow's
    suffixes: tuple[str, ...] = ()  # by which it is told without a look inside; outputs get the first
    is_written: bool = True  # else its outputs are PNG
    variants: tuple[str, ...] = ()  # other names that Pillow's reader of this format gives


# photo formats with a sure signature. Others of Pillow's start programs (EPS) or take any bytes for a picture (TGA)
PICTURE_FORMATS = (
    PictureFormat("JPEG", (".jpg", ".jpeg", ".jfif", ".jpe"), variants=("MPO",)),  # MPO: several pictures
    PictureFormat("PNG", (".png",)),
    PictureFormat("WEBP", (".webp",)),
    PictureFormat("TIFF", (".tif", ".tiff")),
    PictureFormat("BMP", (".bmp",)),
    PictureFormat("GIF", (".gif",), is_written=False),
    PictureFormat("PPM", is_written=False),
    PictureFormat("JPEG2000", is_written=False),
    PictureFormat("AVIF", is_written=False),
)
READ_FORMATS = tuple(each.name for each in PICTURE_FORMATS)
PICTURE_SUFFIXES = tuple(suffix for each in PICTURE_FORMATS for suffix in each.suffixes)
SUFFIX_FORMATS = {suffix: each.name for each in PICTURE_FORMATS if each.is_written for suffix in each.suffixes}
FORMAT_SUFFIXES = {
    name: each.suffixes[0] for each in PICTURE_FORMATS if each.is_written for name in (each.name, *each.variants)
}

VIDEO_CONTAINERS = {  # suffix: container by ffmpeg's name; None where it is read only, and its outputs are .mp4
    ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm",
    ".avi": None, ".mpg": None, ".mpeg": None, ".m2v": None, ".vob": None, ".ts": None, ".m2ts": None, ".mts": None,
    ".wmv": None, ".asf": None, ".flv": None, ".3gp": None, ".ogv": None, ".mxf": None, ".dv": None, ".gif": None,
}  # fmt: skip
CONTAINERS = {suffix: container for suffix, container in VIDEO_CONTAINERS.items() if container}
VIDEOS = tuple(VIDEO_CONTAINERS)
