"""Small clips made for the tests."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

PHOTO = Path(__file__).resolve().parents[1] / "examples" / "photos" / "grace_hopper.jpg"
TICK = Fraction(1, 12800)


def talking(n_frames: int) -> list[NDArray[np.uint8]]:
    """(200, 200, 3) BGR: a portrait that sways, with fresh noise in each frame."""
    photo = cv2.resize(cv2.imread(str(PHOTO))[40:400, 80:440], (200, 200), interpolation=cv2.INTER_AREA)
    rng = np.random.default_rng(3)
    frames = []
    for i in range(n_frames):
        sway = np.array([[1, 0, 3 * np.sin(i / 4)], [0, 1, 2 * np.cos(i / 5)]])
        moved = cv2.warpAffine(photo, sway, (200, 200), borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
        frames.append(np.clip(moved + rng.normal(0, 4, moved.shape), 0, 255).astype(np.uint8))
    return frames


def faceless(n_frames: int, height: int = 200, width: int = 200) -> list[NDArray[np.uint8]]:
    """A ramp that moves; its first corner is red, so that it is seen which way up it is."""
    ramp = np.add.outer(np.arange(height), np.arange(width)) % 256
    frames = []
    for i in range(n_frames):
        frame = np.repeat(((ramp + i) % 128)[..., None], 3, axis=2).astype(np.uint8)
        frame[: height // 4, : width // 4] = (0, 0, 250)
        frames.append(frame)
    return frames


def write_clip(
    path: Path, frames: Sequence[NDArray[np.uint8]], *, ticks: Sequence[int] | None = None, codec: str = "libx264",
    pix_fmt: str = "yuv420p", color: int = 1, transfer: int = 1, aspect: Fraction = Fraction(1), tone: bool = False,
    options: dict[str, str] | None = None,
) -> Path:  # fmt: skip
    """Encodes frames at `ticks` (25 frames/s where not given), with a tone where asked."""
    times = ticks or [512 * i for i in range(len(frames))]
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25, options=options or {"crf": "10", "preset": "veryfast"})
        context = stream.codec_context
        context.height, context.width = frames[0].shape[:2]
        context.pix_fmt, context.time_base, context.sample_aspect_ratio = pix_fmt, TICK, aspect
        context.color_range, context.color_primaries, context.colorspace, context.color_trc = 1, color, color, transfer
        sound = output.add_stream("aac", rate=44100, layout="mono") if tone else None
        for frame, time in zip(frames, times, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, "bgr24").reformat(format=pix_fmt)
            picture.pts, picture.time_base = time, TICK
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
        for start in range(0, round(44100 * (times[-1] + 512) * TICK), 1024) if sound else ():
            wave = np.sin(np.arange(start, start + 1024) / 20).astype(np.float32)[None]
            heard = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
            heard.rate, heard.pts = 44100, start
            output.mux(sound.encode(heard))
        if sound:
            output.mux(sound.encode(None))
    return path


def ffmpeg(*words: object) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", *map(str, words)]
    subprocess.run(command, check=True, capture_output=True)


def times_of(path: Path) -> list[Fraction]:
    """When each frame is shown, then when the last one goes; seconds."""
    with av.open(str(path)) as container:
        shown = [(frame.pts * frame.time_base, frame.duration * frame.time_base) for frame in container.decode(video=0)]
    return [at for at, _ in shown] + [shown[-1][0] + shown[-1][1]]


def pixels_of(path: Path) -> list[str]:
    """A hash of each decoded frame."""
    with av.open(str(path)) as container:
        return [hashlib.md5(frame.to_ndarray().tobytes()).hexdigest() for frame in container.decode(video=0)]


def sound_of(path: Path) -> list[list[tuple[str, float]]]:
    """Hash and time of each packet of each audio stream."""
    with av.open(str(path)) as container:
        packets = {stream.index: [] for stream in container.streams.audio}
        for packet in container.demux(*container.streams.audio) if packets else ():
            if packet.size:
                digest = hashlib.md5(bytes(packet)).hexdigest()
                packets[packet.stream_index].append((digest, float(packet.pts * packet.time_base)))
    return list(packets.values())
