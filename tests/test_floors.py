"""Who may import whom (the floors), and what a light command must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "gfpcli"
FLOORS = {
    "builtin": 0, "errors": 0, "types": 0,
    "options": 1, "inputs": 1, "images": 1, "stream": 1, "align": 1, "paste": 1, "ledger": 1, "weights": 1,
    "outputs": 1, "places": 1, "metadata": 1,
    "pixels": 1, "memory": 1, "tiles": 1, "video": 1, "encode": 1, "mux": 1, "segments": 1, "track": 1, "sheets": 1,
    "report": 1, "tensors": 2, "upsample": 2, "fast": 2, "model": 2, "look": 2, "flow": 2, "adapters": 3, "restorer": 4,
    "train": 4, "clip": 5, "preview": 5, "settle": 5, "stages": 5, "estimate": 5, "build": 5, "build_run": 5, "cli": 6,
    "stretches": 5,
}  # fmt: skip
HEAVY = {"torch", "torchvision", "facexlib", "basicsr", "realesrgan"}


def imports(path: Path, *, only_top: bool) -> set[str]:
    """Dotted names a file imports; with `only_top` not those inside functions or TYPE_CHECKING."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if only_top else list(ast.walk(tree))
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_every_file_imports_its_own_floor_or_below() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if room.startswith("__"):
            continue
        assert room in FLOORS, f"{path}: which floor?"
        for name in imports(path, only_top=room == "types"):
            parts = name.split(".")
            if parts[0] == "gfpcli" and len(parts) > 1:
                assert FLOORS[parts[1]] <= FLOORS[room], f"{path} imports {name}"
                is_other = parts[1] == "adapters" and parts[-1] != "_compat"
                assert not (room == "adapters" and is_other), f"{path} imports another adapter"
            if FLOORS[room] < 2:
                assert parts[0] not in HEAVY, f"{path} imports {name}"
            assert parts[0] != "gfpgan", "the product imports nothing of the oracle"
            assert parts[0] != "ray" or path.name == "ray_pool.py", "the extra is imported in one place"


def test_help_and_import_leave_torch_alone() -> None:
    heavy = "('torch', 'cv2', 'facexlib', 'ray')"
    code = f"import sys, gfpcli, gfpcli.cli.app; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_run_starts_without_what_it_may_not_need_and_can_still_compile() -> None:
    code = (
        "import sys, gfpcli.photo.batch, torch, torchvision\n"
        "print([m for m in ('torch._dynamo', 'basicsr', 'realesrgan', 'ray', 'upath') if m in sys.modules])\n"
        "print(torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1)).item())\n"
        "boxes = torch.tensor([[0.0, 0, 0, 4, 4]])\n"
        "print(torchvision.ops.roi_align(torch.ones(1, 1, 8, 8), boxes, 2).mean().item())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split("\n") == ["[]", "2.0", "1.0", ""], done.stderr
