"""Two processes: what they share, average and agree on."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from gfpcli.train.distributed import World


def _check(rank: int, meeting: str) -> None:
    """Runs in each of two processes; an assertion that fails ends both."""
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    world = World(rank, 2)
    assert [world.broadcast_flag(rank == 0), world.broadcast_flag(rank == 1)] == [True, False]
    assert world.any(rank == 1) and not world.any(False)
    assert world.mean(torch.tensor([1.0 + rank])).tolist() == [1.5]
    net = nn.Linear(2, 1)
    nn.init.constant_(net.weight, rank + 3.0)
    world.broadcast_weights([net])
    assert (net.weight == 3).all()
    if rank == 1:
        net(torch.ones(1, 2)).sum().backward()
    world.average_gradients(net)
    assert net.weight.grad is not None and net.weight.grad.tolist() == [[0.5, 0.5]]
    world.barrier()
    dist.destroy_process_group()


def test_two_processes_share_weights_gradients_and_flags(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_check, (str(tmp_path / "meeting"),), nprocs=2)


def test_one_process_alone_changes_nothing() -> None:
    world, net = World(), nn.Linear(2, 1)
    world.average_gradients(net)
    assert world.is_first and world.broadcast_flag(True) and not world.any(False) and net.weight.grad is None
