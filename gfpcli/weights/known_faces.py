"""Face restorers of other origins, known by the names of their files: how they align faces, and their licences."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gfpcli.options import DEFAULT_TEMPLATE
from gfpcli.types import ExportFacts

GFPGAN_LICENCE = "Apache-2.0, StyleGAN2 parts non-commercial (NVIDIA)"
GPEN_LICENCE = "non-commercial (GPEN)"
CODEFORMER_LICENCE = "S-Lab License 1.0, non-commercial"


@dataclass(frozen=True, slots=True)
class KnownFaces:
    """What is known of a family of files."""

    name: re.Pattern[str]  # of the file, in small letters without signs between words
    template: str
    licence: str
    accepted_as: str = ""  # what `--accept-licence` calls it; empty: nothing need be accepted


KNOWN = (
    KnownFaces(re.compile(r"gpen(bfr)?256"), "arcface_128", GPEN_LICENCE, "gpen"),
    KnownFaces(re.compile(r"gpen"), DEFAULT_TEMPLATE, GPEN_LICENCE, "gpen"),
    KnownFaces(re.compile(r"codeformer"), DEFAULT_TEMPLATE, CODEFORMER_LICENCE, "codeformer"),
    KnownFaces(re.compile(r"restoreformer"), DEFAULT_TEMPLATE, "Apache-2.0"),
    KnownFaces(re.compile(r"gfpgan"), DEFAULT_TEMPLATE, GFPGAN_LICENCE),
)
"""From the projects' own pages; the first that fits holds."""


def known_faces(path: Path) -> KnownFaces | None:
    """The family that a file belongs to by its name."""
    plain = re.sub(r"[^a-z0-9]", "", path.stem.lower())
    return next((each for each in KNOWN if each.name.match(plain)), None)


def template_of(path: Path, facts: ExportFacts | None, warn: Callable[[str], None]) -> str:
    """How faces are aligned for an ONNX file: as it says itself, else by its name, else as most are, which is told."""
    if facts:
        return facts.template
    if known := known_faces(path):
        return known.template
    warn(f"{path}: nothing says how it aligns faces; {DEFAULT_TEMPLATE} is taken; else give --template")
    return DEFAULT_TEMPLATE
