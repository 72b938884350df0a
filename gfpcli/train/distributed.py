"""The processes of a run: one, or those that `torchrun` starts, which share each step's gradient.

Gradients are averaged here, after the whole step, and not by DistributedDataParallel: a step runs each discriminator
several times and R1 needs gradients of gradients, which its hooks do not take.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

WAIT = timedelta(hours=6)  # the first process may have many pictures to look at


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which process this is, of how many."""

    rank: int = 0
    n_ranks: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all processes are here."""
        if self.n_ranks > 1:
            dist.barrier()

    def share_weights(self, nets: Iterable[nn.Module]) -> None:
        """All processes get the first one's weights."""
        if self.n_ranks > 1:
            for net in nets:
                for value in net.state_dict().values():
                    dist.broadcast(value, 0)

    def mean_gradients(self, net: nn.Module) -> None:
        """Each gradient becomes its mean over the processes; one that only others have counts as 0 here."""
        if self.n_ranks == 1:
            return
        weights = [weight for weight in net.parameters() if weight.requires_grad]
        if not weights:
            return
        grads = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
        flat = torch.cat([grad.flatten() for grad in grads])
        dist.all_reduce(flat)
        flat /= self.n_ranks
        at = 0
        for weight in weights:
            weight.grad = flat[at : at + weight.numel()].view_as(weight).clone()
            at += weight.numel()

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes."""
        if self.n_ranks > 1:
            values = values.clone()
            dist.all_reduce(values)
            values /= self.n_ranks
        return values

    def any(self, is_true: bool) -> bool:
        """Whether it is true in any process."""
        return bool(self.mean(torch.tensor(float(is_true))) > 0) if self.n_ranks > 1 else is_true


@contextmanager
def join_ranks(device_type: str) -> Iterator[Ranks]:
    """This process's place, as `torchrun` says it; NCCL between GPUs, Gloo between CPUs."""
    n_ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if n_ranks == 1:
        yield Ranks()
        return
    # both engines: tensors of either kind of device can be shared
    dist.init_process_group("cpu:gloo,cuda:nccl" if device_type == "cuda" else "gloo", timeout=WAIT)
    try:
        yield Ranks(dist.get_rank(), n_ranks)
    finally:
        dist.destroy_process_group()


def local_device(name: str) -> str:
    """`cuda` becomes this process's own GPU under `torchrun`."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if name == "cuda" and "LOCAL_RANK" in os.environ else name
