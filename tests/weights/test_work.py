"""How many layers a photo with one face costs: none that could be folded away, none that is done twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from gfpcli.options import RestoreOptions
from gfpcli.photo.codec import read_frame
from gfpcli.pipeline.restorer import Restorer
from gfpcli.weights.autotune import probe_batch, probe_faces
from gfpcli.weights.build import load_restorer
from gfpcli.weights.choose import choose_parts

PORTRAIT = Path(__file__).resolve().parents[2] / "examples" / "photos" / "grace_hopper.jpg"
NORMS = ("batch_norm", "native_batch_norm", "cudnn_batch_norm")


class Counted(TorchDispatchMode):
    """Counts the operations that torch runs, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def counted(work: Callable[[], object]) -> Counter[str]:
    with Counted() as mode:
        work()
    return mode.calls


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    options = RestoreOptions(model="compact", detector="builtin", mask="soft", precision="fp32")
    return load_restorer(options, choose_parts(options, warn=print))


def test_a_face_costs_no_batch_norm_and_each_convolution_once(restorer: Restorer) -> None:
    image = read_frame(PORTRAIT, 0).image
    found = counted(lambda: restorer.detector([image]))
    made = counted(lambda: restorer.model(probe_batch(restorer.model.size)))
    assert restorer.guard.identifier
    known = counted(lambda: restorer.guard.identifier and restorer.guard.identifier(probe_faces(256)[:1]))
    n_norms = [sum(calls[name] for name in NORMS) for calls in (found, made, known)]
    assert n_norms == [0, 0, 1]  # the last is of a vector, not of pictures
    # the detector at full and at a quarter size and the landmark network in three calls
    assert (found["conv2d"], made["conv2d"], known["conv2d"]) == (160, 36, 12)
    assert made["group_norm"] == 18
    assert made["leaky_relu"] == 0 and made["leaky_relu_"] == 21  # in place
