"""How each training script here begins."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import torch


def begin(n_threads: int, seed: int) -> np.random.Generator:
    """Messages with the time, threads, and torch's seed; gives NumPy's generator of the same seed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(n_threads)
    cv2.setNumThreads(1)
    torch.manual_seed(seed)
    return np.random.default_rng(seed)
