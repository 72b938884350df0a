"""Identity networks from their files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gfpcli.errors import CheckpointError, UsageError
from gfpcli.model.arcface import ArcFaceR18
from gfpcli.model.identity import IdentityNet
from gfpcli.options import RestoreOptions
from gfpcli.pipeline.identity import UNSCALED
from gfpcli.weights.autotune import probe_faces
from gfpcli.weights.build import load_restorer
from gfpcli.weights.cache import BUILTINS
from gfpcli.weights.choose import SCALE, choose_parts, fingerprint
from gfpcli.weights.identifier import load_identifier

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", [IdentityNet, ArcFaceR18])
def test_both_kinds_load_and_see_aligned_faces(kind: type[torch.nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "net.pth"
    torch.save({"state_dict": kind().state_dict()}, path)
    identify, scale = load_identifier(path, CPU)
    found = identify(probe_faces(256))
    assert found.shape == (2, {IdentityNet: 128, ArcFaceR18: 512}[kind]) and scale is UNSCALED
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_a_face_has_the_same_vector_in_any_company() -> None:
    identify, _ = load_identifier(BUILTINS["identity"], CPU)
    one, other = probe_faces(256)
    alone = identify([one])[0]
    crowds = [other, one], [one, other, one], [other, other, other, one, other]
    assert all((identify(crowd)[[face is one for face in crowd]] == alone).all() for crowd in crowds)


def test_other_files_and_broken_scales_are_named(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="no identity network that gfp knows"):
        load_identifier(path, CPU)
    save_file({"places.weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="do not fit together"):
        load_identifier(path, CPU)
    save_file(IdentityNet().state_dict(), path)
    falling, empty = '{"same": [1, 0], "different": [0, 1]}', '{"same": [], "different": []}'
    for text in ("no", "[]", '{"same": [0, 1]}', falling, empty):
        path.with_suffix(SCALE).write_text(text)
        with pytest.raises(CheckpointError, match="scale"):
            load_identifier(path, CPU)
    path.with_suffix(SCALE).write_text(json.dumps({"same": [0.5, 1.0], "different": [0.0, 0.5]}))
    assert load_identifier(path, CPU)[1](0.5) == 0.5


def test_the_built_in_network_knows_its_people_again() -> None:
    """Two people: each is more like a blurred look of itself than like the other, by a scale of its own."""
    import cv2

    identify, scale = load_identifier(BUILTINS["identity"], CPU)
    faces = probe_faces(256)
    poor = [np.asarray(cv2.GaussianBlur(face, (0, 0), 3), np.uint8) for face in faces]
    table = identify(faces) @ identify(poor).T
    assert min(table[0, 0], table[1, 1]) > max(table[0, 1], table[1, 0]) + 0.2
    assert scale is not UNSCALED and scale(float(table[0, 0])) > 0.5 > scale(float(table[0, 1]))
    assert sum(path.stat().st_size for path in BUILTINS["identity"].parent.glob("identity*")) < 3_000_000


def test_names_lead_to_files_and_the_file_is_in_the_fingerprint(tmp_path: Path) -> None:
    options = RestoreOptions(model="compact", offline=True, aligned=True)
    parts = choose_parts(options, warn=print)
    assert parts.identifier == choose_parts(replace(options, identifier="builtin"), warn=print).identifier
    torch.save(ArcFaceR18().state_dict(), tmp_path / "mine.pth")
    mine = choose_parts(replace(options, identifier=str(tmp_path / "mine.pth")), warn=print)
    assert fingerprint(options, mine) != fingerprint(options, parts)
    with pytest.raises(UsageError, match="choose one of auto, builtin, arcface-r18"):
        choose_parts(replace(options, identifier="nobody"), warn=print)
    told: list[str] = []
    assert load_restorer(options, mine, warn=told.append).guard.scale is UNSCALED
    assert len(told) == 1 and "bare cosine" in told[0]
    off = load_restorer(replace(options, identity_guard="off", strength="0.5"), parts).guard
    assert off.identifier is None and off.strength == 0.5
