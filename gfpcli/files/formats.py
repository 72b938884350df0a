"""What kinds of files there are: suffixes, formats by Pillow's names, containers by ffmpeg's."""

from __future__ import annotations

SUFFIX_FORMATS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP",
}  # fmt: skip
FORMAT_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp", "MPO": ".jpg"}
OTHER_SUFFIXES = (".gif",)  # read, written as PNG
# what is read at all: photo formats with a sure signature. Others of Pillow's start programs (EPS) or take any bytes
# for a picture (TGA)
READ_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}  # ffmpeg's names
OTHER_VIDEOS = (
    ".avi", ".mpg", ".mpeg", ".m2v", ".vob", ".ts", ".m2ts", ".mts", ".wmv", ".asf", ".flv", ".3gp", ".ogv", ".mxf",
    ".dv", ".gif",
)  # fmt: skip  # read, written as .mp4
VIDEOS = (*CONTAINERS, *OTHER_VIDEOS)
