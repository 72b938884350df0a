"""What files carry: read from every kind, written into every kind, compared; damaged files give what can be read."""

from __future__ import annotations

import io
import random
import time
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from gfpcli.errors import OutputError
from gfpcli.photo.carried import Carried, PngText, adjust, differences, profile_colour_model
from gfpcli.photo.containers.tiff import byte_order
from gfpcli.photo.embed import CAPACITY, encoder_arguments, fit_carried, read_carried, with_carried
from gfpcli.photo.exif import exif_values, patch_exif, read_exif, resolution_block
from gfpcli.photo.geometry import Placement
from gfpcli.photo.photoshop import join_iptc, read_resources
from tests.photo.made import (
    REPORTS,
    directory,
    encoded,
    exiftool,
    exiftool_all,
    made_exif,
    made_iptc,
    made_xmp,
    needs_exiftool,
    needs_reports,
    pixels,
    profile,
)

SAME = Placement((48, 64), 1, (48, 64))
DOUBLE = Placement((48, 64), 1, (96, 128))
TEXTS = (
    PngText(b"tEXt", b"Title\0Grandma 1950"),
    PngText(b"iTXt", b"Description\0\0\0de\0Beschreibung\0Gro\xc3\x9fmutter"),
    PngText(b"zTXt", b"parameters\0\0" + zlib.compress(b"Steps: 20")),
)
CHUNKS = ((b"gAMA", (45455).to_bytes(4, "big")), (b"sRGB", b"\0"), (b"tIME", b"\7\xd0\1\2\3\4\5"))
FILES = {
    "jpg": ("JPEG", np.uint8),
    "png": ("PNG", np.uint8),
    "png16": ("PNG", np.uint16),
    "tif": ("TIFF", np.uint8),
    "tif16": ("TIFF", np.uint16),
    "webp": ("WEBP", np.uint8),
    "heic": ("HEIF", np.uint8),
    "avif": ("AVIF", np.uint8),
}
# exiftool's names of what describes how the pixels are stored, which differs between kinds of files by nature.
STORAGE = {
    *("IFD0:ImageWidth", "IFD0:ImageHeight", "IFD0:BitsPerSample", "IFD0:Compression", "IFD0:SamplesPerPixel"),
    *("IFD0:PhotometricInterpretation", "IFD0:StripOffsets", "IFD0:RowsPerStrip", "IFD0:StripByteCounts"),
    *("IFD0:PlanarConfiguration", "IFD0:ThumbnailOffset", "File:CurrentIPTCDigest"),
}
PATCHED = {"ExifIFD:ExifImageWidth", "ExifIFD:ExifImageHeight", "ExifIFD:SubjectArea"}
LOST_GROUPS = {"IPTC": "IPTC:", "Photoshop resources": "Photoshop:"}
GROUPS = ("IFD0", "IFD1", "ExifIFD", "GPS", "InteropIFD", "Canon", "XMP-", "IPTC", "ICC", "ExifTool", "Photoshop")


def everything(order: str = "little") -> Carried:
    """All attributes set, as an upright picture carries them."""
    exif = patch_exif(made_exif(order, 1), Placement((480, 640), 1, (480, 640))).block
    resources = b"8BIM\x03\xed\0\0\0\0\0\x10" + b"\x01\x2c\0\0\0\1\0\2" * 2 + b"8BIM\x04\x0b\0\0\0\0\0\x05a.org\0"
    return Carried(
        exif=exif,
        icc=profile(),
        xmp=made_xmp("<dc:title>T</dc:title>"),
        iptc=made_iptc(),
        photoshop=resources,
        comments=(b"scan 12", b"caf\xe9"),
        texts=TEXTS,
        png_chunks=CHUNKS,
        dpi=(300.0, 300.0),
    )


def written(carried: Carried, name: str) -> tuple[bytes, tuple[str, ...]]:
    """A made file of a kind with this metadata, and what it cannot carry."""
    kind, dtype = FILES[name]
    return with_carried(encoded(kind, dtype, **encoder_arguments(carried, kind)), kind, carried)


def suffix(name: str) -> str:
    return "." + name.removesuffix("16")


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("name", FILES)
def test_every_kind_brings_back_all_but_what_it_names(name: str, order: str) -> None:
    wanted = everything(order)
    data, lost = written(wanted, name)
    found = read_carried(data, FILES[name][0])
    fitted, named = fit_carried(wanted, FILES[name][0])
    assert differences(fitted, found) == () == found.unread
    assert lost == named and set(lost) <= set(differences(wanted, found))


def test_what_each_kind_cannot_carry_is_named() -> None:
    texts = ("PNG text Title", "PNG text Description", "PNG text parameters")
    others = ("IPTC", "Photoshop resources", "comment", *texts, "PNG chunk tIME")
    assert fit_carried(everything(), "WEBP")[1] == fit_carried(everything(), "HEIF")[1] == others
    assert fit_carried(everything(), "JPEG")[1] == (*texts, "PNG chunk tIME")
    assert fit_carried(everything(), "PNG")[1] == ("comment",)
    assert fit_carried(everything(), "TIFF")[1] == ("comment", *texts, "PNG chunk tIME")
    assert fit_carried(everything(), "BMP")[1][:4] == ("EXIF", "ICC profile", "XMP", "IPTC")
    assert fit_carried(Carried(), "BMP") == (Carried(), ())


@pytest.mark.parametrize("name", FILES)
def test_the_pixels_stay(name: str) -> None:
    kind, dtype = FILES[name]
    wanted = everything("big")
    before = encoded(kind, dtype, **encoder_arguments(wanted, kind))
    after, _ = with_carried(before, kind, wanted)
    if kind == "TIFF":
        assert np.array_equal(tifffile.imread(io.BytesIO(after)), pixels(dtype=dtype))
    if name == "png16":
        import cv2

        assert np.array_equal(cv2.imdecode(np.frombuffer(after, np.uint8), -1), pixels(dtype=np.uint16)[..., ::-1])
    with Image.open(io.BytesIO(before)) if name != "tif16" else Image.new("L", (1, 1)) as one:
        two = Image.open(io.BytesIO(after)) if name != "tif16" else one
        assert np.array_equal(np.asarray(one), np.asarray(two))


@needs_exiftool
@pytest.mark.parametrize("source", ["jpg", "tif16", "heic"])
def test_exiftool_reads_the_same_before_and_after(source: str, tmp_path: Path) -> None:
    first, _ = written(everything(), source)
    carried, notes = adjust(read_carried(first, FILES[source][0]), SAME, colour_model="RGB", keeps_print_size=False)
    outputs = {name: written(carried, name) for name in FILES}
    files = {f"{name}{suffix(name)}": data for name, (data, _) in outputs.items()}
    before, *all_after = exiftool_all({f"source{suffix(source)}": first, **files}, tmp_path)
    kept = {key for key in before if key.startswith(GROUPS)} - STORAGE
    assert notes == () and len(kept) > 30
    for (name, (_, lost)), after in zip(outputs.items(), all_after, strict=True):
        assert after["Canon:OwnerName"] == "Grandma Smith, 12 Long Street"
        assert not [key for key in after if "Warning" in key or "Error" in key]
        gone = {key for key in kept if after.get(key) != before[key]}
        groups = tuple(group for each, group in LOST_GROUPS.items() if each in lost)
        assert {key for key in gone - PATCHED if not key.startswith(groups)} == set(), name


@needs_exiftool
def test_exiftool_reads_a_scaled_resolution_everywhere(tmp_path: Path) -> None:
    carried, _ = adjust(everything(), DOUBLE, colour_model="RGB")
    names = ("jpg", "png", "tif", "tif16", "webp")
    for found in exiftool_all({f"{name}{suffix(name)}": written(carried, name)[0] for name in names}, tmp_path):
        assert {value for key, value in found.items() if key.startswith(("IFD0", "JFIF")) and "XRes" in key} == {"600"}
        assert found["ExifIFD:ExifImageWidth"] == "128"


@needs_reports
def test_the_reports_come_back() -> None:
    iptc = read_carried((REPORTS / "iptc.jpg").read_bytes(), "JPEG")
    assert iptc.comments == (b"scan 12",) and b"Grandma 1950" in (iptc.iptc or b"")
    scan = read_carried((REPORTS / "scan8.tif").read_bytes(), "TIFF")
    assert b"family" in (scan.iptc or b"") and scan.dpi == (600.0, 600.0) and b"family" in (scan.xmp or b"")
    assert ("Exif", 0x9003) in exif_values(scan.exif or b"") and ("IFD0", 315) in exif_values(scan.exif or b"")
    text = read_carried((REPORTS / "text.png").read_bytes(), "PNG")
    assert [each.keyword for each in text.texts] == ["parameters", "Title", "Description"]
    for found, name in ((iptc, "jpg"), (scan, "tif"), (scan, "tif16"), (scan, "jpg"), (text, "png"), (text, "png16")):
        carried, notes = adjust(found, SAME, colour_model="RGB")
        data, lost = written(carried, name)
        assert notes == lost == differences(carried, read_carried(data, FILES[name][0])) == ()
    deep = read_carried((REPORTS / "xmp16.png").read_bytes(), "PNG")
    assert adjust(deep, DOUBLE, colour_model="RGB")[0].xmp == deep.xmp  # nothing was turned
    ultra = adjust(read_carried((REPORTS / "ultrahdr.jpg").read_bytes(), "JPEG"), SAME, colour_model="RGB")
    assert ultra[0].xmp is None and "gain map" in ultra[1][0] and "MPF" in ultra[1][0]
    lab = adjust(read_carried((REPORTS / "lab8.tif").read_bytes(), "TIFF"), SAME, colour_model="RGB")
    assert lab[0].icc is None and lab[1] == ("its Lab profile does not fit RGB and is left out",)
    assert profile_colour_model(read_carried((REPORTS / "IMG_0001.HEIC").read_bytes(), "HEIF").icc or b"") == "RGB"
    assert read_carried((REPORTS / "hdr_pq.png").read_bytes(), "PNG").png_chunks == ((b"cICP", b"\x09\x10\0\1"),)


def test_profiles_go_only_with_their_colour_model() -> None:
    gray = bytearray(profile())
    gray[16:20] = b"GRAY"
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    models = [profile_colour_model(each) for each in (profile(), bytes(gray), lab, b"junk")]
    assert models == ["RGB", "gray", "Lab", None]
    for icc, model, is_kept in ((profile(), "gray", False), (bytes(gray), "RGB", False), (bytes(gray), "gray", True)):
        carried, notes = adjust(Carried(icc=icc), SAME, colour_model=model)
        assert (carried.icc is not None) == is_kept and bool(notes) != is_kept
    assert adjust(Carried(icc=b"junk"), SAME, colour_model="RGB")[1] == (
        "its damaged profile does not fit RGB and is left out",
    )


def test_adjusting_scales_turns_and_tells() -> None:
    source = replace(everything(), exif=made_exif(), dpi=(300.0, 200.0), unread=("content credentials (JUMBF)",))
    turned = Placement((480, 640), 6, (1280, 960))
    carried, notes = adjust(source, turned, colour_model="RGB")
    assert carried.dpi == (400.0, 600.0) and read_exif(carried.exif or b"").orientation == 1
    numbers = {each.number: each.data for each in read_resources(carried.photoshop or b"")[0]}
    assert numbers[0x03ED][:4] == (600 << 16).to_bytes(4, "big")
    assert notes == ("left out: content credentials (JUMBF)",) and carried.unread == ()
    _, notes = adjust(Carried(exif=b"junk", xmp=b"junk"), turned, colour_model="RGB")
    assert notes == (
        "its EXIF is damaged (it has no TIFF header) and left out",
        "its XMP has no content; it is left out",
    )


def test_differences_name_what_did_not_come_back() -> None:
    wanted = everything()
    assert differences(wanted, wanted) == () == differences(Carried(), wanted)
    assert differences(wanted, Carried()) == (
        *("EXIF", "ICC profile", "XMP", "IPTC", "Photoshop resources", "comment", "PNG text Title"),
        *("PNG text Description", "PNG text parameters", "PNG chunk gAMA", "PNG chunk sRGB", "PNG chunk tIME"),
        "resolution",
    )
    changed = replace(wanted, exif=(wanted.exif or b"").replace(b"A. Name", b"B. Name"))
    assert differences(wanted, changed) == ("EXIF IFD0 tag 0x013B",)
    changed = replace(wanted, exif=(wanted.exif or b"").replace(b"Smith", b"Smyth"))
    assert differences(wanted, changed) == ("maker notes",)
    assert differences(wanted, replace(wanted, dpi=(300.4, 300.0))) == ()


def test_a_resolution_without_exif_gets_a_block_where_the_kind_needs_one() -> None:
    data, lost = written(Carried(dpi=(300.0, 300.0)), "webp")
    assert lost == () and read_carried(data, "WEBP").dpi == (300.0, 300.0)


def test_of_two_resolutions_the_one_in_exif_stands_where_only_one_can() -> None:
    two = Carried(exif=resolution_block((300, 300)), dpi=(72.0, 72.0))
    assert read_carried(written(two, "jpg")[0], "JPEG") == two
    for name in ("tif", "webp"):
        data, lost = written(two, name)
        assert lost == ("second resolution",) and read_carried(data, FILES[name][0]).dpi == (300.0, 300.0)


def test_resolutions_that_no_file_can_hold_are_named() -> None:
    assert written(Carried(dpi=(70_000.0, 70_000.0)), "jpg")[1] == ("resolution",)
    shrunk = Placement((480, 640), 1, (1, 1))
    assert adjust(Carried(dpi=(72.0, 72.0)), shrunk, colour_model="RGB")[1] == ("left out: resolution",)


def test_a_damaged_block_does_not_reach_into_the_pixels_of_a_tiff() -> None:
    block = bytearray(made_exif())
    block[400:402] = (60).to_bytes(2, "little")  # the Exif directory claims more entries than it has
    block[1200 + 22 : 1200 + 26] = (2100).to_bytes(4, "little")  # the latitude lies behind the end
    damaged = patch_exif(bytes(block), SAME).block
    data, lost = written(Carried(exif=damaged), "tif16")
    values = exif_values(read_carried(data, "TIFF").exif or b"")
    assert lost == () and ("GPS", 1) in values and ("GPS", 2) not in values and values["IFD0", 0x010F][2] == b"Canon\0"


def test_long_xmp_and_long_profiles_are_split_over_jpeg_segments() -> None:
    carried = Carried(xmp=made_xmp(f"<dc:large>{'x' * 150_000}</dc:large>"), icc=profile() + bytes(150_000))
    data, lost = written(carried, "jpg")
    assert lost == () == differences(carried, read_carried(data, "JPEG"))
    assert data.count(b"http://ns.adobe.com/xmp/extension/\0") == 3 and data.count(b"ICC_PROFILE\0") == 3


@needs_exiftool
def test_exiftool_reads_extended_xmp(tmp_path: Path) -> None:
    data, _ = written(Carried(xmp=made_xmp(f"<dc:description>{'x' * 150_000}</dc:description>")), "jpg")
    found = exiftool(data, tmp_path, ".jpg")
    assert len(found["XMP-dc:Description"]) == 150_000 and not [key for key in found if "Warning" in key]


def test_what_does_not_fit_into_jpeg_is_named() -> None:
    block = made_exif() + bytes(70_000)
    big = resolution_block((72, 72))[:4] + (70_000).to_bytes(4, "little")
    big = big.ljust(70_000, b"\0") + directory([(0x013B, 2, b"A" * 69_000 + b"\0")], 70_000, "little")
    assert written(Carried(exif=block), "jpg")[1] == ()  # without the bytes that nothing refers to it fits
    assert written(Carried(exif=big), "jpg")[1] == ("EXIF",)
    assert written(Carried(comments=(b"c" * 70_000, b"d")), "jpg")[1] == ("comment",)
    assert written(Carried(xmp=made_xmp("<!--" + "x" * 70_000 + "-->")), "jpg")[1] == ("XMP",)


def test_the_encoder_s_own_metadata_is_replaced() -> None:
    exif = b"Exif\0\0" + resolution_block((1, 1))
    data = encoded("JPEG", exif=exif, icc_profile=b"old" * 60, comment=b"made by", dpi=(72, 72))
    found = read_carried(with_carried(data, "JPEG", Carried(comments=(b"mine",), dpi=(300.0, 300.0)))[0], "JPEG")
    assert found == Carried(comments=(b"mine",), dpi=(300.0, 300.0))
    data = encoded("WEBP", exif=resolution_block((1, 1)), icc_profile=b"old" * 60)
    assert read_carried(with_carried(data, "WEBP", Carried())[0], "WEBP") == Carried()
    data = encoded("PNG", exif=resolution_block((1, 1)), icc_profile=profile(), dpi=(72, 72))
    assert read_carried(with_carried(data, "PNG", Carried())[0], "PNG") == Carried()


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 80}])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp_headers_are_made_for_every_bitstream(mode: str, options: dict[str, object]) -> None:
    out = io.BytesIO()
    picture = Image.fromarray(pixels()).convert(mode)
    if mode == "RGBA":
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save(out, "WEBP", **options)
    data, _ = with_carried(out.getvalue(), "WEBP", everything())
    with Image.open(io.BytesIO(data)) as read, Image.open(io.BytesIO(out.getvalue())) as plain:
        assert (read.mode, read.size) == (mode, (64, 48)) and read.tobytes() == plain.tobytes()
        assert data[12:16] == b"VP8X" and bool(data[20] & 0x10) == (mode == "RGBA")
        assert read.info["exif"] == everything().exif and read.info["icc_profile"] == profile()


@pytest.mark.parametrize(
    "iptc", [made_iptc(), join_iptc(made_iptc(), None), b"Photoshop 3.0\0" + join_iptc(made_iptc(), None)]
)
def test_raw_profiles_of_png_are_read(iptc: bytes) -> None:
    def raw(name: bytes, value: bytes) -> tuple[bytes, bytes]:
        return b"tEXt", b"Raw profile type " + name + b"\0\n" + name + b"\n  %d\n" % len(value) + value.hex().encode()

    base = Carried(texts=tuple(PngText(*raw(name, value)) for name, value in (
        (b"exif", b"Exif\0\0" + made_exif()),
        (b"iptc", iptc),
        (b"xmp", made_xmp()),
        (b"other", b"kept as text"),
    )))  # fmt: skip
    found = read_carried(with_carried(encoded("PNG"), "PNG", base)[0], "PNG")
    assert (found.exif, found.iptc, found.xmp) == (made_exif(), made_iptc(), made_xmp())
    assert [each.keyword for each in found.texts] == ["Raw profile type other"]


def tiff_with(rows: list[tuple[int, int, bytes]], order: str = "little", following: int = 0) -> bytes:
    """A gray TIFF file of 2x2 pixels at 8, its directory behind them."""
    def number(value: int) -> bytes:
        return value.to_bytes(4, order)  # type: ignore[arg-type]

    base = [(256, 4, number(2)), (257, 4, number(2)), (258, 3, number(8)[:2] if order == "little" else b"\0\x08")]
    strips = [(273, 4, number(8)), (279, 4, number(4))]
    head = (b"II*\0" if order == "little" else b"MM\0*") + number(16) + b"\0\1\2\3" + bytes(4)
    return head + directory(sorted([*base, *strips, *rows]), 16, order, following)


def test_tags_of_the_old_bytes_never_reach_the_block() -> None:
    n = (1).to_bytes(4, "little")
    old = (254, 259, 262, 266, 278, 284, 317, 322, 323, 324, 325, 338, 339, 347, 513, 514, 529, 530, 532)
    rows = [(tag, 4, n) for tag in old] + [(330, 4, n), (315, 2, b"A. Name\0"), (274, 3, b"\6\0")]
    found = read_carried(tiff_with([*rows, (37724, 7, b"Adobe Photoshop Document Data Block")]), "TIFF")
    assert {tag for _, tag in exif_values(found.exif or b"")} == {274, 315}
    assert {int.from_bytes((found.exif or b"")[at : at + 2], "little") for at in (10, 22)} == {274, 315}
    assert found.unread == ("Photoshop layers",)


def test_layout_descriptions_and_georeferences_are_not_carried() -> None:
    rows = [(270, 2, b'{"shape": [2, 2]}\0'), (33550, 12, bytes(24)), (65000, 13, b"\x10\0\0\0")]
    found = read_carried(tiff_with(rows), "TIFF")
    assert found.exif is None and found.unread == ("georeference", "TIFF tag 65000")
    assert exif_values(read_carried(tiff_with([(270, 2, b"Grandma\0")]), "TIFF").exif or b"")


@pytest.mark.parametrize("kind", [1, 4, 7])
def test_iptc_of_a_tiff_is_byte_exact(kind: int) -> None:
    iptc = made_iptc().ljust(32, b"\0")
    assert read_carried(tiff_with([(33723, kind, iptc)]), "TIFF").iptc == iptc
    reversed_words = b"".join(iptc[at : at + 4][::-1] for at in range(0, 32, 4))
    assert read_carried(tiff_with([(33723, 4, reversed_words)]), "TIFF").iptc == iptc


def test_a_thumbnail_page_is_not_the_picture() -> None:
    second_at = 400
    rows = [(254, 4, (1).to_bytes(4, "little")), (270, 2, b"thumb\0"), (315, 2, b"A. Name\0")]
    first = tiff_with(rows, following=second_at)
    rows = [(256, 4, (9).to_bytes(4, "little")), (270, 2, b"picture\0"), (282, 5, b"\x64\0\0\0\1\0\0\0")]
    data = first.ljust(second_at, b"\0") + directory([*rows, (283, 5, b"\x64\0\0\0\1\0\0\0")], second_at, "little")
    found = read_carried(data, "TIFF")
    values = exif_values(found.exif or b"")
    assert values["IFD0", 270][2] == b"picture\0" and values["IFD0", 315][2] == b"A. Name\0"
    assert found.dpi == (100.0, 100.0)


def test_a_far_maker_note_is_told_and_a_near_one_keeps_its_place() -> None:
    near = tiff_with([(0x8769, 4, (200).to_bytes(4, "little"))]).ljust(200, b"\0")
    near += directory([(0x927C, 7, b"Canon note with offsets")], 200, "little")
    assert (read_carried(near, "TIFF").exif or b"").index(b"Canon note") == near.index(b"Canon note")
    at = 5 << 20
    for note, lost in ((b"Canon note with offsets", ("maker notes",)), (b"Apple iOS\0 inside itself", ())):
        far = tiff_with([(0x8769, 4, at.to_bytes(4, "little"))]).ljust(at, b"\0")
        found = read_carried(far + directory([(0x927C, 7, note), (0x9000, 7, b"0232")], at, "little"), "TIFF")
        assert found.unread == lost and len(found.exif or b"") < 1000
        assert (("Exif", 0x927C) in exif_values(found.exif or b"")) == (not lost)


def test_photoshop_s_thumbnails_and_copies_are_left_behind() -> None:
    stale = b"8BIM\x04\x0c\0\0\0\0\0\4thum8BIM\x04\x22\0\0\0\0\0\4exif"
    block = join_iptc(made_iptc(), stale + b"8BIM\x04\x0a\0\0\0\0\0\1x\0")
    found = read_carried(tiff_with([(34377, 7, block)]), "TIFF")
    assert found.iptc == made_iptc() and found.photoshop == b"8BIM\x04\x0a\0\0\0\0\0\1x\0"


def test_the_byte_order_of_a_tiff_follows_its_exif() -> None:
    assert (byte_order(everything("big")), byte_order(Carried())) == ("big", "little")
    for order, mark in (("big", b"MM"), ("little", b"II")):
        assert written(everything(order), "tif16")[0][:2] == mark


def test_what_write_tiff_cannot_take_is_an_error_in_words() -> None:
    for data in (b"", b"II*\0\xff\xff\xff\xff", b"II+\0\x08\0\0\0" + bytes(20)):
        with pytest.raises(OutputError, match="no classic TIFF"):
            with_carried(data, "TIFF", Carried())


def test_gif_comments_and_xmp_are_read() -> None:
    out = io.BytesIO()
    Image.fromarray(pixels()[..., 0]).save(out, "GIF", comment=b"from the attic")
    data = out.getvalue()
    assert read_carried(data, "GIF").comments == (b"from the attic",)
    ramp = b"\1" + bytes(range(255, -1, -1)) + b"\0"
    extended = data[:-1] + b"\x21\xff\x0bXMP DataXMP" + made_xmp() + ramp + b";"
    assert read_carried(extended, "GIF").xmp == made_xmp()


def test_jpeg_xl_boxes() -> None:
    stream = b"\xff\x0a" + bytes(20)
    wanted = Carried(exif=everything().exif, xmp=made_xmp())
    data, lost = with_carried(stream, "JXL", wanted)
    assert lost == () == differences(wanted, read_carried(data, "JXL")) and stream in data
    assert with_carried(data, "JXL", wanted)[0] == data
    assert with_carried(stream, "JXL", Carried())[0] == stream


@pytest.mark.parametrize("method", [0, 1])
def test_items_of_heif_are_found_in_the_file_and_in_meta(method: int) -> None:
    def box(kind: bytes, content: bytes) -> bytes:
        return (len(content) + 8).to_bytes(4, "big") + kind + content

    item = bytes(4) + made_exif()
    info = box(b"iinf", bytes(5) + b"\1" + box(b"infe", b"\2\0\0\0\0\7\0\0Exif\0"))

    def file(start: int) -> bytes:
        place = bytes((0, 7, 0, method, 0, 0, 0, 1)) + start.to_bytes(4, "big") + len(item).to_bytes(4, "big")
        location = box(b"iloc", b"\1\0\0\0\x44\0\0\1" + place)
        inner = box(b"idat", item) if method else b""
        whole = box(b"ftyp", b"heicmif1") + box(b"meta", bytes(4) + info + location + inner)
        return whole + (b"" if method else box(b"mdat", item))

    start = 0 if method else len(file(0)) - len(item)
    assert read_carried(file(start), "HEIF").exif == made_exif()


def test_a_missing_placeholder_is_told() -> None:
    data = encoded("AVIF")
    assert with_carried(data, "AVIF", Carried(exif=made_exif())) == (data, ("EXIF",))


@pytest.mark.parametrize("name", FILES)
def test_random_damage_gives_what_can_be_read(name: str) -> None:
    dice = random.Random(name)
    data, kind = written(everything(), name)[0], FILES[name][0]
    start = time.monotonic()
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(dice.randint(1, 10)):
            damaged[dice.randrange(min(len(damaged), 6000))] = dice.choice((0, 255, dice.randrange(256)))
        cut = bytes(damaged[: dice.randrange(len(damaged))] if dice.random() < 0.3 else damaged)
        found = read_carried(cut, kind)
        carried, _ = adjust(found, DOUBLE, colour_model="RGB")
        differences(carried, found)
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("kind", [*CAPACITY, "GIF", "MPO", "TGA"])
def test_what_is_no_file_of_the_kind_gives_nothing(kind: str) -> None:
    for data in (b"", b"\0", b"\xff" * 300, bytes(300), b"RIFF\xff\xff\xff\xffWEBPVP8X\xff\xff\xff\xff"):
        found = read_carried(data, kind)
        assert replace(found, unread=()) == Carried()


def test_bombs_are_not_unpacked() -> None:
    bomb = zlib.compress(bytes(40 << 20), 1)
    texts = tuple(PngText(b"zTXt", b"Raw profile type exif\0\0" + bomb) for _ in range(50))
    icc = (b"iCCP", b"n\0\0" + bomb)
    data, _ = with_carried(encoded("PNG"), "PNG", Carried(texts=texts, png_chunks=(icc,)))
    start = time.monotonic()
    found = read_carried(data, "PNG")
    assert found.icc is None and found.exif is None and "ICC profile (damaged)" in found.unread
    assert time.monotonic() - start < 5
