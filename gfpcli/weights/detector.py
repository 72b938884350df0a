"""The detector of a checkpoint file, as torch runs it."""

from __future__ import annotations

from pathlib import Path

import torch

from gfpcli.adapters.facexlib import DetectorNets, detector_of, load_detector_nets
from gfpcli.files.atomic import sha256_of
from gfpcli.model.checkpoint import read_state
from gfpcli.options import FaceOptions
from gfpcli.pipeline.retinaface import RetinaFaceDetector

OTHER_DETECTORS = {  # sha256 of public checkpoints in facexlib's layout that want other anchors and plain ReLU
    "ed6fa7d45a5179f03cb5ce82c73b0c6711372968e53782e88395acee88d319e1": ("[[10,20],[32,64],[128,256]]", 0.0),
}


def read_detector_nets(path: Path) -> DetectorNets:
    """The networks in a file, on the CPU. Raises CheckpointError."""
    min_sizes, slope = OTHER_DETECTORS.get(sha256_of(path), (None, None))
    return load_detector_nets(read_state(path), source=str(path), min_sizes=min_sizes, slope=slope)


def load_torch_detector(options: FaceOptions, path: Path, device: torch.device | None = None) -> RetinaFaceDetector:
    """The detector in a file, on `device` (None: the CPU). Raises CheckpointError."""
    nets, device = read_detector_nets(path), device or torch.device("cpu")
    return detector_of(nets, threshold=options.det_threshold, longest=options.det_size, device=device)
