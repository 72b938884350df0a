"""EXIF blocks: patched in place, read, compared, fitted; damaged and hostile ones give a clear result."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from gfpcli.photo.carried import Carried
from gfpcli.photo.embed import with_carried
from gfpcli.photo.exif import (
    PREFIX,
    bare,
    exif_values,
    fit_exif,
    patch_exif,
    read_exif,
    resolution_block,
)
from gfpcli.photo.geometry import Placement
from gfpcli.photo.ifd import Field, write_block
from tests.photo.made import OWNER, canon_note, directory, encoded, exiftool, made_exif, needs_exiftool

TURNED = Placement(stored=(480, 640), orientation=6, output=(1280, 960))
ORDERS = ("little", "big")


@pytest.mark.parametrize("order", ORDERS)
def test_facts_are_read(order: str) -> None:
    facts = read_exif(PREFIX + made_exif(order, 8))
    assert (facts.order, facts.orientation, facts.dpi) == (order, 8, (300.0, 300.0))
    assert facts.has_maker_note and facts.has_thumbnail and facts.damage is None
    assert not read_exif(made_exif(order, note=False, thumbnail=False)).has_maker_note


@pytest.mark.parametrize("order", ORDERS)
def test_the_patch_changes_only_what_the_output_changes(order: str) -> None:
    before, after = exif_values(made_exif(order)), exif_values(patch_exif(made_exif(order), TURNED).block or b"")
    changed = {key for key, value in before.items() if after[key] != value}
    wanted = {("IFD0", 0x0112), ("IFD0", 0x011A), ("IFD0", 0x011B), ("Exif", 0xA002), ("Exif", 0xA003)}
    assert before.keys() == after.keys()
    assert changed == wanted | {("Exif", 0x9214)}
    assert after["IFD0", 0x0112] == (3, 1, b"\1\0")
    assert after["Exif", 0xA002] == (4, 1, (960).to_bytes(4, "little"))
    assert after["Exif", 0xA003] == (4, 1, (1280).to_bytes(4, "little"))
    subject = b"".join(value.to_bytes(2, "little") for value in (720, 640, 96, 128))  # (320, 120) turned right, twice
    assert after["Exif", 0x9214] == (3, 4, subject)


@pytest.mark.parametrize("order", ORDERS)
def test_the_first_directory_s_sizes_are_patched_too(order: str) -> None:
    block = patch_exif(made_exif(order), TURNED).block or b""
    values = {tag: int.from_bytes(block[at + 8 : at + 12], order) for tag, at in ((0x0100, 10), (0x0101, 22))}
    assert values == {0x0100: 960, 0x0101: 1280}


@pytest.mark.parametrize("order", ORDERS)
def test_nothing_moves_and_the_thumbnail_goes(order: str) -> None:
    block = made_exif(order)
    patched = patch_exif(block, TURNED).block or b""
    assert len(patched) == 1700 and b"TTTT" not in patched  # its end was the thumbnail
    assert patched.index(OWNER) == block.index(OWNER)
    assert not read_exif(patched).has_thumbnail


def test_a_thumbnail_in_the_middle_is_only_unlinked() -> None:
    patched = patch_exif(made_exif() + b"the maker's preview", TURNED).block or b""
    assert patched.endswith(b"the maker's preview") and not read_exif(patched).has_thumbnail


def test_a_thumbnail_is_not_cut_off_where_a_value_lies_in_it() -> None:
    block = bytearray(made_exif())
    artist = 8 + 2 + 12 * 8 + 8
    block[artist : artist + 4] = (1900).to_bytes(4, "little")
    patched = patch_exif(bytes(block), TURNED).block or b""
    assert len(patched) == len(block) and not read_exif(patched).has_thumbnail


def test_values_are_written_around_what_keeps_its_place() -> None:
    note = Field(0x927C, 7, 30, b"N" * 30, keep_at=60)
    fields = [Field(0x010F, 2, 40, b"M" * 40), note, Field(0x0110, 2, 9, b"O" * 9)]
    block = write_block(fields, "little")
    assert block[60:90] == b"N" * 30 and block.count(b"M" * 40) == block.count(b"O" * 9) == 1
    assert {key[1] for key in exif_values(block)} == {0x010F, 0x0110, 0x927C}


def test_the_resolution_can_stay() -> None:
    patched = patch_exif(made_exif(), TURNED, keeps_print_size=False).block or b""
    assert read_exif(patched).dpi == (300.0, 300.0)


def test_different_resolutions_are_exchanged_by_a_turn() -> None:
    dots = Placement((10, 20), 6, (20, 10))
    assert read_exif(patch_exif(resolution_block((100, 200)), dots).block or b"").dpi == (200.0, 100.0)


def test_two_resolutions_in_one_place_are_scaled_once() -> None:
    block = bytearray(resolution_block((100, 100)))
    block[10 + 12 + 8 : 10 + 12 + 12] = block[10 + 8 : 10 + 12]  # both tags point to the first value
    patched = patch_exif(bytes(block), Placement((10, 10), 1, (20, 20))).block or b""
    assert read_exif(patched).dpi == (200.0, 200.0)


def test_an_orientation_of_an_odd_type_becomes_a_plain_one() -> None:
    block = b"II*\0\x08\0\0\0" + directory([(0x0112, 4, (6).to_bytes(4, "little"))], 8, "little")
    assert exif_values(patch_exif(block, TURNED).block or b"") == {("IFD0", 0x0112): (3, 1, b"\1\0")}


def test_absent_tags_are_not_added() -> None:
    block = b"MM\0*\0\0\0\x08" + directory([(0x013B, 2, b"A. Name\0")], 8, "big")
    assert patch_exif(block, TURNED).block == block


@needs_exiftool
@pytest.mark.parametrize("order", ORDERS)
def test_the_maker_note_stays_readable(order: str, tmp_path: Path) -> None:
    jpeg = encoded("JPEG")
    before = exiftool(with_carried(jpeg, "JPEG", Carried(exif=made_exif(order)))[0], tmp_path, ".jpg")
    patched = patch_exif(made_exif(order), TURNED).block
    after = exiftool(with_carried(jpeg, "JPEG", Carried(exif=patched))[0], tmp_path, ".jpg")
    assert before["Canon:OwnerName"] == after["Canon:OwnerName"] == "Grandma Smith, 12 Long Street"
    assert not any("Warning" in name for name in after)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    gone = {name for name in changed if name.startswith("IFD1:")}
    sizes = {"IFD0:ImageWidth", "IFD0:ImageHeight", "ExifIFD:ExifImageWidth", "ExifIFD:ExifImageHeight"}
    values = {"IFD0:Orientation", "IFD0:XResolution", "IFD0:YResolution", "ExifIFD:SubjectArea"}
    assert changed - gone == sizes | values and "IFD1:ThumbnailOffset" in gone


def test_values_are_equal_in_both_byte_orders_and_tell_a_moved_maker_note() -> None:
    little, big = (exif_values(made_exif(order, note=False)) for order in ORDERS)
    assert little == big
    block = made_exif()
    at = block.index(canon_note(block.index(b"Canon EOS Made\0\0Firm") - 42, "little"))
    entry = block.index((0x927C).to_bytes(2, "little"))
    moved = bytearray(block + block[at : at + 200])
    moved[entry + 8 : entry + 12] = len(block).to_bytes(4, "little")
    assert exif_values(bytes(moved))["Exif", 0x927C] != exif_values(block)["Exif", 0x927C]


def test_a_block_that_is_too_large_loses_the_maker_note_before_all_else() -> None:
    block = made_exif() + bytes(70_000)
    fitted, lost = fit_exif(block, 65_527)
    assert lost == () and exif_values(fitted or b"") == exif_values(block)  # the note is where it was
    smaller, lost = fit_exif(block, 600)
    assert lost == ("maker notes",) and ("Exif", 0x9003) in exif_values(smaller or b"")
    assert fit_exif(block, 100) == (None, ("EXIF",))
    assert fit_exif(b"this is no block", 10) == (None, ("EXIF",))


def test_the_prefix_is_taken_off() -> None:
    assert bare(PREFIX + b"II*\0") == bare(b"II*\0") == b"II*\0"


HOSTILE = {
    "empty": b"",
    "no TIFF": b"Hello, this is no EXIF at all",
    "BigTIFF": b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0" + bytes(20),
    "header only": b"II*\0\x08\0\0\0",
    "directory outside": b"MM\0*\xff\xff\xff\xf0" + bytes(40),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_block_is_told_and_not_kept(name: str) -> None:
    patched = patch_exif(HOSTILE[name], TURNED)
    assert patched.block is None and patched.damage
    assert read_exif(HOSTILE[name]).damage and read_exif(HOSTILE[name]).orientation == 1
    assert exif_values(HOSTILE[name]) == {}


def test_directories_that_point_to_themselves_end() -> None:
    rows = [(0x0112, 3, b"\6\0"), (0x8769, 4, (8).to_bytes(4, "little")), (0x8825, 4, (8).to_bytes(4, "little"))]
    block = b"II*\0\x08\0\0\0" + directory(rows, 8, "little", following=8)
    patched = patch_exif(block, TURNED)
    assert patched.damage == "its Exif directory cannot be read"
    assert read_exif(patched.block or b"").orientation == 1


def test_hostile_counts_take_no_time_and_no_memory() -> None:
    rows = b"".join(b"\x00\x90\x07\0\xff\xff\xff\xff\x08\0\0\0" for _ in range(60_000))
    block = b"II*\0\x08\0\0\0" + b"\xff\xff" + rows
    start = time.monotonic()
    patched = patch_exif(block, TURNED)
    assert patched.damage and time.monotonic() - start < 5
    assert exif_values(block) == {}


def test_overlapping_values_are_read_to_a_limit() -> None:
    n_bytes = (8 << 20).to_bytes(4, "little")
    rows = b"".join(b"\x00\x90\x07\0" + n_bytes + b"\x08\0\0\0" for _ in range(200))
    block = (b"II*\0\x08\0\0\0" + (200).to_bytes(2, "little") + rows).ljust(9 << 20, b"\0")
    start = time.monotonic()
    assert sum(len(value) for _, _, value in exif_values(block).values()) <= 16 << 20
    assert fit_exif(block, 1000)[0] is None and time.monotonic() - start < 5


@pytest.mark.parametrize("seed", range(4))
def test_random_damage_gives_a_result(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(250):
        block = bytearray(made_exif(ORDERS[seed % 2]))
        for _ in range(dice.randint(1, 8)):
            block[dice.randrange(min(len(block), 900))] = dice.choice((0, 255, dice.randrange(256)))
        damaged = bytes(block[: dice.randrange(len(block))] if dice.random() < 0.3 else block)
        patched = patch_exif(damaged, TURNED)
        assert (patched.block is None) <= (patched.damage is not None)
        read_exif(damaged)
        exif_values(damaged)
        fit_exif(damaged, 500)
