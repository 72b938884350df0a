"""The processes of a run: one, or those that `torchrun` starts, which average their gradients in each iteration.

Gradients are averaged here, after the backward passes, and not by DistributedDataParallel: an iteration runs each
discriminator several times, and the R1 penalty needs gradients of gradients, which its hooks do not support.
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

BARRIER_TIMEOUT = timedelta(hours=6)  # the first process may have to detect the faces of many pictures


@dataclass(frozen=True, slots=True)
class World:
    """The rank of this process and the number of processes."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the run's files and its messages."""
        return self.rank == 0

    def barrier(self) -> None:
        """Waits until all processes are here."""
        if self.world_size > 1:
            dist.barrier()

    def broadcast_weights(self, nets: Iterable[nn.Module]) -> None:
        """Gives all processes the weights of the first one."""
        if self.world_size > 1:
            for net in nets:
                for value in net.state_dict().values():
                    dist.broadcast(value, 0)

    def broadcast_flag(self, is_true: bool) -> bool:
        """What the first process passed, in all processes."""
        flag = torch.tensor(int(is_true))
        if self.world_size > 1:
            dist.broadcast(flag, 0)
        return bool(flag)

    def average_gradients(self, net: nn.Module) -> None:
        """Replaces each gradient by its mean over the processes; a missing one counts as 0."""
        if self.world_size == 1:
            return
        weights = [weight for weight in net.parameters() if weight.requires_grad]
        if not weights:
            return
        grads = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
        flat = torch.cat([grad.flatten() for grad in grads])
        dist.all_reduce(flat)
        flat /= self.world_size
        at = 0
        for weight in weights:
            weight.grad = flat[at : at + weight.numel()].view_as(weight).clone()
            at += weight.numel()

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes."""
        if self.world_size > 1:
            values = values.clone()
            dist.all_reduce(values)
            values /= self.world_size
        return values

    def any(self, is_true: bool) -> bool:
        """Whether it is true in any process."""
        return bool(self.mean(torch.tensor(float(is_true))) > 0) if self.world_size > 1 else is_true


@contextmanager
def join_world(device_type: str) -> Iterator[World]:
    """Joins the processes of `torchrun`, by its environment variables; NCCL between GPUs, Gloo between CPUs."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield World()
        return
    # both back ends: some values are CPU tensors on GPU runs too
    dist.init_process_group("cpu:gloo,cuda:nccl" if device_type == "cuda" else "gloo", timeout=BARRIER_TIMEOUT)
    try:
        yield World(dist.get_rank(), world_size)
    finally:
        dist.destroy_process_group()


def local_device(name: str) -> str:
    """`cuda` with the index of this process's own GPU under `torchrun`."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if name == "cuda" and "LOCAL_RANK" in os.environ else name
