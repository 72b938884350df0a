"""Networks as ONNX files: what is exported of each part, and the check that the file does what the network does."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gfpcli.adapters.facexlib import load_parser
from gfpcli.adapters.onnx import OPSET, import_onnx, write_onnx
from gfpcli.adapters.onnxruntime import open_onnx, write_int8
from gfpcli.errors import CheckpointError
from gfpcli.files.atomic import sha256_of, write_with
from gfpcli.model.checkpoint import face_net_of, kind_of, read_state
from gfpcli.model.views import IDENTITY_VIEW, VIEW_SIZE
from gfpcli.options import DEFAULT_TEMPLATE
from gfpcli.pipeline.identity import UNSCALED
from gfpcli.pipeline.retinaface import MEAN_BGR
from gfpcli.pipeline.tensors import DTYPES, to_tensor
from gfpcli.types import ExportFacts
from gfpcli.weights.autotune import probe_faces
from gfpcli.weights.cache import licence_of
from gfpcli.weights.detector import read_detector_nets
from gfpcli.weights.identifier import read_identity_net
from gfpcli.weights.identity_scale import read_scale

N_CROPS = 5  # that the file and the network are compared on
MOST_LEVELS = 1.0  # grey levels by which a file in fp32 may differ
BACKGROUND_SIDE = 32  # px of the crops that a background network is compared on
ANY_SIDE = 128  # px, the same for a detector
MASK_SIDE = 256  # px, the same for a face parser; the smaller of the sizes that it is run at
WHOLE_SIDE = 256  # px, the same for an identity network that sees whole crops


@dataclass(frozen=True, slots=True)
class Parity:
    """How far a file lies from its network, in grey levels: 255 for the range that the network's answers take."""

    most_levels: float  # largest difference of a single number
    psnr: float  # dB

    def line(self) -> str:
        """For people."""
        psnr = "identical" if math.isinf(self.psnr) else f"{self.psnr:.1f} dB"
        return f"largest difference {self.most_levels:.4f} grey levels, PSNR {psnr}, on {N_CROPS} crops"


@dataclass(frozen=True, slots=True)
class Exportable:
    """A network with what the exporter must know."""

    net: nn.Module
    crops: dict[str, Tensor]  # by input: N_CROPS examples each
    outputs: tuple[str, ...]
    has_free_size: bool  # takes pictures of any size, not of one only
    shown: tuple[float, float] | None = None  # black and white of a picture that comes out; None: no picture does
    layout: Mapping[str, object] = field(default_factory=dict)


class DetectorWithRefiner(nn.Module):
    """Both networks of the built-in detector, side by side in one file."""

    def __init__(self, net: nn.Module, refiner: nn.Module) -> None:
        super().__init__()
        self.net, self.refiner = net, refiner

    def forward(self, image: Tensor, view: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) and (M, 3, 80, 80) to boxes, scores, points; landmarks, logits."""
        return (*self.net(image), *self.refiner(view))


def export_network(path: Path, name: str, kind: str, precision: str, target: Path) -> Parity:
    """Writes the network in `path` as ONNX, if it agrees with the network; whole or not at all.

    Args:
        name: of the weights, for the file's metadata.
        kind: one of EXPORT_KINDS.
        precision: fp32 or fp16.

    Raises:
        CheckpointError: the file holds something else, or what was exported differs by more than MOST_LEVELS (fp32),
            or is not finite.
        OutputError: the target cannot be written.
        WeightsError: onnx or onnxruntime is not installed.
    """
    import_onnx()  # said before any work that it is missing
    made = EXPORTABLES[kind](path)
    facts = ExportFacts(
        kind, name, sha256_of(path), DEFAULT_TEMPLATE if kind == "restorer" else "", licence_of(path), precision,
        str(OPSET), json.dumps(made.layout),
    )  # fmt: skip
    with torch.inference_mode():
        want = _as_tuple(made.net(*made.crops.values()))
    dtype = DTYPES[precision]
    net, examples = made.net.to(dtype), {name: crops[:1].to(dtype) for name, crops in made.crops.items()}
    found: list[Parity] = []

    def fill(temporary: Path) -> None:
        write_onnx(net, examples, made.outputs, _free_axes(made), facts, temporary)
        found.append(_checked(temporary, made, want, is_exact=precision == "fp32", source=path))

    write_with(target, fill)
    return found[0]


def write_export_in_int8(path: Path, kind: str, exported: Path, target: Path) -> None:
    """Writes the int8 copy of an export, whole or not at all.

    Args:
        path: the network's weights.
        kind: one of EXPORT_KINDS whose networks take one picture.

    Raises:
        GfpError: as `export_network`.
    """
    crops = EXPORTABLES[kind](path).crops["image"].numpy()
    examples = [{"image": crops[i : i + 1]} for i in range(len(crops))]
    write_with(target, lambda temporary: write_int8(exported, temporary, examples))


def _as_tuple(out: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (out,) if isinstance(out, Tensor) else tuple(out)


def _free_axes(made: Exportable) -> dict[str, dict[int, str]]:
    """Any number of pictures; where the network allows it, of any size."""
    axes = {}
    for name in made.crops:
        axes[name] = {0: "n", **({2: "height", 3: "width"} if made.has_free_size and name == "image" else {})}
    n_anchors = {1: "anchors"} if "boxes" in made.outputs else {}
    for name in made.outputs:
        is_picture = name in ("classes", "enlarged")
        free = {2: f"{name}_height", 3: f"{name}_width"} if is_picture else {}
        axes[name] = {0: "n", **free, **(n_anchors if name in ("boxes", "scores", "points") else {})}
    return axes


def _checked(path: Path, made: Exportable, want: tuple[Tensor, ...], *, is_exact: bool, source: Path) -> Parity:
    """The parity of a written file. Raises CheckpointError where it is not what it should be."""
    given = {name: crops.numpy() for name, crops in made.crops.items()}
    got = open_onnx(path, device="cpu").run(given, made.outputs)
    parity = parity_of([each.numpy() for each in want], got, made.shown)
    if not math.isfinite(parity.most_levels):
        raise CheckpointError(f"{source}: its export gives numbers that are not finite; nothing was written")
    if is_exact and parity.most_levels > MOST_LEVELS:
        raise CheckpointError(f"{source}: its export is not the same network: {parity.line()}; nothing was written")
    return parity


def parity_of(
    want: Sequence[NDArray[np.float32]], got: Sequence[NDArray[np.float32]], shown: tuple[float, float] | None
) -> Parity:
    """Of all outputs together: pictures as they are shown, clamped; others by the range of the network's answers."""
    levels = []
    for one, other in zip(want, got, strict=True):
        low, high = shown or (float(one.min()), float(one.max()))
        pair = (one, other) if shown is None else (np.clip(one, low, high), np.clip(other, low, high))
        levels.append(255 * (pair[0].astype(np.float64) - pair[1]).ravel() / max(high - low, 1e-6))
    differences = np.concatenate(levels)
    error = float(np.square(differences).mean())
    psnr = math.inf if error == 0 else 10 * math.log10(255**2 / error)
    return Parity(float(np.abs(differences).max()), psnr)


def _restorer(path: Path) -> Exportable:
    state = read_state(path)
    net = face_net_of(state, source=str(path))
    crops = {"image": _five(int(net.size))}  # type: ignore[arg-type]
    layout = {"kind": kind_of(state)}
    return Exportable(net, crops, ("restored",), has_free_size=False, shown=(-1, 1), layout=layout)


def _mask(path: Path) -> Exportable:
    net = load_parser(read_state(path), source=str(path))
    return Exportable(net, {"image": _five(MASK_SIDE)}, ("classes",), has_free_size=True)


def _background(path: Path) -> Exportable:
    from gfpcli.adapters.realesrgan import load_enlarging_net

    made = load_enlarging_net(read_state(path), source=str(path))
    layout = {name: getattr(made.tiling, name) for name in ("scale", "multiple", "reach", "halo", "pixel_bytes")}
    crops = _five(BACKGROUND_SIDE).add(1).div(2)
    return Exportable(made.net, {"image": crops}, ("enlarged",), has_free_size=True, shown=(0, 1), layout=layout)


def _detector(path: Path) -> Exportable:
    nets = read_detector_nets(path)
    for net in filter(None, (nets.net, nets.refiner)):
        net.to(memory_format=torch.channels_last)  # as it runs
    mean = torch.tensor(MEAN_BGR)[:, None, None]
    pictures = _five(ANY_SIDE).add(1).mul(127.5).flip(1) - mean
    outputs: tuple[str, ...] = ("boxes", "scores", "points")
    layout = nets.anchors.to_layout()
    if nets.refiner is None:
        return Exportable(nets.net, {"image": pictures}, outputs, has_free_size=True, layout=layout)
    both = DetectorWithRefiner(nets.net, nets.refiner).eval()
    crops = {"image": pictures, "view": _five(VIEW_SIZE)}
    return Exportable(both, crops, (*outputs, "landmarks", "logits"), has_free_size=True, layout=layout)


def _identifier(path: Path) -> Exportable:
    net, view = read_identity_net(path)
    scale = read_scale(path)
    tables = {} if scale is UNSCALED else {"same": scale.same, "different": scale.different}
    crops = {"image": _five(IDENTITY_VIEW if view == "built-in" else WHOLE_SIDE)}
    return Exportable(net, crops, ("vector",), has_free_size=view == "whole", layout={"view": view, **tables})


def _five(size: int) -> Tensor:
    """The two probe faces, both mirrored, and one of them blurred: (5, 3, size, size) RGB in [-1, 1]."""
    faces = probe_faces(size)
    mirrored = [np.ascontiguousarray(face[:, ::-1]) for face in faces]
    blurred = np.asarray(cv2.GaussianBlur(faces[0], (0, 0), size / 64), np.uint8)
    return to_tensor([*faces, *mirrored, blurred])


EXPORTABLES: dict[str, Callable[[Path], Exportable]] = {
    "restorer": _restorer, "detector": _detector, "mask": _mask, "background": _background, "identifier": _identifier,
}  # fmt: skip
