"""What an output says of itself in XMP: that a network drew faces in it, which one, and how strongly.

Sources: IPTC Photo Metadata Standard 2025.1 (Digital Source Type, AI System Used, AI System Version Used); IPTC
NewsCodes, Digital Source Type; XMP specification part 1, 8.4 (xmp:CreatorTool), part 2, 1.2.2 (xmpMM:History).
No date is written: the same input gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from gfpcli import __version__
from gfpcli.errors import CheckpointError
from gfpcli.files.atomic import os_errors_as, sha256_of
from gfpcli.options import FaceOptions, PipelineOptions
from gfpcli.photo.xmp import IPTC_NS, XMP_NS, properties_of, with_properties
from gfpcli.types import NetworkFiles

GFP_NS = "urn:gfpcli:1.0/"
SOURCE_TYPE = f"{{{IPTC_NS}}}DigitalSourceType"
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
DRAWN_IN = f"{SOURCE_TYPES}compositeWithTrainedAlgorithmicMedia"
ALL_DRAWN = f"{SOURCE_TYPES}trainedAlgorithmicMedia"
AI_SYSTEM, AI_VERSION = f"{{{IPTC_NS}}}AISystemUsed", f"{{{IPTC_NS}}}AISystemVersionUsed"
CREATOR_TOOL = f"{{{XMP_NS}}}CreatorTool"
VERSION, MODEL, MODEL_HASH, STRENGTH, FACES_DRAWN, BACKGROUND_NET = (
    f"{{{GFP_NS}}}{name}" for name in ("Version", "Model", "ModelSHA256", "Strength", "FacesDrawn", "Background")
)


@dataclass(frozen=True, slots=True)
class Label:
    """What made an output."""

    version: str  # of gfp
    model: str  # its name, of a checkpoint the file's; where a second one drew small faces, both names
    model_sha256: str  # of the first
    strength: str  # as `--strength` says it
    background: str = ""  # the network that enlarged all but the faces, by the same rule; empty for none
    n_faces: int = 0  # drawn by the network; of a clip summed over its frames

    @property
    def tool(self) -> str:
        """Name and version of the program."""
        return f"gfp {self.version}"

    @property
    def draws_faces(self) -> bool:
        """Whether a face can be drawn at this strength."""
        return self.strength != "0"

    @property
    def is_drawn(self) -> bool:
        """Whether pixels of the output are a network's."""
        return self.n_faces > 0 or bool(self.background)

    @property
    def line(self) -> str:
        """All but the version, in one line."""
        background = f", background {self.background}" if self.background else ""
        faces = f"{self.n_faces} face{'' if self.n_faces == 1 else 's'} drawn"
        return f"model {self.model}, SHA-256 {self.model_sha256}, strength {self.strength}{background}, {faces}"

    def to_json(self) -> dict[str, Any]:
        """The label as `gfp verify --json` gives it."""
        return {
            "version": self.version, "model": self.model, "model_sha256": self.model_sha256, "strength": self.strength,
            "background": self.background or None, "faces_drawn": self.n_faces,
        }  # fmt: skip


def label_of(files: NetworkFiles, options: FaceOptions) -> Label:
    """The label of a run's outputs, in which no face is counted yet. Raises CheckpointError."""
    with os_errors_as(CheckpointError, files.model):
        digest = sha256_of(files.model)
    background = files.background.stem if files.background else ""
    name = Path(files.model_name).name  # a checkpoint's folders are nobody's business
    name += f" and {files.small_model.stem}" if files.small_model else ""
    strength: object = options.strength
    told = f"{strength:g}" if isinstance(strength, float | int) else str(strength)
    return Label(__version__, name, digest, told, background)


def made_with(label: Label, options: PipelineOptions) -> str:
    """JSON of what the ledger keeps of a run: version, networks, and the settings that are not the defaults."""
    facts = label.to_json()
    del facts["faces_drawn"]
    given = {
        each.name.replace("_", "-"): getattr(options, each.name)
        for each in fields(options)
        if each.metadata["in_fingerprint"] and getattr(options, each.name) != each.default
    }
    return json.dumps({**facts, "scale": options.scale, "settings": given})


def labelled(packet: bytes | None, label: Label, *, has_creator: bool = False) -> bytes:
    """An XMP packet with the label, merged into the photo's own.

    `Iptc4xmpExt:DigitalSourceType` and the AI system are claimed only where a network drew faces or the background:
    a picture that was merely enlarged keeps what it said before. A picture that says that it is a network's as a whole
    (`trainedAlgorithmicMedia`) goes on saying so. The history tells of gfp in any case.

    Args:
        has_creator: another part of the file may name the camera or program that made the picture. `xmp:CreatorTool`,
            which names the first one, is then not added; one that is there stays.
    """
    before = properties_of(packet) if packet else {}
    values = {
        VERSION: label.version, MODEL: label.model, MODEL_HASH: label.model_sha256, STRENGTH: label.strength,
        FACES_DRAWN: str(label.n_faces), BACKGROUND_NET: label.background,
    }  # fmt: skip
    if label.is_drawn:
        values[SOURCE_TYPE] = ALL_DRAWN if before.get(SOURCE_TYPE) == ALL_DRAWN else DRAWN_IN
        values |= {AI_SYSTEM: f"gfp, model {label.model}", AI_VERSION: label.version}
    if not has_creator and not before.get(CREATOR_TOOL):
        values[CREATOR_TOOL] = label.tool
    event = {"action": "edited", "softwareAgent": label.tool, "changed": "/", "parameters": label.line}
    return with_properties(packet, values, event, {"gfp": GFP_NS})


def read_label(packet: bytes) -> Label | None:
    """The label in an XMP packet; None where there is none, or one that is not whole."""
    return label_in(properties_of(packet))


def label_in(found: Mapping[str, str]) -> Label | None:
    """The label among properties, by `{namespace}name`."""
    version, n_faces = found.get(VERSION, ""), found.get(FACES_DRAWN, "")
    if not version or not (n_faces.isascii() and n_faces.isdigit() and len(n_faces) < 16):
        return None
    names = (MODEL, MODEL_HASH, STRENGTH, BACKGROUND_NET)
    model, digest, strength, background = (found.get(name, "") for name in names)
    return Label(version, model, digest, strength, background, int(n_faces))
