"""Checkpoint files: what they hold, and what is refused."""

from __future__ import annotations

import json
import pickle
import resource
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gfpcli.errors import CheckpointError
from gfpcli.model.checkpoint import convert, kind_of, load_face_net, read_state
from gfpcli.model.compact import CompactUNet


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return CompactUNet((8, 16)).state_dict()


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_every_container_gives_the_same_weights(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    torch.save({"params_ema": state, "params": {}}, tmp_path / "a.pth")
    torch.save({"module." + key: value for key, value in state.items()}, tmp_path / "b.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "misnamed.pth")
    convert(tmp_path / "a.pth", tmp_path / "c.safetensors", is_half=False)
    for name in ("a.pth", "b.pth", "old.pth", "misnamed.pth", "c.safetensors"):
        read = read_state(tmp_path / name)
        assert read.keys() == state.keys() and all(torch.equal(read[key], state[key]) for key in state)
    assert kind_of(state) == "compact-unet" and load_face_net(tmp_path / "a.pth").size == 256


@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_a_pickle_never_runs(tmp_path: Path, protocol: int) -> None:
    torch.save({"params_ema": Evil(tmp_path / "ran")}, tmp_path / "zip.pth", pickle_protocol=protocol)
    (tmp_path / "raw.pth").write_bytes(pickle.dumps({"params_ema": Evil(tmp_path / "ran")}, protocol))
    for name in ("zip.pth", "raw.pth"):
        with pytest.raises(CheckpointError, match=name):
            read_state(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_damaged_files_are_named(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    torch.save(state, tmp_path / "whole.pth")
    save_file(state, tmp_path / "whole.safetensors")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:3000])
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:3000])
    (tmp_path / "lying.safetensors").write_bytes((2**40).to_bytes(8, "little") + b"{}" * 50)
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.pth").write_text("hello " * 50)
    torch.save({**state, "head.weight": state["head.weight"] * float("nan")}, tmp_path / "nan.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pth")
    torch.save({**state, "tail.weight": torch.ones(3)}, tmp_path / "shapes.pth")
    for path in sorted(tmp_path.iterdir()):
        if path.stem == "whole":
            continue
        with pytest.raises(CheckpointError) as caught:
            load_face_net(path)
        assert path.name in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match=r"gone\.pth: No such file"):
        read_state(tmp_path / "gone.pth")


def test_what_is_far_larger_inside_is_refused_before_it_takes_memory(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(1 << 40)}, tmp_path / "stretched.pth")
    torch.save({str(i): torch.zeros(1 << 20) for i in range(1)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry))
    assert (tmp_path / "packed.pth").stat().st_size < 10_000
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "shape.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    header = json.dumps({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in "ab"}).encode()
    (tmp_path / "overlap.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    torch.save({"a": torch.zeros(9).to_sparse()}, tmp_path / "sparse.pth")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in sorted(tmp_path.iterdir()):
        if path.name == "plain.pth":
            assert read_state(path)["0"].numel() == 1 << 20
            continue
        with pytest.raises(CheckpointError, match=path.name):
            read_state(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
