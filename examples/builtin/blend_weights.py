"""Blend the weights of two runs from one start, as the shipped restorer was made, into half-precision safetensors.

    python examples/builtin/blend_weights.py L1/best.safetensors GAN/last.safetensors --share 0.8 --out FILE.safetensors

The first knows what is likely (highest PSNR), the second draws what looks real; between them lies every compromise.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from gfpcli.model.checkpoint import kind_of


def _blended(before: Tensor | None, after: Tensor, key: str, share: float) -> Tensor:
    """Layers that the first run had not yet begin silent: their last convolution grows with the share."""
    if before is not None:
        return before.lerp(after, share)
    return share * after if key.startswith("fine.conv3.") else after


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--share", type=float, required=True, help="of the second, 0 to 1")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    first, second = load_file(args.first), load_file(args.second)
    state = {key: _blended(first.get(key), value, key, args.share).half().contiguous() for key, value in second.items()}
    facts = {"arch": kind_of(state), "licence": "CC BY-NC-SA 4.0", "share": str(args.share)}
    part = args.out.with_suffix(".part")
    save_file(state, part, facts)
    part.replace(args.out)


if __name__ == "__main__":
    main()
