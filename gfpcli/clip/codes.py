"""The latents of a GFP-GAN network averaged over the frames around, so that a face keeps its look from frame to frame.

A latent tells the style of the whole face; where its parts are and what they do is told by the spatial features, which
stay those of the frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence, Set
from dataclasses import replace

import numpy as np

from gfpcli.clip.deflicker import places_of, rest_of_shot
from gfpcli.errors import FaceError
from gfpcli.pipeline.steps import EncodedFaces
from gfpcli.stream import windows
from gfpcli.types import FaceCode, Failed

CODE_REACH = 3  # frames before and after that take part
CODE_WIDTH = 4.0  # frames: standard deviation of the weights at --smooth 1


def average_codes(
    encoded: Iterator[EncodedFaces | Failed], cuts: Set[int], *, smooth: float
) -> Iterator[EncodedFaces | Failed]:
    """The frames with steadier latents, as many and in the same order; nothing crosses a cut.

    Args:
        cuts: indices of the frames that start a shot.
        smooth: above 0, up to 1.
    """
    waiting: deque[EncodedFaces | Failed] = deque()

    def latents() -> Iterator[EncodedFaces | Failed]:
        for each in encoded:
            waiting.append(each)
            yield each if isinstance(each, Failed) else _without_features(each)

    for window, at in windows(latents(), CODE_REACH):
        own = waiting.popleft()  # features are heavy: those of the frames before are gone
        if isinstance(own, Failed):
            yield own
            continue
        before = rest_of_shot([window[i] for i in range(at, -1, -1)], cuts, is_backward=True)
        after = rest_of_shot(window[at:], cuts, is_backward=False)
        codes = tuple(
            code if isinstance(code, FaceError) else _averaged(own, i, code, (before, after), smooth)
            for i, code in enumerate(own.codes)
        )
        yield replace(own, codes=codes)


def _without_features(frame: EncodedFaces) -> EncodedFaces:
    codes = (code if isinstance(code, FaceError) else replace(code, features=None) for code in frame.codes)
    return replace(frame, codes=tuple(codes))


def _averaged(
    own: EncodedFaces, i: int, code: FaceCode, sides: Sequence[Sequence[EncodedFaces]], smooth: float
) -> FaceCode:
    """The code of the i-th face with its latent averaged with those of the frames before and after it."""
    total, weights = code.latent.copy(), 1.0
    for others in sides:
        places = places_of(own.aligned.crops[i].face, [other.aligned for other in others])
        for away, (other, place) in enumerate(zip(others, places, strict=False), 1):
            near = other.codes[place]
            if isinstance(near, FaceError):
                break
            weight = float(np.exp(-0.5 * (away / (CODE_WIDTH * smooth)) ** 2))
            total += weight * near.latent
            weights += weight
    return replace(code, latent=total / weights)
