"""XMP packets as bytes: parsed safely, corrected for a picture that is turned and resized, and written again.

An XMP packet is RDF in XML (ISO 16684-1). A property may be an attribute or an element of `rdf:Description`, and a
structure's fields may be attributes or elements of its node; all four forms are read and kept. What is not corrected
comes out as it was, and a packet in which nothing needs correction comes out byte for byte. Document types and
entities are refused, so that no packet can expand or reach other files.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lxml import etree

from gfpcli.photo.geometry import Placement

MAX_PACKET_BYTES = 64 << 20  # depth maps and original pictures are embedded as text
MAX_MARKS = 4_000_000  # signs that begin elements or give attributes their values: what memory grows with
MAX_MAIN_BYTES = 65502  # of a packet in one JPEG segment (XMP specification part 3, 1.1.3.1)
EXTENDED_CHUNK_BYTES = 65400
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
ADOBE_META = "adobe:ns:meta/"
TIFF_NS = "http://ns.adobe.com/tiff/1.0/"
EXIF = "http://ns.adobe.com/exif/1.0/"
PANO = "http://ns.google.com/photos/1.0/panorama/"
# Namespaces of region lists: (list, sizes, areas); the Metadata Working Group's and ACDSee's copy of it.
REGION_SPACES = (
    (
        "http://www.metadataworkinggroup.com/schemas/regions/",
        "http://ns.adobe.com/xap/1.0/sType/Dimensions#",
        "http://ns.adobe.com/xmp/sType/Area#",
    ),
    (
        "http://ns.acdsee.com/regions/",
        "http://ns.acdsee.com/sType/Dimensions#",
        "http://ns.acdsee.com/sType/Area#",
    ),
)
APPLIED = tuple(f"{{{regions}}}AppliedToDimensions" for regions, _, _ in REGION_SPACES)
MICROSOFT_REGION = "http://ns.microsoft.com/photo/1.2/t/Region#"
IPTC_NS = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
NOTE = "http://ns.adobe.com/xmp/note/"
XMP_NS = "http://ns.adobe.com/xap/1.0/"
HISTORY = "{http://ns.adobe.com/xap/1.0/mm/}History"
EVENT = "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"
PREFIXES = {"xmp": XMP_NS, "xmpMM": "http://ns.adobe.com/xap/1.0/mm/", "stEvt": EVENT, "Iptc4xmpExt": IPTC_NS}
EMPTY_PACKET = (
    f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="{ADOBE_META}"><rdf:RDF '
    f'xmlns:rdf="{RDF}"/></x:xmpmeta><?xpacket end="w"?>'
).encode()
GOOGLE_CAMERA = "http://ns.google.com/photos/1.0/camera/"
CONTAINER = "http://ns.google.com/photos/1.0/container/"
# Properties that promise data which the output does not hold: (namespace, start of the name, what it is).
BROKEN_PROMISES = (
    ("http://ns.adobe.com/hdr-gain-map/1.0/", "", "gain map"),
    ("http://ns.apple.com/HDRGainMap/1.0/", "", "gain map"),
    ("http://ns.apple.com/pixeldatainfo/1.0/", "", "auxiliary picture"),
    (GOOGLE_CAMERA, "Motion", "motion photo"),
    (GOOGLE_CAMERA, "MicroVideo", "motion photo"),
    ("http://ns.oplus.com/photos/1.0/camera/", "", "motion photo"),
    (CONTAINER, "", "directory of further pictures"),
    ("http://ns.google.com/photos/dd/1.0/device/", "", "dynamic depth"),
    (XMP_NS, "Thumbnails", "thumbnail"),
)
SIZE_PROPERTIES = {f"{{{TIFF_NS}}}ImageWidth": 1, f"{{{TIFF_NS}}}ImageLength": 0, f"{{{EXIF}}}PixelXDimension": 1}
SIZE_PROPERTIES[f"{{{EXIF}}}PixelYDimension"] = 0
PANO_PIXELS = {
    **dict.fromkeys(("FullPanoWidthPixels", "CroppedAreaImageWidthPixels", "CroppedAreaLeftPixels"), 1),
    **dict.fromkeys(("LargestValidInteriorRectLeft", "LargestValidInteriorRectWidth"), 1),
    **dict.fromkeys(("FullPanoHeightPixels", "CroppedAreaImageHeightPixels", "CroppedAreaTopPixels"), 0),
    **dict.fromkeys(("LargestValidInteriorRectTop", "LargestValidInteriorRectHeight"), 0),
}
RESOLUTIONS = {f"{{{TIFF_NS}}}XResolution": 1, f"{{{TIFF_NS}}}YResolution": 0}
LISTS = frozenset((*APPLIED, f"{{{IPTC_NS}}}RegionBoundary"))
EDITED = frozenset(
    (
        *SIZE_PROPERTIES,
        *RESOLUTIONS,
        *(f"{{{PANO}}}{name}" for name in PANO_PIXELS),
        *(f"{{{areas}}}x" for _, _, areas in REGION_SPACES),
        f"{{{TIFF_NS}}}Orientation",
        f"{{{MICROSOFT_REGION}}}Rectangle",
    )
)


@dataclass(frozen=True)
class EditedXmp:
    """An edited packet.

    Attributes:
        packet: its bytes; None where it is damaged and must not be kept, or says nothing after the removals.
        removed: what was taken out because the output does not hold what it promises, in words, each once.
        damage: why it cannot be read, None where it can.
    """

    packet: bytes | None
    removed: tuple[str, ...] = ()
    damage: str | None = None


@dataclass(frozen=True)
class _Packet:
    """A parsed packet: the text before and after its root element is kept as it is."""

    head: str
    root: etree._Element
    tail: str

    def to_bytes(self) -> bytes:
        return (self.head + etree.tostring(self.root, encoding="unicode", with_tail=False) + self.tail).encode()


def edit_xmp(
    packet: bytes, placement: Placement, *, resets_orientation: bool = True, keeps_print_size: bool = True
) -> EditedXmp:
    """The packet for a picture that is written upright and resized.

    `tiff:`, `exif:` and `GPano:` sizes become those of the output; regions of faces (mwg-rs, Microsoft, ACDSee, IPTC)
    are turned with the picture; what promises a lost part or an old thumbnail is removed. Properties that are absent
    are not added.

    Args:
        resets_orientation: `tiff:Orientation` becomes 1. Where the pixels were not turned it must stay what it was.
        keeps_print_size: scale `tiff:XResolution` and `tiff:YResolution` with the pixels.
    """
    read = _parse(packet)
    if isinstance(read, str):
        return EditedXmp(None, damage=read)
    before = etree.tostring(read.root)
    removed = _remove_promises(read.root)
    nodes = [node for node in _elements(read.root) if node.tag in LISTS or not _names(node).isdisjoint(EDITED)]
    for node in nodes:
        if resets_orientation:
            _set(node, f"{{{TIFF_NS}}}Orientation", "1")
        _edit_sizes(node, placement, keeps_print_size)
        _turn_microsoft(node, placement)
    _turn_region_lists(nodes, placement)
    _turn_boundaries(nodes, placement)
    if removed and not _facts_in(read.root):
        return EditedXmp(None, removed)
    is_same = etree.tostring(read.root) == before
    return EditedXmp(packet if is_same else read.to_bytes(), removed)


def orientation_of(packet: bytes) -> int | None:
    """`tiff:Orientation`, None where there is none from 1 to 8 or the packet is damaged."""
    read = _parse(packet)
    if isinstance(read, str):
        return None
    found = (_get(node, f"{{{TIFF_NS}}}Orientation") for node in _elements(read.root))
    values = [int(text) for text in found if text and re.fullmatch(r"[1-8]", text.strip())]
    return values[0] if values else None


def has_same_properties(packet: bytes, other: bytes) -> bool:
    """Whether two packets say the same, however they are laid out."""
    if packet.rstrip(b"\0 \r\n") == other.rstrip(b"\0 \r\n"):
        return True
    one, two = _parse(packet), _parse(other)
    return not isinstance(one, str) and not isinstance(two, str) and _facts_in(one.root) == _facts_in(two.root)


def properties_of(packet: bytes) -> dict[str, str]:
    """The top properties that are mere text, by `{namespace}name`; empty where the packet is damaged."""
    read = _parse(packet)
    if isinstance(read, str):
        return {}
    found: dict[str, str] = {}
    for node in _descriptions(read.root):
        for name in sorted(each for each in _names(node) if not each.startswith(f"{{{RDF}}}")):
            if (text := _get(node, name)) is not None:
                found.setdefault(name, text.strip())
    return found


def with_properties(
    packet: bytes | None, values: Mapping[str, str], event: Mapping[str, str], prefixes: Mapping[str, str]
) -> bytes:
    """A packet with these top properties in place of those of the same names, and one more event in its history.

    Args:
        packet: None, or one that is damaged, for a new one.
        values: text by `{namespace}name`; an empty one only removes.
        event: fields of the event (XMP specification part 1, 8.6.1: ResourceEvent), by their names in `stEvt:`.
        prefixes: of further namespaces, for the new properties.
    """
    read = _parse(packet or EMPTY_PACKET)
    read = _parse(EMPTY_PACKET) if isinstance(read, str) else read
    assert not isinstance(read, str)
    about = next((each.get(f"{{{RDF}}}about") for each in _descriptions(read.root)), None) or ""
    for each in _descriptions(read.root):
        _remove(each, values.__contains__)
    rdf = next(read.root.iter(f"{{{RDF}}}RDF"), None)
    if rdf is None:
        rdf = etree.SubElement(read.root, f"{{{RDF}}}RDF", nsmap={"rdf": RDF})
    own = etree.SubElement(rdf, f"{{{RDF}}}Description", nsmap={**PREFIXES, **prefixes})
    own.set(f"{{{RDF}}}about", about)
    for name, text in values.items():
        if text:
            own.set(name, text)
    entry = etree.SubElement(_history_in(read.root, own), f"{{{RDF}}}li")
    for name, text in event.items():
        entry.set(f"{{{EVENT}}}{name}", text)
    return read.to_bytes()


def join_extended(packet: bytes, parts: Sequence[bytes]) -> tuple[bytes, str | None]:
    """The main packet with what JPEG stores in further segments put back, and what is damaged (None: nothing).

    Args:
        parts: the contents of the segments behind their name: GUID (32 bytes), full length, offset (32-bit big-endian
            each), data; in any order (XMP specification part 3, 1.1.3.1). Parts of other GUIDs are not used.
    """
    read = _parse(packet)
    if isinstance(read, str):
        return packet, None  # `edit_xmp` tells
    name = f"{{{NOTE}}}HasExtendedXMP"
    guid = next((text for node in _elements(read.root) if (text := _get(node, name))), None)
    if guid is None:
        return packet, "extended XMP without a reference" if parts else None
    extended = _assemble(guid.strip().encode(), parts)
    other = _parse(extended) if extended is not None else "incomplete"
    for node in _elements(read.root):
        _remove(node, lambda tag: tag == name)
    if not isinstance(other, str):
        _move_descriptions(other.root, read.root)
    return read.to_bytes(), "extended XMP is incomplete or damaged" if isinstance(other, str) else None


def split_extended(packet: bytes, max_bytes: int = MAX_MAIN_BYTES) -> tuple[bytes | None, tuple[bytes, ...]]:
    """A packet as a main one of at most so many bytes and the contents of further JPEG segments (see `join_extended`).

    The largest properties move out first. (None, ()) where it cannot be split so.
    """
    if len(packet) <= max_bytes:
        return packet, ()
    read = _parse(packet)
    if isinstance(read, str):
        return None, ()
    read = _Packet(read.head, read.root, re.sub(r"\s+", "\n", read.tail))  # padding goes first
    if len(read.to_bytes()) <= max_bytes:
        return read.to_bytes(), ()
    extended = _move_largest(read, max_bytes - 300)  # room for the reference and its namespace
    guid = hashlib.md5(extended, usedforsecurity=False).hexdigest().upper()
    first = next(read.root.iter(f"{{{RDF}}}RDF"), None)
    if first is None:
        return None, ()
    note = etree.SubElement(first, f"{{{RDF}}}Description", nsmap={"xmpNote": NOTE})
    note.set(f"{{{RDF}}}about", "")
    note.set(f"{{{NOTE}}}HasExtendedXMP", guid)
    main = read.to_bytes()
    return (main, tuple(_text_pieces(guid, extended))) if len(main) <= max_bytes else (None, ())


def _parse(packet: bytes) -> _Packet | str:
    """A packet's root element, or why it cannot be read."""
    if len(packet) > MAX_PACKET_BYTES:
        return f"its XMP is larger than {MAX_PACKET_BYTES >> 20} MB"
    try:
        text = _decode(packet)
        start = re.search(r"<(?:[A-Za-z_][\w.-]*:)?[A-Za-z_]", text)
        end = text.rfind("<?xpacket")
        if start is None:
            return "its XMP has no content"
        end = len(text) if end < start.start() else end
        body = text[start.start() : end]
        if text.count("<") + text.count("=") > MAX_MARKS:
            return "its XMP has too many elements"
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            return "its XMP declares entities, which is not allowed"
        parser = etree.XMLParser(
            resolve_entities=False, no_network=True, load_dtd=False, huge_tree=len(packet) > 9 << 20, remove_pis=False
        )
        root = etree.fromstring(body.rstrip("\0 \r\n\t").encode(), parser)
    except (etree.XMLSyntaxError, UnicodeDecodeError, ValueError):
        return "its XMP is no well-formed XML"
    head, tail = text[: start.start()], body[len(body.rstrip("\0 \r\n\t")) :] + text[end:]
    return _Packet(re.sub(r"<\?xml[^>]*\?>", "", head), root, tail.replace("\0", ""))


def _decode(packet: bytes) -> str:
    """The text of a packet in one of the encodings that XMP allows, by its first bytes."""
    encodings = ((b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
    found = next((name for start, name in encodings if packet.startswith(start)), "utf-8-sig")
    return packet.decode(found)


def _elements(root: etree._Element) -> list[etree._Element]:
    """All elements, without comments and processing instructions."""
    return [node for node in root.iter() if isinstance(node.tag, str)]


def _get(node: etree._Element, name: str) -> str | None:
    """A property of a node: its attribute, or the text of the child element (or of that one's `rdf:value`)."""
    if (value := node.get(name)) is not None:
        return str(value)
    child = node.find(name)
    if child is None:
        return None
    inner = child.find(f"{{{RDF}}}value")
    return (inner if inner is not None else child).text


def _set(node: etree._Element, name: str, value: str) -> None:
    """Changes a property that `_get` finds; adds none."""
    if node.get(name) is not None:
        node.set(name, value)
    for child in node.findall(name):
        inner = child.find(f"{{{RDF}}}value")
        (inner if inner is not None else child).text = value


def _change(node: etree._Element, name: str, change: Callable[[float], str]) -> None:
    """Changes a property that is a number; another is left as it is."""
    text = _get(node, name)
    number = _as_number(text)
    if number is not None:
        _set(node, name, change(number))


def _as_number(text: str | None) -> float | None:
    """A decimal number or an XMP rational ("300/1"), None where the text is neither."""
    match = re.fullmatch(r"\s*(-?\d{1,15}(?:\.\d{0,20})?(?:[eE][+-]?\d{1,2})?)(?:/(\d{1,15}))?\s*", text or "")
    if match is None or (match[2] and int(match[2]) == 0):
        return None
    return float(match[1]) / float(match[2] or 1)


def _remove(node: etree._Element, is_wanted_out: Callable[[str], bool]) -> bool:
    """Removes the attributes and child elements of a node with such names; whether there were any."""
    attributes = [name for name in node.attrib if is_wanted_out(str(name))]
    children = [child for child in node if isinstance(child.tag, str) and is_wanted_out(child.tag)]
    for name in attributes:
        del node.attrib[name]
    for child in children:
        _detach(child)
    return bool(attributes or children)


def _detach(node: etree._Element) -> None:
    """Removes an element; lxml would take the text behind it along."""
    parent = node.getparent()
    if parent is None:
        return
    previous = node.getprevious()
    if node.tail and previous is not None:
        previous.tail = (previous.tail or "") + node.tail
    elif node.tail:
        parent.text = (parent.text or "") + node.tail
    parent.remove(node)


def _remove_promises(root: etree._Element) -> tuple[str, ...]:
    """What the properties were that have been removed, in words, each once."""
    starts = {f"{{{namespace}}}{start}": words for namespace, start, words in BROKEN_PROMISES}
    every = tuple(starts)
    names = {name for node in _elements(root) for name in _names(node) if name.startswith(every)}
    for node in _elements(root) if names else ():
        _remove(node, names.__contains__)
    found = (words for start, words in starts.items() if any(name.startswith(start) for name in names))
    return tuple(dict.fromkeys(found))


def _names(node: etree._Element) -> set[str]:
    """The names of a node's attributes and child elements."""
    return {str(name) for name in node.attrib} | {child.tag for child in node if isinstance(child.tag, str)}


def _edit_sizes(node: etree._Element, placement: Placement, keeps_print_size: bool) -> None:
    """The properties of a node that count pixels of the whole picture."""
    for name, axis in SIZE_PROPERTIES.items():
        _set(node, name, str(placement.output[axis]))
    for name, axis in PANO_PIXELS.items():
        scale = placement.scale[axis]
        _change(node, f"{{{PANO}}}{name}", lambda number, scale=scale: str(round(number * scale)))  # type: ignore[misc]
    for name, axis in RESOLUTIONS.items() if keeps_print_size else ():
        scale = placement.scale[axis]
        _change(node, name, lambda number, scale=scale: f"{round(number * scale * 1000)}/1000")  # type: ignore[misc]


def _turn_region_lists(nodes: list[etree._Element], placement: Placement) -> None:
    """Areas in the lists that know the size they were made for, then the others; none is turned twice."""
    done: set[etree._Element] = set()
    for applied in nodes:
        if applied.tag in APPLIED and (parent := applied.getparent()) is not None and applied not in done:
            _edit_region_list(parent, applied, placement)
            done.update(_elements(parent))
    for node in nodes:
        if node not in done:
            _turn_areas(node, placement)


def _edit_region_list(info: etree._Element, applied: etree._Element, placement: Placement) -> None:
    """A list of regions with the size it was made for (MWG guidelines 2.0, section 5.9).

    Regions belong to the stored picture. Some programs write them for the upright one: its size tells.
    """
    sizes = REGION_SPACES[APPLIED.index(applied.tag)][1]
    inner = applied.find(f"{{{RDF}}}Description")
    size = applied if inner is None else inner
    width, height = _as_number(_get(size, f"{{{sizes}}}w")), _as_number(_get(size, f"{{{sizes}}}h"))
    is_upright = bool(width and height) and _is_upright_size(width or 1, height or 1, placement)
    for each in _elements(info):
        _turn_areas(each, Placement(placement.upright, 1, placement.output) if is_upright else placement)
    _set(size, f"{{{sizes}}}w", str(placement.output[1]))
    _set(size, f"{{{sizes}}}h", str(placement.output[0]))
    _set(size, f"{{{sizes}}}unit", "pixel")


def _is_upright_size(width: float, height: float, placement: Placement) -> bool:
    """Whether a size has the shape of the upright picture rather than that of the stored one."""
    stored, upright = placement.stored, placement.upright
    return abs(width * upright[0] - height * upright[1]) < abs(width * stored[0] - height * stored[1])


def _turn_areas(node: etree._Element, placement: Placement) -> None:
    """An area by its centre x, y and size w, h, as shares of the picture's sides or in pixels."""
    for _, _, space in REGION_SPACES:
        x, y = _as_number(_get(node, f"{{{space}}}x")), _as_number(_get(node, f"{{{space}}}y"))
        if x is None or y is None:
            continue
        is_pixels = (_get(node, f"{{{space}}}unit") or "").strip() == "pixel"
        size = _as_number(_get(node, f"{{{space}}}w")), _as_number(_get(node, f"{{{space}}}h"))
        _set_pair(node, space, ("x", "y"), _turn_area(placement, x, y, is_pixels))
        if size[0] is not None and size[1] is not None:
            _set_pair(node, space, ("w", "h"), _turn_size(placement, size[0], size[1], is_pixels))


def _turn_area(placement: Placement, x: float, y: float, is_pixels: bool) -> tuple[float, float]:
    return placement.turn_pixel(x, y) if is_pixels else placement.turn_point(x, y)


def _turn_size(placement: Placement, width: float, height: float, is_pixels: bool) -> tuple[float, float]:
    turned = placement.turn_pixels_size if is_pixels else placement.turn_size
    return turned(width, height)


def _set_pair(node: etree._Element, space: str, names: tuple[str, str], values: tuple[float, float]) -> None:
    for name, value in zip(names, values, strict=True):
        _set_number(node, f"{{{space}}}{name}", value)


def _set_number(node: etree._Element, name: str, value: float) -> None:
    """Changes a number; one that stays equal keeps its spelling."""
    before = _as_number(_get(node, name))
    if before is not None and abs(before - value) > 1e-9:
        _set(node, name, f"{value:.6f}".rstrip("0").rstrip("."))


def _turn_microsoft(node: etree._Element, placement: Placement) -> None:
    """`MPReg:Rectangle`: "left, top, width, height" as shares of the picture's sides."""
    name = f"{{{MICROSOFT_REGION}}}Rectangle"
    numbers = [_as_number(part) for part in (_get(node, name) or "").split(",")]
    known = [number for number in numbers if number is not None]
    if placement.orientation == 1 or len(known) != 4 or len(numbers) != 4:
        return
    left, top, width, height = known
    box = (*_turned_corner(placement, left, top, width, height, False), *placement.turn_size(width, height))
    _set(node, name, ", ".join(f"{value:.6f}".rstrip("0").rstrip(".") for value in box))


def _turned_corner(
    placement: Placement, left: float, top: float, width: float, height: float, is_pixels: bool
) -> tuple[float, float]:
    """The left and top of a turned box: two opposite corners are turned."""
    one = _turn_area(placement, left, top, is_pixels)
    two = _turn_area(placement, left + width, top + height, is_pixels)
    return min(one[0], two[0]), min(one[1], two[1])


def _turn_boundaries(nodes: list[etree._Element], placement: Placement) -> None:
    """IPTC image regions (IPTC Photo Metadata Standard 2019.1, "Image Region"); none is turned twice."""
    done: set[etree._Element] = set()
    for node in nodes:
        if node.tag == f"{{{IPTC_NS}}}RegionBoundary" and node not in done:
            inner = node.find(f"{{{RDF}}}Description")
            unit = _get(node if inner is None else inner, f"{{{IPTC_NS}}}rbUnit") or "relative"
            for each in _elements(node):
                _turn_boundary(each, placement, unit.strip() == "pixel")
            done.update(_elements(node))


def _turn_boundary(node: etree._Element, placement: Placement, is_pixels: bool) -> None:
    """A rectangle by its corner, a circle by its centre, or one vertex of a polygon."""
    x, y = _as_number(_get(node, f"{{{IPTC_NS}}}rbX")), _as_number(_get(node, f"{{{IPTC_NS}}}rbY"))
    if x is None or y is None:
        return
    width, height = _as_number(_get(node, f"{{{IPTC_NS}}}rbW")), _as_number(_get(node, f"{{{IPTC_NS}}}rbH"))
    radius = _as_number(_get(node, f"{{{IPTC_NS}}}rbRx"))
    if width is not None and height is not None:
        _set_pair(node, IPTC_NS, ("rbX", "rbY"), _turned_corner(placement, x, y, width, height, is_pixels))
        _set_pair(node, IPTC_NS, ("rbW", "rbH"), _turn_size(placement, width, height, is_pixels))
        return
    _set_pair(node, IPTC_NS, ("rbX", "rbY"), _turn_area(placement, x, y, is_pixels))
    if radius is not None:  # a share of the picture's width, or pixels
        share = radius * placement.stored[1] / max(placement.upright[1], 1)
        _set_number(node, f"{{{IPTC_NS}}}rbRx", radius * placement.scale[1] if is_pixels else share)


def _facts_in(root: etree._Element) -> list[tuple[str, str]]:
    """(name, canonical value) of the top properties, sorted."""
    found = []
    for description in _descriptions(root):
        own = (pair for pair in description.attrib.items() if not str(pair[0]).startswith(f"{{{RDF}}}"))
        found += [(str(name), str(value)) for name, value in own]
        for child in description:
            if isinstance(child.tag, str):
                found.append((child.tag, _canonical(child)))
    return sorted(found)


def _canonical(node: etree._Element) -> str:
    """An element in one spelling, a mere text as its text, so that it equals an attribute."""
    if len(node) == 0 and not node.attrib:
        return node.text or ""
    parts = []
    for event, each in etree.iterwalk(node, events=("start", "end")):
        if event == "start":
            parts.append(f"<{each.tag} {sorted(each.attrib.items())}>{(each.text or '').strip()}")
        else:
            parts.append(f"</>{(each.tail or '').strip() if each is not node else ''}")
    return "".join(parts)


def _history_in(root: etree._Element, own: etree._Element) -> etree._Element:
    """The list of a packet's history (`xmpMM:History`), made in the description `own` where there is none."""
    for each in _descriptions(root):
        found = each.find(f"{HISTORY}/{{{RDF}}}Seq")
        if found is not None:
            return found
    return etree.SubElement(etree.SubElement(own, HISTORY), f"{{{RDF}}}Seq")


def _descriptions(root: etree._Element) -> Iterator[etree._Element]:
    for rdf in root.iter(f"{{{RDF}}}RDF"):
        yield from rdf.findall(f"{{{RDF}}}Description")


def _assemble(guid: bytes, parts: Sequence[bytes]) -> bytes | None:
    """The extended packet from its parts; None where one is missing, or they are not what the GUID was made of."""
    own = [part for part in parts if part[:32] == guid and len(part) > 40]
    pieces = {int.from_bytes(part[36:40], "big"): part[40:] for part in own}
    ends = [0, *(at + len(pieces[at]) for at in sorted(pieces))]
    if ends[:-1] != sorted(pieces) or ends[-1] > MAX_PACKET_BYTES:
        return None
    whole = b"".join(pieces[at] for at in sorted(pieces))
    is_whole = bool(own) and len(whole) == int.from_bytes(own[0][32:36], "big")
    is_own = hashlib.md5(whole, usedforsecurity=False).hexdigest().upper().encode() == guid.upper()
    return whole if is_whole and is_own else None


def _move_descriptions(source: etree._Element, target: etree._Element) -> None:
    """Appends the descriptions of one packet to another."""
    rdf = next(target.iter(f"{{{RDF}}}RDF"), None)
    if rdf is not None:
        rdf.extend(list(_descriptions(source)))


def _move_largest(read: _Packet, max_bytes: int) -> bytes:
    """Takes properties out of a packet, the largest first, until it fits; they are the extended packet's bytes."""
    extended = etree.Element(f"{{{ADOBE_META}}}xmpmeta", nsmap={"x": ADOBE_META})
    rdf = etree.SubElement(extended, f"{{{RDF}}}RDF", nsmap={"rdf": RDF})
    target = etree.SubElement(rdf, f"{{{RDF}}}Description")
    target.set(f"{{{RDF}}}about", "")
    excess = len(read.to_bytes()) - max_bytes
    for size, name, node in _by_size(read.root):
        if excess <= 0:
            break
        if name is None:
            target.append(_detached(node))
        else:
            etree.SubElement(target, name).text = node.attrib.pop(name)
        excess -= size
    return etree.tostring(extended, encoding="utf-8")


def _by_size(root: etree._Element) -> list[tuple[int, str | None, etree._Element]]:
    """(bytes, attribute or None, element) of the top properties, the largest first."""
    found: list[tuple[int, str | None, etree._Element]] = []
    for description in _descriptions(root):
        own = [(str(name), str(value)) for name, value in description.attrib.items()]
        found += [(len(value), name, description) for name, value in own if not name.startswith(f"{{{RDF}}}")]
        children = [child for child in description if isinstance(child.tag, str)]
        found += [(len(etree.tostring(child, with_tail=False)), None, child) for child in children]
    return sorted(found, key=lambda each: -each[0])


def _detached(node: etree._Element) -> etree._Element:
    _detach(node)
    node.tail = None
    return node


def _text_pieces(guid: str, extended: bytes) -> Iterator[bytes]:
    full = len(extended).to_bytes(4, "big")
    for at in range(0, len(extended), EXTENDED_CHUNK_BYTES):
        yield guid.encode() + full + at.to_bytes(4, "big") + extended[at : at + EXTENDED_CHUNK_BYTES]
