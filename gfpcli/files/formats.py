"""What kinds of files there are. A new kind is one row of a table; all else here follows from the tables."""

from __future__ import annotations

from dataclasses import dataclass

from gfpcli.files.kinds import NAMED, UNREAD_SUFFIXES
from gfpcli.files.raw_kinds import RAW_SUFFIXES


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """A format of photos."""

    name: str  # Pillow's, or HEIF, JXL, RAW
    label: str  # for people
    suffixes: tuple[str, ...] = ()  # by which it is told without a look inside; outputs get the first
    written_as: str = ""  # suffix of its outputs, where it is read only


PICTURE_FORMATS = (
    PictureFormat("JPEG", "JPEG", (".jpg", ".jpeg", ".jpe", ".jfif")),
    PictureFormat("PNG", "PNG", (".png",)),
    PictureFormat("WEBP", "WebP", (".webp",)),
    PictureFormat("TIFF", "TIFF", (".tif", ".tiff")),
    PictureFormat("HEIF", "HEIC", (".heic", ".heif", ".hif")),
    PictureFormat("AVIF", "AVIF", (".avif",)),
    PictureFormat("JXL", "JPEG XL", (".jxl",)),
    PictureFormat("BMP", "BMP", (".bmp",)),
    PictureFormat("GIF", "GIF", (".gif",), written_as=".png"),
    PictureFormat("PPM", "PPM", (".ppm", ".pgm", ".pbm", ".pnm"), written_as=".png"),
    PictureFormat("JPEG2000", "JPEG 2000", (".jp2", ".j2k", ".jpx", ".jpf", ".j2c"), written_as=".png"),
    # its 16 bit are kept; the bare `.raw` names many other things
    PictureFormat("RAW", "camera raw", tuple(each for each in RAW_SUFFIXES if each != ".raw"), written_as=".tif"),
)
PICTURE_SUFFIXES = tuple(suffix for each in PICTURE_FORMATS for suffix in each.suffixes)
SUFFIX_FORMATS = {suffix: each.name for each in PICTURE_FORMATS if not each.written_as for suffix in each.suffixes}
FORMAT_SUFFIXES = {each.name: each.written_as or each.suffixes[0] for each in PICTURE_FORMATS}
LABELS = {each.name: each.label for each in PICTURE_FORMATS}

VIDEO_CONTAINERS = {  # suffix: container by ffmpeg's name; None where it is read only, and its outputs are .mp4
    ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm",
    ".avi": None, ".mpg": None, ".mpeg": None, ".m2v": None, ".vob": None, ".ts": None, ".m2ts": None, ".mts": None,
    ".wmv": None, ".asf": None, ".flv": None, ".3gp": None, ".ogv": None, ".mxf": None, ".dv": None, ".gif": None,
}  # fmt: skip
CONTAINERS = {suffix: container for suffix, container in VIDEO_CONTAINERS.items() if container}
ANIMATIONS = {".gif": "gif", ".webp": "webp"}  # written where `--output` names one; container by ffmpeg's name
WRITTEN = (*CONTAINERS, *ANIMATIONS)  # suffixes of outputs of `gfp video`
VIDEOS = tuple(VIDEO_CONTAINERS)
# names that promise a picture, or a video, of a kind in which no photo is written
UNWRITTEN_SUFFIXES = {
    *(suffix for suffix in (*PICTURE_SUFFIXES, *NAMED, *UNREAD_SUFFIXES, *VIDEOS) if suffix not in SUFFIX_FORMATS),
    ".raw", ".pdf", ".apng",
}  # fmt: skip
