"""XMP packets: edited in every form of RDF, kept otherwise, split and joined; hostile ones are refused."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from gfpcli.photo.embed import read_carried
from gfpcli.photo.geometry import Placement
from gfpcli.photo.sidecars import edit_sidecar, find_sidecars, sidecar_names, sidecar_output
from gfpcli.photo.xmp import (
    MAX_MAIN_BYTES,
    edit_xmp,
    has_same_properties,
    join_extended,
    orientation_of,
    split_extended,
)
from tests.photo.made import REPORTS, made_xmp, needs_reports

TURNED = Placement(stored=(480, 640), orientation=6, output=(1280, 960))
SAME = Placement((480, 640), 1, (480, 640))
# Where the stored point (0.2, 0.3) lies in the upright picture, by orientation (EXIF 2.32, figure 20).
POINTS = {
    1: (0.2, 0.3),
    2: (0.8, 0.3),
    3: (0.8, 0.7),
    4: (0.2, 0.7),
    5: (0.3, 0.2),
    6: (0.7, 0.2),
    7: (0.7, 0.8),
    8: (0.3, 0.8),
}
AREA_FORMS = {
    "elements": '<mwg-rs:Area rdf:parseType="Resource"><stArea:x>0.2</stArea:x><stArea:y>0.3</stArea:y>'
    "<stArea:w>0.1</stArea:w><stArea:h>0.06</stArea:h><stArea:unit>normalized</stArea:unit></mwg-rs:Area>",
    "attributes": '<mwg-rs:Area stArea:x="0.2" stArea:y="0.3" stArea:w="0.1" stArea:h="0.06" '
    'stArea:unit="normalized"/>',
    "description": '<mwg-rs:Area><rdf:Description stArea:x="0.2" stArea:y="0.3" stArea:w="0.1" stArea:h="0.06"/>'
    "</mwg-rs:Area>",
}
SIZE_FORMS = {
    "elements": '<mwg-rs:AppliedToDimensions rdf:parseType="Resource"><stDim:w>{w}</stDim:w><stDim:h>{h}</stDim:h>'
    "</mwg-rs:AppliedToDimensions>",
    "attributes": '<mwg-rs:AppliedToDimensions stDim:w="{w}" stDim:h="{h}"/>',
    "description": '<mwg-rs:AppliedToDimensions><rdf:Description stDim:w="{w}" stDim:h="{h}"/>'
    "</mwg-rs:AppliedToDimensions>",
}


def regions(form: str = "elements", width: int = 640, height: int = 480) -> bytes:
    """A packet with one face region named Anna."""
    wrapper = '<rdf:li rdf:parseType="Resource">' + AREA_FORMS[form] + "<mwg-rs:Name>Anna</mwg-rs:Name></rdf:li>"
    return made_xmp(
        '<mwg-rs:Regions rdf:parseType="Resource">'
        + SIZE_FORMS[form].format(w=width, h=height)
        + f"<mwg-rs:RegionList><rdf:Bag>{wrapper}</rdf:Bag></mwg-rs:RegionList></mwg-rs:Regions>"
    )


def value(packet: bytes | None, name: str) -> str:
    """The text of a property that is an attribute or an element, by its prefixed name."""
    text = (packet or b"").decode()
    for start, end in ((f'{name}="', '"'), (f"<{name}>", "<")):
        if start in text:
            return text.split(start, 1)[1].split(end, 1)[0]
    return ""


@pytest.mark.parametrize("form", AREA_FORMS)
@pytest.mark.parametrize("orientation", POINTS)
def test_face_regions_turn_with_the_picture(orientation: int, form: str) -> None:
    output = (1280, 960) if orientation > 4 else (960, 1280)
    edited = edit_xmp(regions(form), Placement((480, 640), orientation, output)).packet
    found = tuple(float(value(edited, f"stArea:{name}")) for name in ("x", "y"))
    size = ("0.06", "0.1") if orientation > 4 else ("0.1", "0.06")
    assert found == pytest.approx(POINTS[orientation])
    assert (value(edited, "stArea:w"), value(edited, "stArea:h")) == size
    assert (value(edited, "stDim:w"), value(edited, "stDim:h")) == (str(output[1]), str(output[0]))
    assert value(edited, "mwg-rs:Name") == "Anna"


def test_regions_that_were_written_for_the_upright_picture_are_not_turned() -> None:
    edited = edit_xmp(regions(width=480, height=640), TURNED).packet
    assert (value(edited, "stArea:x"), value(edited, "stArea:y")) == ("0.2", "0.3")
    assert (value(edited, "stDim:w"), value(edited, "stDim:h")) == ("960", "1280")


def test_areas_in_pixels_are_scaled() -> None:
    packet = regions().replace(b"normalized", b"pixel").replace(b">0.2<", b">128<").replace(b">0.3<", b">144<")
    edited = edit_xmp(packet.replace(b">0.1<", b">64<").replace(b">0.06<", b">28.8<"), TURNED).packet
    assert [value(edited, f"stArea:{name}") for name in "xywh"] == ["672", "256", "57.6", "128"]


@pytest.mark.parametrize("form", ["MPReg:Rectangle", "attribute"])
def test_microsoft_s_rectangles_turn(form: str) -> None:
    inner = (
        '<rdf:li MPReg:Rectangle="0.1, 0.2, 0.3, 0.4" MPReg:PersonDisplayName="Anna"/>'
        if form == "attribute"
        else '<rdf:li rdf:parseType="Resource"><MPReg:Rectangle>0.1, 0.2, 0.3, 0.4</MPReg:Rectangle></rdf:li>'
    )
    body = f'<MP:RegionInfo rdf:parseType="Resource"><MPRI:Regions><rdf:Bag>{inner}</rdf:Bag></MPRI:Regions>'
    edited = edit_xmp(made_xmp(body + "</MP:RegionInfo>"), TURNED).packet
    assert value(edited, "MPReg:Rectangle") == "0.4, 0.1, 0.4, 0.3"


def test_iptc_s_regions_turn() -> None:
    def boundary(inner: str) -> bytes:
        start = '<Iptc4xmpExt:RegionBoundary rdf:parseType="Resource">'
        return made_xmp(start + inner + "</Iptc4xmpExt:RegionBoundary>")

    def fields(**numbers: str) -> str:
        return "".join(f"<Iptc4xmpExt:{name}>{text}</Iptc4xmpExt:{name}>" for name, text in numbers.items())

    box = edit_xmp(boundary(fields(rbUnit="relative", rbX="0.1", rbY="0.2", rbW="0.3", rbH="0.4")), TURNED).packet
    assert [value(box, f"Iptc4xmpExt:rb{name}") for name in "XYWH"] == ["0.4", "0.1", "0.4", "0.3"]
    circle = edit_xmp(boundary(fields(rbUnit="pixel", rbX="64", rbY="48", rbRx="10")), TURNED).packet
    assert [value(circle, f"Iptc4xmpExt:rb{name}") for name in ("X", "Y", "Rx")] == ["864", "128", "20"]
    corner = f'<rdf:li rdf:parseType="Resource">{fields(rbX="0.2", rbY="0.3")}</rdf:li>'
    vertices = f"<Iptc4xmpExt:rbVertices><rdf:Seq>{corner}</rdf:Seq></Iptc4xmpExt:rbVertices>"
    polygon = edit_xmp(boundary(fields(rbUnit="relative") + vertices), TURNED).packet
    assert [value(polygon, f"Iptc4xmpExt:rb{name}") for name in "XY"] == ["0.7", "0.2"]


@pytest.mark.parametrize("form", ["attributes", "elements"])
def test_orientation_sizes_resolution_and_panorama(form: str) -> None:
    names = {
        "tiff:Orientation": ("6", "1"),
        "tiff:ImageWidth": ("640", "960"),
        "tiff:ImageLength": ("480", "1280"),
        "exif:PixelXDimension": ("640", "960"),
        "exif:PixelYDimension": ("480", "1280"),
        "tiff:XResolution": ("300/1", "600000/1000"),
        "GPano:FullPanoWidthPixels": ("480", "960"),
        "GPano:CroppedAreaTopPixels": ("11", "22"),
        "GPano:ProjectionType": ("equirectangular", "equirectangular"),
    }
    before = {name: old for name, (old, _) in names.items()}
    attributes = " ".join(f'{name}="{old}"' for name, old in before.items())
    elements = "".join(f"<{name}>{old}</{name}>" for name, old in before.items())
    packet = made_xmp(elements) if form == "elements" else made_xmp("", attributes)
    edited = edit_xmp(packet, TURNED).packet
    assert {name: value(edited, name) for name in names} == {name: new for name, (_, new) in names.items()}
    unturned = edit_xmp(packet, TURNED, resets_orientation=False, keeps_print_size=False).packet
    assert (value(unturned, "tiff:Orientation"), value(unturned, "tiff:XResolution")) == ("6", "300/1")


def test_what_promises_a_lost_part_goes_and_is_told() -> None:
    attributes = 'hdrgm:Version="1.0" GCamera:MotionPhoto="1" GCamera:MicroVideoOffset="7" GCamera:BurstID="b"'
    body = (
        "<hdrgm:GainMapMax>2</hdrgm:GainMapMax><Container:Directory><rdf:Seq><rdf:li/></rdf:Seq></Container:Directory>"
        "kept text"
    )
    edited = edit_xmp(made_xmp(body, attributes), SAME)
    text = (edited.packet or b"").decode()
    assert edited.removed == ("gain map", "motion photo", "directory of further pictures")
    assert not any(part in text for part in ("hdrgm:", "GCamera:M", "Container:D", "GainMapMax>"))
    assert 'GCamera:BurstID="b"' in text and "family" in text and "kept text" in text


def test_a_packet_that_held_only_promises_goes_whole() -> None:
    packet = made_xmp("", 'hdrgm:Version="1.0"')
    start, end = packet.index(b"<dc:subject>"), packet.index(b"</dc:subject>") + len(b"</dc:subject>")
    edited = edit_xmp(packet[:start] + packet[end:], SAME)
    assert (edited.packet, edited.removed, edited.damage) == (None, ("gain map",), None)


def test_a_packet_that_needs_no_edit_stays_byte_for_byte() -> None:
    assert edit_xmp(made_xmp(), TURNED).packet == made_xmp()
    assert edit_xmp(made_xmp("", "tiff:Orientation='1'"), TURNED).packet == made_xmp("", "tiff:Orientation='1'")


def test_the_wrapper_its_padding_and_comments_stay() -> None:
    packet = made_xmp("<!-- a note --><dc:title>T</dc:title>", 'tiff:Orientation="6"')
    edited = edit_xmp(packet, TURNED).packet or b""
    assert edited.startswith(packet[: packet.index(b"<x:xmpmeta")])
    assert edited.endswith(b"</x:xmpmeta>\n" + b" " * 40 + b"\n<?xpacket end='w'?>")
    assert b"<!-- a note -->" in edited and b"<dc:title>T</dc:title>" in edited


def test_other_encodings_and_zero_bytes_are_read() -> None:
    text = made_xmp("", 'tiff:Orientation="6"').decode()
    for packet in (text.encode("utf-16"), b"\xef\xbb\xbf" + text.encode(), text.encode() + bytes(3)):
        assert orientation_of(packet) == 6
        assert orientation_of(edit_xmp(packet, TURNED).packet or b"") == 1


@needs_reports
def test_the_reports() -> None:
    turned = read_carried((REPORTS / "regions_o6.jpg").read_bytes(), "JPEG").xmp or b""
    edited = edit_xmp(turned, Placement((320, 256), 6, (512, 640)))
    assert [value(edited.packet, f"stArea:{name}") for name in "xywh"] == ["0.44", "0.2", "0.17", "0.25"]
    assert [value(edited.packet, f"stDim:{name}") for name in "wh"] == ["640", "512"]
    for name, removed in (("ultrahdr.jpg", "gain map"), ("PXL_motion.MP.jpg", "motion photo")):
        found = edit_xmp(read_carried((REPORTS / name).read_bytes(), "JPEG").xmp or b"", SAME)
        assert removed in found.removed and found.packet is None
    oriented = read_carried((REPORTS / "xmp_orient.jpg").read_bytes(), "JPEG").xmp or b""
    assert orientation_of(edit_xmp(oriented, TURNED).packet or b"") == 1


BOMB = "<!DOCTYPE x [" + '<!ENTITY a "aaaaaaaaaa">' + '<!ENTITY b "&a;&a;&a;&a;">' + "]>"
REFUSED = {
    "bomb": BOMB.encode() + made_xmp("<dc:title>&b;</dc:title>"),
    "external": b'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>' + made_xmp("<dc:title>&f;</dc:title>"),
    "bomb inside": made_xmp().replace(b"<x:xmpmeta", BOMB.encode() + b"<x:xmpmeta"),
    "cut": made_xmp()[:500],
    "empty": b"",
    "zeros": bytes(1000),
    "no text": b"\xff\xfe\x00\xd8" * 20 + b"\xff",
    "latin-1": made_xmp("<dc:title>Grossmutter</dc:title>").replace(b"ss", b"\xdf"),
    "unknown entity": made_xmp("<dc:title>&nbsp;</dc:title>"),
    "deep": made_xmp("<a>" * 3000 + "</a>" * 3000),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_safely_is_refused_in_words(name: str) -> None:
    edited = edit_xmp(REFUSED[name], TURNED)
    assert edited.packet is None and (edited.damage or "").startswith("its XMP ")
    assert orientation_of(REFUSED[name]) is None


def test_hostile_sizes_take_little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.monotonic()
    point = '<rdf:li Iptc4xmpExt:rbX="0.1" Iptc4xmpExt:rbY="0.1"/>' * 10_000
    seq = f"<Iptc4xmpExt:rbVertices><rdf:Seq>{point}</rdf:Seq></Iptc4xmpExt:rbVertices>"
    many = f'<Iptc4xmpExt:RegionBoundary rdf:parseType="Resource">{seq}</Iptc4xmpExt:RegionBoundary>'
    assert edit_xmp(made_xmp(many + '<rdf:li stArea:x="0.1" stArea:y="0.1"/>' * 10_000), TURNED).packet
    monkeypatch.setattr("gfpcli.photo.xmp.MAX_MARKS", 10_000)
    assert edit_xmp(made_xmp("<a/>" * 10_000), TURNED).damage == "its XMP has too many elements"
    assert time.monotonic() - start < 10


def test_random_damage_gives_a_result() -> None:
    dice = random.Random(19)
    packet = regions("attributes")
    for _ in range(400):
        damaged = bytearray(packet)
        for _ in range(dice.randint(1, 6)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        edited = edit_xmp(bytes(damaged[: dice.randrange(200, len(damaged))]), TURNED)
        assert (edited.packet is None) == (edited.damage is not None)
        join_extended(bytes(damaged), [bytes(damaged[:80])])


def test_a_large_packet_is_split_and_joined() -> None:
    packet = made_xmp(f"<dc:large>{'x' * 150_000}</dc:large><dc:title>T</dc:title>", f'dc:wide="{"y" * 70_000}"')
    main, parts = split_extended(packet)
    assert main and len(main) <= MAX_MAIN_BYTES and b"HasExtendedXMP" in main and b"<dc:title>T" in main
    assert len(parts) == 4 and all(len(part) <= 65_458 for part in parts)
    joined, damage = join_extended(main, parts[::-1])
    assert damage is None and has_same_properties(packet, joined) and b"HasExtendedXMP" not in joined


def test_a_small_packet_is_not_split_and_padding_goes_first() -> None:
    assert split_extended(made_xmp()) == (made_xmp(), ())
    padded = made_xmp().replace(b" " * 40, b" " * 70_000)
    main, parts = split_extended(padded)
    assert parts == () and main and len(main) < 3000 and has_same_properties(main, made_xmp())


def test_extended_parts_that_are_missing_or_changed_are_told() -> None:
    main, parts = split_extended(made_xmp(f"<dc:large>{'x' * 150_000}</dc:large>"))
    for wrong in (parts[:-1], parts[1:], (parts[0][:-1] + b"z", *parts[1:])):
        joined, damage = join_extended(main or b"", wrong)
        assert damage == "extended XMP is incomplete or damaged" and b"HasExtendedXMP" not in joined
    assert join_extended(made_xmp(), parts)[1] == "extended XMP without a reference"


def test_packets_are_compared_by_what_they_say() -> None:
    attribute, element = made_xmp("", 'dc:title="T"'), made_xmp("<dc:title>T</dc:title>")
    assert has_same_properties(attribute, element)
    assert not has_same_properties(attribute, made_xmp("<dc:title>U</dc:title>"))
    assert not has_same_properties(made_xmp(), b"damaged")


def test_sidecars_by_both_naming_rules(tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    assert [path.name for path in sidecar_names(photo)[:2]] == ["a.xmp", "a.jpg.xmp"]
    for name in ("a.xmp", "a.jpg.xmp", "b.xmp"):
        (tmp_path / name).write_bytes(made_xmp())
    assert [path.name for path in find_sidecars(photo)] == ["a.xmp", "a.jpg.xmp"]
    output = tmp_path / "out" / "a.png"
    names = [sidecar_output(path, photo, output).name for path in find_sidecars(photo)]
    assert names == ["a.xmp", "a.png.xmp"]
    assert orientation_of(edit_sidecar(made_xmp("", 'tiff:Orientation="6"'), TURNED).packet or b"") == 1
