"""A picture as a frame of a compressed video, coded and decoded in memory through PyAV."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
from numpy.typing import NDArray

N_CODED = 3  # the last is predicted from the others, which show the same picture one pixel away
MIN_SIDE = 32  # px; encoders refuse less
DECODERS = {"libx264": "h264", "mpeg4": "mpeg4"}  # encoder and decoder


def as_video_frame(image: NDArray[np.uint8], codec: str, crf: int) -> NDArray[np.uint8]:
    """The last of N_CODED frames of a short clip of an (H, W, 3) BGR picture, 0..255, 4:2:0; the size stays.

    Args:
        codec: one of DECODERS.
        crf: constant rate factor of H.264, 0..51, higher is worse; for MPEG-4 it is turned into a quantizer.
    """
    height, width = image.shape[:2]
    side = max(MIN_SIDE, height + height % 2), max(MIN_SIDE, width + width % 2)
    whole = cv2.copyMakeBorder(image, 0, side[0] - height, 0, side[1] - width, cv2.BORDER_REPLICATE)
    encoder = _encoder(codec, crf, side)
    packets = []
    for shift in range(N_CODED - 1, -1, -1):
        frame = av.VideoFrame.from_ndarray(np.asarray(np.roll(whole, shift, axis=1), np.uint8), format="bgr24")
        frame.pts = N_CODED - 1 - shift
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder = av.CodecContext.create(DECODERS[codec], "r")
    assert isinstance(decoder, av.VideoCodecContext)
    frames = [frame for packet in (*packets, None) for frame in decoder.decode(packet)]
    return np.ascontiguousarray(frames[-1].to_ndarray(format="bgr24")[:height, :width])


def _encoder(codec: str, crf: int, side: tuple[int, int]) -> av.VideoCodecContext:
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height, encoder.width = side
    encoder.pix_fmt, encoder.framerate, encoder.thread_count = "yuv420p", Fraction(25), 1
    quantizer = str(1 + round(crf * 30 / 51))
    if codec == "libx264":
        encoder.options = {"crf": str(crf), "preset": "veryfast", "tune": "zerolatency"}
    else:
        encoder.options = {"qmin": quantizer, "qmax": quantizer}
    return encoder
