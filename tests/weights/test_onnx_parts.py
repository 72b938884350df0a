"""Networks exported into the cache, and runs that need nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from gfpcli.errors import CheckpointError
from gfpcli.options import RestoreOptions
from gfpcli.pipeline.identity import UNSCALED
from gfpcli.weights.autotune import probe_faces
from gfpcli.weights.build import load_identifier_for
from gfpcli.weights.cache import BUILTINS, cache_folder
from gfpcli.weights.onnx_parts import exported_in_cache, onnx_identifier

pytest.importorskip("onnx", reason="the extra gfpcli[onnx] is not installed")

SMALL = Path(__file__).resolve().parents[2] / "examples" / "photos" / "astronaut_small.jpg"
BUILT_IN = (
    ("restorer", "compact-512"), ("restorer", "compact"), ("detector", "builtin"), ("identifier", "identity"),
)  # fmt: skip
RUN = """
import sys
from contextlib import suppress
from gfpcli.cli.app import app
with suppress(SystemExit):
    app(sys.argv[1:])
heavy = ("torch", "torchvision", "basicsr", "facexlib", "realesrgan", "spandrel", "onnx")
print([name for name in heavy if name in sys.modules])
"""


def test_a_photo_is_restored_without_torch(tmp_path: Path) -> None:
    """All that is on without being asked for: landmarks looked at again, strength, identity, mask, label, report."""
    told: list[str] = []
    for _ in range(2):
        for kind, name in BUILT_IN:
            exported_in_cache(BUILTINS[name], kind, told.append)
    assert len(told) == 4, "each is exported once, and that is told"
    assert told[3].startswith("identity.safetensors: exported for onnxruntime, once, to ") and "\n" not in told[3]
    words = ("restore", SMALL, "-o", tmp_path / "out", "--report", tmp_path / "r.html", "--json",
             tmp_path / "r.json", "--runtime", "onnx", "--offline")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", RUN, *map(str, words)], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    assert "1 restored; 1 face restored" in done.stderr
    assert '"identity": 0.' in (tmp_path / "r.json").read_text() and (tmp_path / "r.html").is_file()
    given, out = cv2.imread(str(SMALL)), cv2.imread(str(tmp_path / "out" / SMALL.name))
    assert np.abs(out.astype(float) - cv2.resize(given, out.shape[1::-1])).max() > 20


def test_the_built_in_identity_network_says_the_same_with_its_scale(tmp_path: Path) -> None:
    by_torch, scale = load_identifier_for(RestoreOptions(), BUILTINS["identity"])
    by_onnx, same = load_identifier_for(RestoreOptions(runtime="onnx"), BUILTINS["identity"])
    faces = probe_faces(256)
    assert same == scale and np.abs(by_torch(faces) - by_onnx(faces)).max() < 1e-4
    (path,) = (cache_folder() / "onnx").glob("identity*")
    alone = tmp_path / "mine.onnx"
    alone.write_bytes(path.read_bytes())
    assert onnx_identifier(alone, alone, RestoreOptions())[1] == scale, "the file holds it"
    assert scale is not UNSCALED
    with pytest.raises(CheckpointError, match="its kind is detector, not identifier"):
        load_identifier_for(RestoreOptions(), exported_in_cache(BUILTINS["builtin"], "detector", print))
