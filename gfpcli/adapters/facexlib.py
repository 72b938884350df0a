"""facexlib's RetinaFace and ParseNet behind the `Detector` and `Masker` ports: our files, no state between calls."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gfpcli.adapters._compat import prepare_torchvision
from gfpcli.errors import CheckpointError
from gfpcli.model.fold import fold_batch_norms
from gfpcli.model.landmarks import LandmarkNet
from gfpcli.model.views import VIEW_SIZE
from gfpcli.pipeline.parsing import PARSE_SIZE, ParseNetMasker, at_sizes
from gfpcli.pipeline.refine import LandmarkRefiner
from gfpcli.pipeline.retinaface import Anchors, RetinaFaceDetector
from gfpcli.pipeline.tensors import DTYPES, ArrayNet, inference, place
from gfpcli.types import PictureBatch

prepare_torchvision()

from facexlib.detection.retinaface import RetinaFace  # noqa: E402  (only after the preparation above)
from facexlib.parsing.parsenet import ParseNet  # noqa: E402

REFINER_PREFIX = "look."  # of the landmark refiner's keys, beside facexlib's own
SAMPLE = 64  # px of the picture that shows how a network's layers follow each other


@dataclass(frozen=True, slots=True, eq=False)
class DetectorNets:
    """A RetinaFace in facexlib's layout, and the network that measures landmarks again, in eval mode on the CPU."""

    net: RetinaFace
    refiner: LandmarkNet | None

    @property
    def anchors(self) -> Anchors:
        """Where the network looks."""
        return Anchors.from_layout(self.net.cfg)


def load_detector_nets(
    state: Mapping[str, Tensor], *, source: str, min_sizes: str | None = None, slope: float | None = None
) -> DetectorNets:
    """The networks of a state in facexlib's layout; the backbone is read from its keys.

    Keys that begin with `look.` are those of a landmark refiner, which then measures the landmarks and half the score.

    Args:
        min_sizes: the anchors as JSON, where they are not facexlib's own.
        slope: negative slope of every leaky ReLU, where it is not facexlib's own.

    Raises:
        CheckpointError: the state does not fit; names `source`.
    """
    own = {key: value for key, value in state.items() if not key.startswith(REFINER_PREFIX)}
    refiner_state = {key.removeprefix(REFINER_PREFIX): value for key, value in state.items() if key not in own}
    backbone = "mobile0.25" if "body.stage1.0.0.weight" in state else "resnet50"
    try:
        net = RetinaFace(backbone, device=torch.device("cpu"))
        net.load_state_dict(own)
        refiner = _load_refiner(refiner_state) if refiner_state else None
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(f"{source}: not a RetinaFace detector in facexlib's layout") from error
    if min_sizes:
        net.cfg = {**net.cfg, "min_sizes": json.loads(min_sizes)}
    for module in net.modules():
        if slope is not None and isinstance(module, torch.nn.LeakyReLU):
            module.negative_slope = slope
    fold_batch_norms(net.eval().requires_grad_(False), torch.zeros(1, 3, SAMPLE, SAMPLE))
    return DetectorNets(net, refiner)


def _load_refiner(state: Mapping[str, Tensor]) -> LandmarkNet:
    net = LandmarkNet()
    net.load_state_dict(dict(state))
    fold_batch_norms(net.eval().requires_grad_(False), torch.zeros(1, 3, VIEW_SIZE, VIEW_SIZE))
    return net


def detector_of(
    nets: DetectorNets, *, threshold: float, longest: int, device: torch.device
) -> RetinaFaceDetector:
    """A detector on its device, ready to run."""
    for net in filter(None, (nets.net, nets.refiner)):
        net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    refiner = LandmarkRefiner(ArrayNet(nets.refiner, device).answers) if nets.refiner else None
    return RetinaFaceDetector(ArrayNet(nets.net, device).answers, nets.anchors, threshold, longest, refiner)


class FaceParser(torch.nn.Module):
    """ParseNet without the picture that it makes besides."""

    def __init__(self, net: ParseNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, faces: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in [-1, 1] to (N, 19, H, W)."""
        classes: Tensor = self.net(faces)[0]
        return classes


def load_parser(state: Mapping[str, Tensor], *, source: str) -> FaceParser:
    """ParseNet (512 px, 19 classes) from a state in facexlib's layout. Raises CheckpointError, which names `source`."""
    net = ParseNet(in_size=PARSE_SIZE, out_size=PARSE_SIZE, parsing_ch=19)
    try:
        net.load_state_dict(dict(state))
    except RuntimeError as error:
        raise CheckpointError(f"{source}: not a ParseNet in facexlib's layout") from error
    fold_batch_norms(net.eval().requires_grad_(False), torch.zeros(1, 3, SAMPLE, SAMPLE))
    return FaceParser(net)


@dataclass(frozen=True, slots=True)
class ClassNet:
    """A face parser on its device: (N, 3, H, W) RGB in [-1, 1] to the likeliest of 19 classes at each pixel."""

    net: torch.nn.Module
    device: torch.device
    dtype: torch.dtype

    def __call__(self, faces: PictureBatch, /) -> NDArray[np.int64]:
        """Raises RuntimeError as `inference`."""
        with inference():
            classes: NDArray[np.int64] = self.net(place(faces, self.device, self.dtype)).argmax(dim=1).cpu().numpy()
        return classes


def load_maskers(
    state: Mapping[str, Tensor], *, source: str, device: torch.device, dtypes: Sequence[str], n_batch: int = 1
) -> dict[str, ParseNetMasker]:
    """Maskers ready to run, by name: in each of `dtypes` (of DTYPES), as `at_sizes`. Raises as `load_parser`."""
    net = load_parser(state, source=source).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    found: dict[str, ParseNetMasker] = {}
    for name in dtypes:
        own = net if name == "fp32" else copy.deepcopy(net).to(DTYPES[name])
        found |= at_sizes(ParseNetMasker(ClassNet(own, device, DTYPES[name]), n_batch=n_batch), name)
    return found
