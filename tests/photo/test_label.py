"""What outputs say of themselves: in every format, beside the photo's own metadata, read back by us and by exiftool."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from gfpcli.files.atomic import sha256_of
from gfpcli.options import RestoreOptions
from gfpcli.photo.carried import Carried
from gfpcli.photo.codec import Photo, decode_photo
from gfpcli.photo.embed import read_carried
from gfpcli.photo.encode import encode_photo
from gfpcli.photo.label import (
    AI_SYSTEM,
    ALL_DRAWN,
    CREATOR_TOOL,
    DRAWN_IN,
    GFP_NS,
    SOURCE_TYPE,
    Label,
    label_of,
    labelled,
    made_with,
    read_label,
)
from gfpcli.photo.xmp import EMPTY_PACKET, HISTORY, properties_of, with_properties
from gfpcli.weights.cache import BUILTINS
from gfpcli.weights.choose import Parts
from tests.photo.made import exiftool_all, made_xmp, needs_exiftool
from tests.photo.test_carried import FILES, everything, suffix, written

LABEL = Label("9.8.7", "compact", "ab" * 32, "0.7", n_faces=3)


def photo_of(data: bytes) -> Photo:
    return decode_photo(data, "photo", 0)


def plain(kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("strip", [False, True])
def test_every_format_says_it_beside_the_photo_s_own(name: str, strip: bool) -> None:
    kind = FILES[name][0]
    photo = photo_of(written(everything(), name)[0])
    own = photo.carried.xmp
    made = encode_photo(photo, photo.frame.image, None, kind, strip=strip, label=LABEL)
    again = encode_photo(photo, photo.frame.image, None, kind, strip=strip, label=LABEL)
    assert made.data == again.data and made.notes == ()
    packet = read_carried(made.data, kind).xmp
    assert packet and read_label(packet) == LABEL and properties_of(packet)[SOURCE_TYPE] == DRAWN_IN
    kept = properties_of(own or b"").items() - {(SOURCE_TYPE, "")}
    assert kept and (kept <= properties_of(packet).items()) is not strip
    without = encode_photo(photo, photo.frame.image, None, kind, strip=strip)
    assert read_label(read_carried(without.data, kind).xmp or b"") is None


def test_bmp_has_no_place_and_says_so() -> None:
    photo = photo_of(plain())
    labelled_one = encode_photo(photo, photo.frame.image, None, "BMP", label=LABEL)
    assert labelled_one.notes == ("it has no label: BMP holds no XMP",)
    assert encode_photo(photo, photo.frame.image, None, "BMP").notes == ()


def test_extended_xmp_keeps_the_label_in_the_main_packet() -> None:
    long = with_properties(None, {f"{{{GFP_NS}}}Note": "x" * 90_000}, {}, {"gfp": GFP_NS})
    photo = replace(photo_of(plain("JPEG")), carried=Carried(xmp=long))
    made = encode_photo(photo, photo.frame.image, None, "JPEG", label=LABEL)
    assert b"http://ns.adobe.com/xmp/extension/" in made.data and made.notes == ()
    packet = read_carried(made.data, "JPEG").xmp
    assert packet and read_label(packet) == LABEL and len(packet) > 90_000
    start = made.data.index(b"http://ns.adobe.com/xap/1.0/\0")
    assert DRAWN_IN.encode() in made.data[start : start + 65_000]


def test_no_face_drawn_claims_nothing_but_a_drawn_background_does() -> None:
    found = properties_of(labelled(None, replace(LABEL, n_faces=0)))
    assert SOURCE_TYPE not in found and AI_SYSTEM not in found and read_label(labelled(None, LABEL)) == LABEL
    both = replace(LABEL, n_faces=0, background="realesrgan-x2")
    assert properties_of(labelled(None, both))[SOURCE_TYPE] == DRAWN_IN and read_label(labelled(None, both)) == both
    claimed = labelled(None, LABEL)  # an output that is restored again, in which no face is found
    assert properties_of(labelled(claimed, replace(LABEL, n_faces=0)))[SOURCE_TYPE] == DRAWN_IN


@pytest.mark.parametrize(("before", "after"), [("digitalCapture", DRAWN_IN), ("trainedAlgorithmicMedia", ALL_DRAWN)])
def test_what_the_photo_said_of_its_source(before: str, after: str) -> None:
    said = {SOURCE_TYPE: f"http://cv.iptc.org/newscodes/digitalsourcetype/{before}"}
    packet = labelled(with_properties(None, said, {}, {}), LABEL)
    assert properties_of(packet)[SOURCE_TYPE] == after and packet.count(b":DigitalSourceType") == 1


def test_the_creator_s_name_stays_and_the_history_grows() -> None:
    first = labelled(None, LABEL)
    assert properties_of(first)[CREATOR_TOOL] == "gfp 9.8.7"
    assert CREATOR_TOOL not in properties_of(labelled(None, LABEL, has_creator=True))
    camera = with_properties(None, {CREATOR_TOOL: "Camera 1"}, {"action": "created"}, {})
    packet = labelled(labelled(camera, LABEL), LABEL)
    assert properties_of(packet)[CREATOR_TOOL] == "Camera 1"
    assert packet.count(b"softwareAgent=") == 2 and b'action="created"' in packet
    assert packet.count(HISTORY.rpartition("}")[2].encode()) == 2  # one element: its start and its end


@pytest.mark.parametrize(
    "packet",
    [b"", b"no xml", b"<x", EMPTY_PACKET, made_xmp(), labelled(None, replace(LABEL, version=""))],
    ids=["empty", "text", "cut", "bare", "other", "no version"],
)  # fmt: skip
def test_what_is_no_label_is_none(packet: bytes) -> None:
    assert read_label(packet) is None
    assert read_label(labelled(packet, LABEL)) == LABEL  # nor does it stand in the way of one


def test_a_label_in_nonsense_is_none() -> None:
    for n_faces in ("-1", "x", "1" * 99, "٣"):
        assert read_label(labelled(None, LABEL).replace(b'FacesDrawn="3"', f'FacesDrawn="{n_faces}"'.encode())) is None


def test_a_run_s_label_names_files_without_their_folders(tmp_path: Path) -> None:
    path = tmp_path / "private" / "mine.pth"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    options = RestoreOptions(strength=0.5, faces="2", quiet=True)
    label = label_of(Parts(path, str(path), None, None, BUILTINS["compact-x2"]), options)
    assert (label.model, label.model_sha256, label.background) == ("mine.pth", sha256_of(path), "compact-x2")
    assert (label.strength, label.n_faces) == ("0.5", 0)
    told = made_with(label, options)
    assert '"settings": {"strength": 0.5, "faces": "2"}' in told and "private" not in told


def test_a_label_names_both_networks_where_small_faces_have_one_of_their_own() -> None:
    large, small = BUILTINS["compact-512"], BUILTINS["compact"]
    label = label_of(Parts(large, "compact-512", None, None, small_model=small), RestoreOptions())
    assert (label.model, label.model_sha256) == ("compact-512 and compact", sha256_of(large))
    assert read_label(labelled(None, label)) == label


@needs_exiftool
def test_exiftool_reads_the_label_in_every_format(tmp_path: Path) -> None:
    photo = photo_of(plain())
    kinds = {**{name: kind for name, (kind, _) in FILES.items()}, "jxl": "JXL"}
    made = {name: encode_photo(photo, photo.frame.image, None, kind, label=LABEL) for name, kind in kinds.items()}
    assert {name: read_label(read_carried(made[name].data, kind).xmp or b"") for name, kind in kinds.items()} == (
        dict.fromkeys(kinds, LABEL)
    )
    found = exiftool_all({f"{name}{suffix(name)}": each.data for name, each in made.items()}, tmp_path)
    for facts in found:
        told = {key.partition(":")[2]: value for key, value in facts.items() if key.startswith("XMP-")}
        assert told["DigitalSourceType"] == DRAWN_IN and told["ModelSHA256"] == "ab" * 32
        assert told["AISystemUsed"] == "gfp, model compact" and told["FacesDrawn"] == "3"
        assert told["CreatorTool"] == "gfp 9.8.7" and "3 faces drawn" in told["History"]
        assert not [key for key in facts if "Warning" in key or "Error" in key]
