"""Community checkpoints through spandrel: upscalers for the background, and its face architectures.

What a file holds is read from its keys, by spandrel's registry; the state itself is read by us, never by a pickle that
may run code. Architectures under non-commercial licences are in the package spandrel_extra_arches, which is used where
the user has installed it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gfpcli.errors import CheckpointError
from gfpcli.pipeline.arrays import to_unit
from gfpcli.pipeline.tensors import EnlargingNet
from gfpcli.pipeline.upsample import Tiling

NEEDS_SPANDREL = "spandrel knows more kinds: pip install 'gfpcli[spandrel]'"
SQUARE = 512  # px, of all face architectures that it knows
PROBED = 32  # px of a picture's middle, whose result is compared
HALOS = (8, 16, 24, 32, 48, 64)  # px around it that a tile may be let to see
SAME = 0.25 / 255  # of the whole range: the difference up to which a tile is as good as the whole
LIVING = 4  # tensors of the largest size that a network holds at once
LOADING_ERRORS = (
    RuntimeError, KeyError, IndexError, ValueError, TypeError, AssertionError, AttributeError, ImportError,
)  # fmt: skip
"""What spandrel raises for a state that is nearly of a kind."""

CheckArchitecture = Callable[[str], None]
FaceCall = Callable[[Any, Tensor, float], Tensor]
FACE_CALLS: dict[str, FaceCall] = {  # the inner modules: [-1, 1] in and out, which spandrel's own calls do not all keep
    "GFPGAN": lambda net, faces, weight: net(faces, return_rgb=False, randomize_noise=False)[0],
    "RestoreFormer": lambda net, faces, weight: net(faces)[0],
    "CodeFormer": lambda net, faces, weight: net(faces, weight=weight)[0],
}
WEIGHTED = ("CodeFormer",)  # architectures that take a fidelity


class SpandrelFaceNet(nn.Module):
    """A face network: (N, 3, 512, 512) RGB in [-1, 1] to the same."""

    size = SQUARE

    def __init__(self, net: nn.Module, architecture: str, weight: float) -> None:
        super().__init__()
        self.net, self.architecture, self.weight = net, architecture, weight

    @property
    def has_weight(self) -> bool:
        """Whether it takes a fidelity."""
        return self.architecture in WEIGHTED

    def forward(self, faces: Tensor) -> Tensor:
        return FACE_CALLS[self.architecture](self.net, faces, self.weight)


class SpandrelNet(nn.Module):
    """An upscaler as spandrel calls it: (1, 3, H, W) RGB in [0, 1] to (1, 3, H * scale, W * scale), any size."""

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self.net, self.descriptor = descriptor.model, descriptor

    def forward(self, picture: Tensor) -> Tensor:
        out: Tensor = self.descriptor(picture)
        return out


def load_spandrel_face_net(
    state: Mapping[str, Tensor], *, source: str, weight: float, check: CheckArchitecture = lambda architecture: None
) -> SpandrelFaceNet:
    """A face network in eval mode, on the CPU.

    Args:
        weight: fidelity, 0..1, of an architecture that takes one.
        check: given the architecture of a file that spandrel_extra_arches knows; may refuse it.

    Raises:
        CheckpointError: spandrel is not installed, does not know the state, or it is no face restorer.
    """
    descriptor = _describe(state, source, check)
    architecture = str(descriptor.architecture.id)
    if architecture not in FACE_CALLS:
        raise CheckpointError(f"{source}: {architecture}, not a face restorer that gfp can call")
    net: nn.Module = descriptor.model.eval().requires_grad_(False)
    return SpandrelFaceNet(net, architecture, weight)


def load_spandrel_net(
    state: Mapping[str, Tensor], *, source: str, probe: NDArray[np.uint8],
    check: CheckArchitecture = lambda architecture: None,
) -> EnlargingNet:  # fmt: skip
    """An upscaler in eval mode, on the CPU; how it is tiled is measured on a probe, and follows its descriptor.

    Args:
        probe: a photo (S, S, 3) BGR of at least 192 px.
        check: as in `load_spandrel_face_net`.

    Raises:
        CheckpointError: as `load_spandrel_face_net`, or it takes or gives something else than RGB.
    """
    descriptor = _describe(state, source, check)
    kind = descriptor.architecture.name
    if descriptor.purpose not in ("SR", "Restoration"):
        raise CheckpointError(f"{source}: {kind}, for {descriptor.purpose}, not a background upsampler")
    if (descriptor.input_channels, descriptor.output_channels) != (3, 3):
        raise CheckpointError(f"{source}: {kind} for {descriptor.input_channels} channels, not RGB")
    net = SpandrelNet(descriptor).eval().requires_grad_(False)
    multiple = math.lcm(descriptor.size_requirements.multiple_of, _window_of(descriptor.model))
    try:
        halo, pixel_bytes = _measured(net, torch.from_numpy(to_unit(probe)), descriptor.scale, multiple)
    except LOADING_ERRORS as error:
        raise CheckpointError(f"{source}: {kind}, which does not run: {_one_line_of(error)}") from error
    is_local = descriptor.tiling.name == "SUPPORTED" and halo is not None
    reach = halo or HALOS[-1]
    tiling = Tiling(
        int(descriptor.scale), multiple, reach=reach, halo=reach, pixel_bytes=pixel_bytes, is_local=is_local
    )
    return EnlargingNet(net, tiling)


def _describe(state: Mapping[str, Tensor], source: str, check: CheckArchitecture) -> Any:
    """spandrel's descriptor of a state. Raises CheckpointError."""
    try:
        from spandrel import MAIN_REGISTRY, UnsupportedModelError, canonicalize_state_dict
    except ImportError as error:
        raise CheckpointError(f"{source}: of a kind gfp does not know; {NEEDS_SPANDREL}") from error
    registry = MAIN_REGISTRY.copy()
    with suppress(ImportError):  # an extra of the user's own
        from spandrel_extra_arches import EXTRA_REGISTRY

        registry.add(*EXTRA_REGISTRY, ignore_duplicates=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, on how some architectures are written
            descriptor = registry.load(canonicalize_state_dict(dict(state)))
    except UnsupportedModelError as error:
        raise CheckpointError(f"{source}: of a kind that neither gfp nor spandrel knows") from error
    except LOADING_ERRORS as error:
        raise CheckpointError(f"{source}: its weights do not fit together: {_one_line_of(error)}") from error
    if descriptor.architecture.id not in MAIN_REGISTRY:
        check(str(descriptor.architecture.id))
    return descriptor


def _one_line_of(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _window_of(net: nn.Module) -> int:
    """The grid that a network with windowed attention lays over a picture, px; tiles must begin on it."""
    sizes: list[int] = []
    for module in (net, *net.modules()):
        for name in ("window_size", "split_size"):
            value = getattr(module, name, 1)
            values = value if isinstance(value, list | tuple) else (value,)
            sizes += [each for each in values if isinstance(each, int) and each > 0]
    return min(math.lcm(*sizes), HALOS[-1])


@torch.inference_mode()
def _measured(net: nn.Module, probe: Tensor, scale: int, multiple: int) -> tuple[int | None, int]:
    """The smallest halo with which a tile's middle is as in the whole (None: none of HALOS), and bytes a pixel."""
    side, reach = _rounded_up(PROBED, multiple), _rounded_up(HALOS[-1], multiple)
    whole = _square(probe, 0, side + 2 * reach)
    largest = [0]

    def note(module: nn.Module, given: Any, made: Any) -> None:
        largest[0] = max(largest[0], made.numel() if isinstance(made, Tensor) else 0)

    hooks = [module.register_forward_hook(note) for module in net.modules()]
    want = _square(net(whole), scale * reach, scale * side)
    for hook in hooks:
        hook.remove()
    pixel_bytes = LIVING * 4 * largest[0] // whole[0, 0].numel()
    for halo in sorted({_rounded_up(each, multiple) for each in HALOS}):
        made = net(_square(whole, reach - halo, side + 2 * halo))
        if float((_square(made, scale * halo, scale * side) - want).abs().max()) <= SAME:
            return halo, pixel_bytes
    return None, pixel_bytes


def _square(picture: Tensor, start: int, side: int) -> Tensor:
    return picture[..., start : start + side, start : start + side]


def _rounded_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
