"""What a file is, told by its bytes: a picture that is read, one of a kind that is not, a video, or neither.

A name's suffix counts only where bytes cannot tell (TGA has no signature), and among kinds of camera raw.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

from gfpcli.files.raw_kinds import RAW_SUFFIXES, Read, raw_kind

Role: TypeAlias = Literal["picture", "unread picture", "video", "other"]
HEAD = 65536  # bytes that tell every kind but TIFF's relatives and JPEG's variants, whose structure is followed further


@dataclass(frozen=True, slots=True)
class Kind:
    """What a file is."""

    name: str  # for people: "JPEG", "camera raw (NEF)", "12-bit JPEG"
    role: Role
    format: str = ""  # of a picture that is read: Pillow's name (JPEG, PNG, ...), or HEIF, JXL, RAW
    extra: str = ""  # the extra of this package that reads it; empty where none is needed

    @property
    def hint(self) -> str:
        """One line on how it can be read, empty for a picture that needs nothing."""
        if self.extra:
            return f"{self.name}: pip install 'gfpcli[{self.extra}]'"
        if self.role == "unread picture":
            return f"{self.name}: pictures of this kind are not read"
        return f"{self.name}: a video, not a picture" if self.role == "video" else ""


def _read(name: str, format: str) -> Kind:
    return Kind(name, "picture", format)


def _foreign(name: str) -> Kind:
    return Kind(name, "unread picture")


def _video(name: str) -> Kind:
    return Kind(name, "video")


OTHER = Kind("no picture", "other")
JPEG, TIFF_KIND, GIF, BMP = _read("JPEG", "JPEG"), _read("TIFF", "TIFF"), _read("GIF", "GIF"), _read("BMP", "BMP")
WEBP, AVIF = _read("WebP", "WEBP"), _read("AVIF", "AVIF")
HEIC, HEIF = _read("HEIC", "HEIF"), _read("HEIF", "HEIF")
JPEG_2000 = _read("JPEG 2000", "JPEG2000")
JPEG_XL_KIND = Kind("JPEG XL", "picture", "JXL", "jxl")
MP4 = _video("MP4")

SIGNATURES: tuple[tuple[int, bytes, Kind], ...] = (  # (offset, bytes, kind); the first that fits counts
    (0, b"\x89PNG\r\n\x1a\n", _read("PNG", "PNG")),
    (0, b"GIF87a", GIF),
    (0, b"GIF89a", GIF),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", JPEG_2000),
    (0, b"\xff\x4f\xff\x51", JPEG_2000),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", JPEG_XL_KIND),
    (0, b"\xff\x0a", JPEG_XL_KIND),
    (0, b"FUJIFILMCCD-RAW", Kind("camera raw (RAF)", "picture", "RAW", "raw")),
    (0, b"IIU\0", Kind("camera raw (RW2)", "picture", "RAW", "raw")),
    (0, b"IIRO", Kind("camera raw (ORF)", "picture", "RAW", "raw")),
    (0, b"IIRS", Kind("camera raw (ORF)", "picture", "RAW", "raw")),
    (0, b"MMOR", Kind("camera raw (ORF)", "picture", "RAW", "raw")),
    (6, b"HEAPCCDR", Kind("camera raw (CRW)", "picture", "RAW", "raw")),
    (0, b"FOVb", Kind("camera raw (X3F)", "picture", "RAW", "raw")),
    (0, b"\0MRM", Kind("camera raw (MRW)", "picture", "RAW", "raw")),
    (0, b"8BPS\0\x01", _foreign("Photoshop document (PSD)")),
    (0, b"8BPS\0\x02", _foreign("large Photoshop document (PSB)")),
    (0, b"II\xbc", _foreign("JPEG XR")),
    (0, b"gimp xcf", _foreign("GIMP document (XCF)")),
    (0, b"\x76\x2f\x31\x01", _foreign("OpenEXR")),
    (0, b"#?RADIANCE", _foreign("Radiance HDR")),
    (0, b"#?RGBE", _foreign("Radiance HDR")),
    (0, b"DDS ", _foreign("DDS texture")),
    (0, b"\xc5\xd0\xd3\xc6", _foreign("EPS")),
    (0, b"icns", _foreign("Apple icon (ICNS)")),
    (0, b"qoif", _foreign("QOI")),
    (0, b"BPG\xfb", _foreign("BPG")),
    (0, b"FLIF", _foreign("FLIF")),
    (0, b"\x8aMNG\r\n\x1a\n", _foreign("MNG")),
    (0, b"\x8bJNG\r\n\x1a\n", _foreign("JNG")),
    (0, b"\x59\xa6\x6a\x95", _foreign("Sun raster")),
    (0, b"\x01\xda\0\x01", _foreign("SGI image")),
    (0, b"\x01\xda\x01\x01", _foreign("SGI image")),
    (0, b"SDPX", _foreign("DPX")),
    (0, b"XPDS", _foreign("DPX")),
    (0, b"\x80\x2a\x5f\xd7", _foreign("Cineon")),
    (0, b"SIMPLE  =", _foreign("FITS")),
    (128, b"DICM", _foreign("DICOM")),
    (0, b"/* XPM */", _foreign("XPM")),
    (0, b"\xd7\xcd\xc6\x9a", _foreign("Windows metafile (WMF)")),
    (40, b" EMF", _foreign("Windows metafile (EMF)")),
    (0, b"AT&TFORM", _foreign("DjVu")),
    (0, b"P7\n", _foreign("PAM")),
    (0, b"PF\n", _foreign("floating-point map (PFM)")),
    (0, b"Pf\n", _foreign("floating-point map (PFM)")),
    (8, b"AVI ", _video("AVI")),
    (0, b"\x1a\x45\xdf\xa3", _video("Matroska or WebM")),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _video("WMV")),
    (0, b"FLV\x01", _video("FLV")),
    (0, b"\0\0\x01\xba", _video("MPEG")),
    (0, b"\0\0\x01\xb3", _video("MPEG")),
    (0, b"\x06\x0e\x2b\x34", _video("MXF")),
    (4, b"moov", _video("QuickTime")),
    (4, b"mdat", _video("QuickTime")),
    (4, b"wide", _video("QuickTime")),
)
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
AVIF_BRANDS = {b"avif", b"avis"}
OTHER_HEIF_BRANDS = {
    b"avci": "HEIF with H.264", b"avcs": "HEIF with H.264", b"jpeg": "HEIF with JPEG", b"jpgs": "HEIF with JPEG",
    b"j2ki": "HEIF with JPEG 2000", b"j2is": "HEIF with JPEG 2000", b"vvic": "HEIF with VVC", b"vvis": "HEIF with VVC",
}  # fmt: skip
SOUND_BRANDS = {b"M4A ", b"M4B ", b"M4P "}
NAMED = {  # kinds without a signature of their own, by suffix
    ".tga": _foreign("TGA"), ".vda": _foreign("TGA"), ".icb": _foreign("TGA"), ".vst": _foreign("TGA"),
    ".dib": _foreign("DIB"), ".svgz": _foreign("SVG"), ".pict": _foreign("PICT"), ".pct": _foreign("PICT"),
    ".kra": _foreign("Krita document"), ".ora": _foreign("OpenRaster"), ".wbmp": _foreign("WBMP"),
    ".xbm": _foreign("XBM"),
    ".m2v": _video("MPEG"), ".dv": _video("DV"),
}  # fmt: skip
UNREAD_SUFFIXES = (  # by which pictures of kinds that are not read are told where nothing can be looked at
    ".psd", ".psb", ".tga", ".pcx", ".ico", ".cur", ".dib", ".jxr", ".wdp", ".hdp", ".svg", ".svgz", ".xcf", ".exr",
    ".hdr", ".dds", ".eps", ".icns", ".qoi", ".bpg", ".flif", ".mng", ".jng", ".ras", ".sgi", ".dpx", ".cin", ".fits",
    ".dcm", ".xpm", ".wmf", ".emf", ".djvu", ".pam", ".pfm", ".jls", ".kra", ".ora",
)  # fmt: skip
BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}  # sizes of the information header, by version
NAS_FOLDERS = {"@eadir", "#recycle", "#snapshot", "__macosx", "$recycle.bin", "system volume information", "lost+found"}
NAS_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}


def kind_of_bytes(head: bytes, name: str) -> Kind:
    """What a file is.

    Args:
        head: its bytes, all or as many as are at hand; `HEAD` of them tell all but rare kinds of TIFF and JPEG.
        name: its name or path, for the suffix.
    """
    return _kind(lambda at, n: head[at : at + n], name)


def kind_of_file(path: Path) -> Kind:
    """As `kind_of_bytes`, reading no more than is needed. Raises OSError where the file cannot be read."""
    with path.open("rb") as file:
        head = file.read(HEAD)

        def read(at: int, n: int) -> bytes:
            if at + n <= len(head) or len(head) < HEAD:
                return head[at : at + n]
            file.seek(at)
            return file.read(n)

        return _kind(read, path.name)


def is_hidden(parts: Iterable[str]) -> bool:
    """Whether a path below a folder (its parts) is one that a NAS, a Mac or Windows leaves, or is hidden otherwise."""
    return any(_is_hidden_name(part.lower()) for part in parts)


def _is_hidden_name(name: str) -> bool:
    is_dot = name.startswith(".") and name not in (".", "..")
    return is_dot or name in NAS_FOLDERS or name in NAS_FILES or name.startswith(("@eadir", "@synoeastream", "~$"))


def _kind(read: Read, name: str) -> Kind:
    suffix = PurePosixPath(name.replace("\\", "/")).suffix.lower()
    head = read(0, 4096)
    if head[:3] == b"\xff\xd8\xff":
        return _jpeg_kind(read)
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        raw = raw_kind(read, suffix)
        return Kind(f"camera raw ({raw})", "picture", "RAW", "raw") if raw else TIFF_KIND
    if head[4:8] == b"ftyp":
        return _box_kind(head)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in BMP_HEADERS:
        return BMP
    found = next((kind for at, sign, kind in SIGNATURES if head.startswith(sign, at)), None)
    return found or _faint_kind(head, suffix)


def _faint_kind(head: bytes, suffix: str) -> Kind:
    """Kinds whose signature is short or a text, and those known by their suffix only."""
    if re.match(rb"P[1-6]\s+(#[^\n]*\n\s*)*\d+\s", head):
        return _read("PPM", "PPM")
    if head.startswith(b"%!PS") and b"EPSF" in head[:64]:
        return _foreign("EPS")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith((b"<?xml", b"<!--", b"<!DOCTYPE svg", b"<svg")) and re.search(rb"<(\w+:)?svg[\s>]", text):
        return _foreign("SVG")
    if re.match(rb"\0\0[\x01\x02]\0[^\0]\0..[^\0]?\0", head, re.S):  # number of pictures, size, colours, a zero
        return _foreign("Windows icon (ICO)" if head[2] == 1 else "Windows cursor (CUR)")
    if re.match(rb"\x0a[\0\x02-\x05][\0\x01][\x01\x02\x04\x08]", head):
        return _foreign("PCX")
    if head.startswith(b"OggS"):
        return _video("Ogg") if b"theora" in head or suffix == ".ogv" else OTHER
    if (head[:1], head[188:189]) == (b"G", b"G") or (head[4:5], head[196:197]) == (b"G", b"G"):  # packets of 188 or 192
        return _video("MPEG transport stream") if suffix in (".ts", ".mts", ".m2ts") else OTHER
    if head and suffix in RAW_SUFFIXES and suffix != ".raw":
        return Kind(f"camera raw ({suffix[1:].upper()})", "picture", "RAW", "raw")
    return NAMED.get(suffix, OTHER) if head else OTHER


def _box_kind(head: bytes) -> Kind:
    """A file of boxes (ISO/IEC 14496-12) by the brands in its first one: HEIF's relatives, Canon raw, videos."""
    length = int.from_bytes(head[:4], "big")
    box = head[8 : min(length, 1024)] if length >= 16 else head[8:12]
    brands = [box[:4], *(box[at : at + 4] for at in range(8, len(box) - 3, 4))]
    if brands[0] == b"crx ":
        return Kind("camera raw (CR3)", "picture", "RAW", "raw")
    if brands[0] in OTHER_HEIF_BRANDS:
        return _foreign(OTHER_HEIF_BRANDS[brands[0]])
    if brands[0] in HEIC_BRANDS | AVIF_BRANDS | {b"mif1", b"mif2", b"msf1", b"miaf"}:
        return _heif_kind(brands)
    if brands[0] in SOUND_BRANDS:
        return OTHER
    return _video("QuickTime") if brands[0] == b"qt  " else MP4


def _heif_kind(brands: list[bytes]) -> Kind:
    """By its codec: the main brand says it, or else (mif1, msf1) the first of the compatible ones that does."""
    for brand in brands:
        if brand in AVIF_BRANDS:
            return AVIF
        if brand in HEIC_BRANDS:
            return HEIC
        if brand in OTHER_HEIF_BRANDS:
            return _foreign(OTHER_HEIF_BRANDS[brand])
    return HEIF


def _jpeg_kind(read: Read) -> Kind:
    """By its frame header (ITU-T T.81, B.2.2): what libjpeg does not decode is named."""
    at = 2
    for _ in range(10_000):
        marker = read(at, 10)
        if len(marker) < 10 or marker[0] != 0xFF or marker[1] in (0xD9, 0xDA):
            break
        if marker[1] == 0xFF or marker[1] == 0x01 or 0xD0 <= marker[1] <= 0xD8:  # fill bytes, markers without length
            at += 1 if marker[1] == 0xFF else 2
            continue
        if marker[1] in (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7):
            return _frame_kind(marker[1], precision=marker[4])
        at += 2 + int.from_bytes(marker[2:4], "big")
    return JPEG


def _frame_kind(marker: int, precision: int) -> Kind:
    if marker == 0xF7:
        return _foreign("JPEG-LS")
    if marker in (0xC3, 0xCB):
        return _foreign("lossless JPEG")
    if marker in (0xC9, 0xCA):
        return _foreign("arithmetic-coded JPEG")
    if marker in (0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF):
        return _foreign("hierarchical JPEG")
    if precision != 8:
        return _foreign(f"{precision}-bit JPEG")
    return JPEG
