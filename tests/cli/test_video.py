"""`gfp video` as a user runs it, with the weights in the package."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

import gfpcli.clip.clip
import gfpcli.clip.encode
import gfpcli.clip.segments
from gfpcli.cli.app import app
from gfpcli.clip.segments import SEGMENTS
from gfpcli.pipeline.paste import resize_background
from tests.clips import faceless, ffmpeg, pixels_of, sound_of, talking, times_of, write_clip

BUILTIN = ("--offline", "--model", "compact", "--detector", "builtin", "--mask", "soft", "--preset", "ultrafast")


def video(*words: object) -> Result:
    """With the network's face pasted whole, unless the words say otherwise: these clips are of a sharp photo."""
    return CliRunner().invoke(app, ["video", "--strength", "1", *map(str, words), *BUILTIN])


def record_of(*words: object) -> dict[str, object]:
    done = video(*words, "--json", "-", "-q")
    assert done.exit_code == 0, done.stderr
    (row,) = map(json.loads, done.stdout.splitlines())
    return row


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty uneven frames of a portrait, with a tone."""
    ticks = np.cumsum([512 * (1 + (i % 3 == 1)) for i in range(30)]).tolist()
    return write_clip(tmp_path_factory.mktemp("clips") / "talk.mp4", talking(30), ticks=ticks, tone=True)


def test_a_clip_comes_out_restored_with_its_times_and_sound(clip: Path, tmp_path: Path) -> None:
    out, kept_frames = tmp_path / "out.mp4", ("--frames-dir", tmp_path / "frames")
    row = record_of(clip, "-o", out, *kept_frames)
    assert (row["status"], row["n_frames"], row["n_faces"], row["error"]) == ("restored", 30, 30, None)
    assert (row["width"], row["height"], row["scale"], row["model"]) == (200, 200, 1.0, "compact")
    assert isinstance(row["flicker"], float) and row["fps"] > 0  # type: ignore[operator]
    assert times_of(out) == times_of(clip) and sound_of(out) == sound_of(clip)
    kept = cv2.imread(str(tmp_path / "frames" / "out" / "000021.png"))
    assert kept is not None
    changed = (kept != _exact(clip, 20)).any(axis=2)
    assert changed[60:140, 70:130].mean() > 0.8 and not changed[:20, :30].any()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".gfp-ledger.jsonl", "frames", "out.mp4"]
    stamp = out.stat().st_mtime_ns
    again = video(clip, "-o", out, *kept_frames)
    assert again.exit_code == 0 and "skipped" in again.stderr and out.stat().st_mtime_ns == stamp
    assert record_of(clip, "-o", out, "--strength", 0.5, "--end", 0.2)["status"] == "restored"


def _frame(path: Path, index: int) -> np.ndarray:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)][index]


def test_two_devices_give_the_bytes_of_one(clip: Path, tmp_path: Path) -> None:
    for name, devices in (("one", "cpu"), ("two", "cpu,cpu")):
        assert video(clip, "-o", tmp_path / name / "out.mp4", "--device", devices).exit_code == 0
    assert (tmp_path / "one" / "out.mp4").read_bytes() == (tmp_path / "two" / "out.mp4").read_bytes()


def test_smoothing_lowers_flicker(clip: Path, tmp_path: Path) -> None:
    flicker = [record_of(clip, "-o", tmp_path / f"{s}.mp4", "--smooth", s)["flicker"] for s in (0, 0.5)]
    assert flicker[1] < flicker[0] - 0.2  # type: ignore[operator]


def test_no_face_of_the_shot_before_appears_after_a_cut(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", [*talking(14), *faceless(13), *talking(9)])
    frames = tmp_path / "frames"
    row = record_of(source, "-o", tmp_path / "out.mp4", "--frames-dir", frames)
    assert row["n_faces"] == 23
    for i in (14, 15, 26):
        kept, given = cv2.imread(str(frames / "out" / f"{i + 1:06d}.png")), _exact(source, i)
        assert kept is not None and (kept == given).all()
    kept = cv2.imread(str(frames / "out" / "000014.png"))
    assert kept is not None and (kept != _exact(source, 13)).any()


def _exact(path: Path, index: int) -> np.ndarray:
    from gfpcli.clip.probe import probe
    from gfpcli.clip.read import read_frames

    return [frame.image for frame in read_frames(probe(path))][index]


def test_streams_chapters_attachments_and_titles_are_kept(clip: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in.mkv", tmp_path / "out.mkv"
    (tmp_path / "s.srt").write_text("1\n00:00:00,200 --> 00:00:01,000\nhello\n")
    (tmp_path / "note.txt").write_text("an attachment")
    (tmp_path / "m.txt").write_text(
        ";FFMETADATA1\ntitle=Zürich ☕\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=900\ntitle=one\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=900\nEND=2000\ntitle=two\n"
    )
    ffmpeg(
        "-i", clip, "-f", "lavfi", "-t", 2, "-i", "sine", "-i", tmp_path / "s.srt", "-i", tmp_path / "m.txt",
        "-map", "0:v", "-map", "0:a", "-map", "1:a", "-map", "2:s", "-map_metadata", 3, "-map_chapters", 3,
        "-c", "copy", "-c:a:1", "libopus", "-metadata:s:a:1", "language=deu", "-metadata:s:a:1", "title=zweite",
        "-attach", tmp_path / "note.txt", "-metadata:s:t", "mimetype=text/plain", source,
    )  # fmt: skip
    record_of(source, "-o", out)
    assert times_of(out)[:-1] == times_of(source)[:-1]
    assert sound_of(out) == sound_of(source) and len(sound_of(out)) == 2
    facts = []
    for path in (source, out):
        with av.open(str(path)) as container:
            chapters = [(each["start"], each["end"], each["metadata"]["title"]) for each in container.chapters()]
            words = [bytes(packet) for packet in container.demux(container.streams.subtitles[0]) if packet.size]
            second = container.streams.audio[1].metadata
            names = container.metadata["title"], second["language"], second["title"]
            kinds = [stream.type for stream in container.streams]
            facts.append((chapters, words, names, kinds, [each.data for each in container.streams.attachments]))
    assert facts[0] == facts[1] and facts[0][4] == [b"an attachment"] and len(facts[0][0]) == 2
    stripped = tmp_path / "plain.mkv"
    record_of(source, "-o", stripped, "--strip", "--smooth", 0)
    with av.open(str(stripped)) as container:
        assert "title" not in container.metadata and not container.chapters()


def test_a_cover_is_kept(tmp_path: Path) -> None:
    source, out = tmp_path / "in.mp4", tmp_path / "out.mp4"
    cv2.imwrite(str(tmp_path / "cover.png"), talking(1)[0])
    write_clip(tmp_path / "plain.mp4", talking(2))
    words = ("-map", 0, "-map", 1, "-c", "copy", "-disposition:v:1", "attached_pic")
    ffmpeg("-i", tmp_path / "plain.mp4", "-i", tmp_path / "cover.png", *words, source)
    assert record_of(source, "-o", out)["n_frames"] == 2
    with av.open(str(out)) as container:
        cover = next(packet for packet in container.demux(container.streams.video[1]) if packet.size)
        assert bytes(cover) == (tmp_path / "cover.png").read_bytes()


def test_one_frame_no_sound_and_an_odd_size(tmp_path: Path) -> None:
    odd = [cv2.copyMakeBorder(frame, 0, 1, 0, 1, cv2.BORDER_REPLICATE) for frame in talking(3)]
    one = write_clip(tmp_path / "one.mp4", talking(1))
    odds = write_clip(tmp_path / "odd.mp4", odd, pix_fmt="yuv444p")
    done = video(one, odds, "-o", tmp_path / "out")
    assert done.exit_code == 0 and "1 frames, 1 faces" in done.stderr, done.stderr
    for source in (one, odds):
        out = tmp_path / "out" / source.name
        assert times_of(out) == times_of(source) and sound_of(out) == []
        assert _frame(out, 0).shape == _frame(source, 0).shape


def test_squeezed_pixels_are_seen_as_they_are_shown(tmp_path: Path) -> None:
    narrow = [np.ascontiguousarray(frame[:, ::2]) for frame in talking(4)]
    source = write_clip(tmp_path / "in.mp4", narrow, aspect=Fraction(2, 1))
    row = record_of(source, "-o", tmp_path / "out.mp4")
    assert (row["n_faces"], row["width"], row["height"]) == (4, 100, 200)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == 2


def test_a_killed_run_goes_on_and_gives_the_same(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of half a second, so that some are there to keep; every frame is looked at, so that few are needed."""
    setting = "import gfpcli.clip.segments as s; from fractions import Fraction as F; s.SHORTEST = s.LONGEST = F(1, 2)"
    monkeypatch.setattr(gfpcli.clip.segments, "LONGEST", Fraction(1, 2))
    monkeypatch.setattr(gfpcli.clip.segments, "SHORTEST", Fraction(1, 2))
    stopped, whole = tmp_path / "stopped.mp4", tmp_path / "whole.mp4"
    words = ["video", "--strength", "1", "--look-every", "1", str(clip), "-o", str(stopped), *BUILTIN]
    code = f"import sys; {setting}; from gfpcli.cli.app import main; sys.argv = ['gfp', *{words!r}]; main()"
    work = subprocess.Popen([sys.executable, "-c", code], env={**os.environ}, stderr=subprocess.PIPE, text=True)
    parts = tmp_path / ".stopped.mp4.gfp" / SEGMENTS
    deadline = time.monotonic() + 60
    while not (parts.exists() and len(parts.read_text().splitlines()) > 2) and time.monotonic() < deadline:
        time.sleep(0.01)
    work.send_signal(signal.SIGKILL)
    _, told = work.communicate(timeout=60)
    assert work.returncode == -signal.SIGKILL and not told and not stopped.exists()
    n_done = len(parts.read_text().splitlines()) - 1
    read_from: list[Fraction] = []
    true = gfpcli.clip.clip.read_frames
    monkeypatch.setattr(
        gfpcli.clip.clip, "read_frames", lambda info, **range: read_from.append(range["start"]) or true(info, **range)
    )
    rows = [record_of(clip, "-o", out, "--look-every", 1) for out in (stopped, whole)]
    assert n_done >= 2 and read_from[0] > read_from[1] + Fraction(1, 3)
    assert pixels_of(stopped) == pixels_of(whole) and times_of(stopped) == times_of(whole)
    assert [(row["n_frames"], row["n_faces"], row["flicker"]) for row in rows][0] == (30, 30, rows[1]["flicker"])
    assert not parts.parent.exists()


def test_other_settings_or_a_damaged_segment_are_not_gone_on_with(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gfpcli.clip.segments, "LONGEST", Fraction(1, 2))
    out, work = tmp_path / "out.mp4", tmp_path / ".out.mp4.gfp"
    with monkeypatch.context() as broken:
        broken.setattr(gfpcli.clip.clip, "finish_clip", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert video(clip, "-o", out).exit_code == 130
    n_parts = len((work / SEGMENTS).read_text().splitlines()) - 1
    (work / "000001.mp4").write_bytes(b"damaged")
    numbers: list[int] = []
    true = gfpcli.clip.clip.restore_segment

    def restore_segment(*args: Any, **named: Any) -> Any:
        numbers.append(int(args[3].stem))
        return true(*args, **named)

    monkeypatch.setattr(gfpcli.clip.clip, "restore_segment", restore_segment)
    assert record_of(clip, "-o", out)["n_frames"] == 30
    assert numbers == list(range(1, n_parts))


def test_a_part_of_a_clip(clip: Path, tmp_path: Path) -> None:
    row = record_of(clip, "-o", tmp_path / "out.mp4", "--start", 0.5, "--end", 1.25)
    times = times_of(clip)[:-1]
    kept = [at - times[0] for at in times if Fraction(1, 2) <= at - times[0] < Fraction(5, 4)]
    shown = times_of(tmp_path / "out.mp4")[:-1]
    assert row["n_frames"] == len(kept) and shown == [at - kept[0] for at in kept]
    heard = [at for _, at in sound_of(tmp_path / "out.mp4")[0]]
    assert abs(heard[0]) < 0.05 and abs(heard[-1] - 0.75) < 0.08
    inside = {digest for digest, at in sound_of(clip)[0] if 0.45 < at - times[0] < 1.3}
    assert len(inside & {digest for digest, _ in sound_of(tmp_path / "out.mp4")[0]}) >= len(heard) - 2


def test_a_background_network_draws_each_frame(clip: Path, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    row = record_of(clip, "-o", tmp_path / "a.mp4", "--end", 0.1, "-s", 2, "-b", "compact-x2", "--frames-dir", frames)
    assert (row["status"], row["width"], row["height"], row["error"]) == ("restored", 400, 400, None)
    kept = cv2.imread(str(frames / "a" / "000001.png"))
    assert kept is not None
    plain = cv2.resize(_exact(clip, 0), (400, 400), interpolation=cv2.INTER_LANCZOS4).astype(float)
    assert 0.5 < np.abs(kept - plain)[:100].mean() < 5


def test_folders_of_frames_in_and_out(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for i, frame in enumerate(talking(11)):
        cv2.imwrite(str(folder / f"f{i + 1}.png"), frame)
    row = record_of(folder, "-o", tmp_path / "out", "--rate", 12.5, "--frames-dir", tmp_path / "kept", "--scale", 1.5)
    assert (row["n_frames"], row["n_faces"], row["width"]) == (11, 11, 300)
    assert times_of(tmp_path / "out" / "frames.mp4") == [i * Fraction(2, 25) for i in range(12)]
    kept = sorted((tmp_path / "kept" / "frames").glob("*.png"))
    assert [path.name for path in kept] == [f"{i:06d}.png" for i in range(1, 12)]
    second = cv2.imread(str(kept[1]))
    assert second is not None and second.shape == (300, 300, 3)
    near = resize_background(talking(2)[1], (300, 300))
    assert (second[:20] == near[:20]).all()


def test_a_preview_instead_of_the_whole(clip: Path, tmp_path: Path) -> None:
    done = video(clip, "-o", tmp_path / "out.mp4", "--preview", 3)
    assert done.exit_code == 0, done.stderr
    strip = cv2.imread(str(tmp_path / "out.preview.png"))
    assert strip is not None and strip.shape == (400, 600, 3)
    assert (strip[:200, 200:400] == _exact(clip, 10)).all() or (strip[:200, 200:400] == _exact(clip, 11)).all()
    assert (strip[200:] != strip[:200]).any()
    pair = _frame(tmp_path / "out.preview.mp4", 0)
    assert pair.shape == (200, 400, 3) and len(sound_of(tmp_path / "out.preview.mp4")[0]) > 20
    assert not (tmp_path / "out.mp4").exists()


def test_previews_and_kept_frames_replace_no_file_that_gfp_did_not_write(clip: Path, tmp_path: Path) -> None:
    out, short = tmp_path / "out.mp4", ("--end", 0.1)
    for name in ("out.preview.png", "out.preview.mp4"):
        (tmp_path / name).write_bytes(b"somebody's")
        done = video(clip, "-o", out, "--preview", 2)
        assert done.exit_code == 1 and f"{name}: is there already and is not gfp's" in done.stderr, done.stderr
        assert (tmp_path / name).read_bytes() == b"somebody's"
        (tmp_path / name).unlink()
    for _ in range(2):
        assert video(clip, "-o", out, "--preview", 2).exit_code == 0
    frames = tmp_path / "frames" / "out"
    frames.mkdir(parents=True)
    (frames / "000001.png").write_bytes(b"somebody's")
    words = (clip, "-o", out, *short, "--frames-dir", tmp_path / "frames")
    done = video(*words)
    assert done.exit_code == 1 and f"{frames}: holds files and is not gfp's" in done.stderr
    assert (frames / "000001.png").read_bytes() == b"somebody's" and not out.exists()
    assert video(*words, "--force").exit_code == 0 and (frames / "000001.png").read_bytes() != b"somebody's"
    assert video(*words, "--strength", 0.5).exit_code == 0


def test_pictures_with_transparency_become_clips_and_pictures_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    alpha = np.zeros((200, 200), np.uint8)
    alpha[:, 60:] = 255
    for i, frame in enumerate(talking(3)):
        cv2.imwrite(str(folder / f"f{i + 1}.png"), np.dstack([frame, alpha]))
    out = tmp_path / "out.mov"
    words = ["video", str(folder), "-o", str(out), "--scale", "1.5", "--frames-dir", str(tmp_path / "kept")]
    words += ["--strength", "1"]
    row = json.loads(CliRunner().invoke(app, [*words, *BUILTIN[:-2], "--json", "-", "-q"]).stdout)
    assert (row["notes"], row["width"]) == ([], 300)
    kept = cv2.imread(str(tmp_path / "kept" / "out" / "000002.png"), cv2.IMREAD_UNCHANGED)
    assert kept is not None and kept.shape == (300, 300, 4)
    assert kept[:, :80, 3].max() < 5 and kept[:, 100:, 3].min() > 250
    with av.open(str(out)) as container:
        assert next(container.decode(video=0)).format.name.startswith("yuva444p")
    assert "its transparency is lost" in record_of(folder, "-o", tmp_path / "out.mp4")["notes"][0]  # type: ignore[index]


def test_the_record_has_the_size_behind_a_change_of_it(clip: Path, tmp_path: Path) -> None:
    ffmpeg("-i", clip, "-an", "-c", "copy", tmp_path / "one.ts")
    ffmpeg("-i", clip, "-an", "-vf", "scale=120:96", "-c:v", "libx264", "-output_ts_offset", 2, tmp_path / "two.ts")
    source = tmp_path / "in.ts"
    source.write_bytes((tmp_path / "one.ts").read_bytes() + (tmp_path / "two.ts").read_bytes())
    done = video(source, "-o", tmp_path / "out.mp4")
    assert done.exit_code == 1 and "changes from 200x200 to 120x96" in done.stderr
    at = done.stderr.split("--start ")[1].split()[0]
    row = record_of(source, "-o", tmp_path / "out.mp4", "--start", at, "--scale", 2)
    assert (row["width"], row["height"]) == (240, 192)


@pytest.mark.parametrize("suffix", [".avi", ".ts", ".mts", ".flv"])
def test_a_suffix_that_is_not_written_makes_no_folder(suffix: str, clip: Path, tmp_path: Path) -> None:
    done = video(clip, "-o", tmp_path / f"new{suffix}")
    told = " ".join(done.stderr.split())
    assert done.exit_code == 2 and ".mp4, .m4v, .mov, .mkv, .webm, .gif, .webp" in told, told
    assert not list(tmp_path.iterdir())


def test_bad_input_is_one_line_and_writes_nothing(clip: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.mp4").write_text("not a video")
    (folder / "b.mp4").write_bytes(clip.read_bytes()[:3000])
    ffmpeg("-i", clip, "-vn", "-c", "copy", folder / "c.mp4")
    write_clip(folder / "d.mp4", talking(2))
    done = video(folder, "-o", out)
    lines = done.stderr.splitlines()
    assert done.exit_code == 1 and [line.split()[0] for line in lines] == ["failed"] * 3 + ["restored"], done.stderr
    assert "not a video" in lines[0] and "no video stream" in lines[2]
    assert sorted(path.name for path in out.iterdir()) == [".gfp-ledger.jsonl", "d.mp4"]
    fast = video(folder, "-o", tmp_path / "fast", "--fail-fast")
    assert fast.exit_code == 1 and len(fast.stderr.splitlines()) == 1


def test_a_packet_that_does_not_decode_is_counted(clip: Path, tmp_path: Path) -> None:
    with av.open(str(clip)) as container:
        place = [packet.pos for packet in container.demux(container.streams.video[0]) if packet.size][10]
    data = bytearray(clip.read_bytes())
    data[place : place + 60] = b"\xff" * 4 + bytes(56)
    (tmp_path / "damaged.mp4").write_bytes(data)
    row = record_of(tmp_path / "damaged.mp4", "-o", tmp_path / "out.mp4")
    assert (row["n_frames"], row["notes"]) == (29, ["1 of its 30 packets gave no frame"])


def test_an_output_that_cannot_be_written_is_told_and_the_work_is_kept(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    blocked = video(clip, "-o", tmp_path / "file" / "out.mp4")
    assert blocked.exit_code == 1 and len(blocked.stderr.splitlines()) == 1

    def full(self: object, opened: object, picture: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as small:
        small.setattr(gfpcli.clip.encode.SegmentEncoder, "add_packets", full)
        done = video(clip, "-o", tmp_path / "out.mp4")
    assert done.exit_code == 1 and len(done.stderr.splitlines()) == 1 and "No space left on device" in done.stderr
    assert not (tmp_path / "out.mp4").exists()
    assert video(clip, "-o", tmp_path / "out.mp4").exit_code == 0


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--codec", "divx"], "choose one of copy-of-source, h264"),
        (["--smooth", "2"], "from 0 to 1"),
        (["--start", "3", "--end", "2"], "not after"),
        (["--codec", "prores", "--crf", "3"], "prores has no such setting"),
        (["--suffix", "a/b"], "path separator"),
        (["-o", "same"], "would both become"),
    ],
)
def test_wrong_usage_exits_2_with_one_line(clip: Path, tmp_path: Path, flags: list[str], told: str) -> None:
    (tmp_path / "talk.mp4").write_bytes(clip.read_bytes())
    inputs = (clip, tmp_path / "talk.mp4") if "same" in flags else (clip,)
    done = video(*inputs, *flags, *(() if "same" in flags else ("-o", tmp_path / "out")))
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.stderr
    assert told in done.stderr


def test_a_dry_run_tells_the_plan(clip: Path, tmp_path: Path) -> None:
    done = video(clip, "-o", tmp_path / "out.webm", "--dry-run")
    assert done.exit_code == 2  # vp9 has no preset named ultrafast: the encoder is tried before the work
    done = CliRunner().invoke(app, ["video", str(clip), "-o", str(tmp_path / "out.webm"), "--dry-run"])
    assert done.exit_code == 0 and "h264 yuv420p -> libvpx-vp9 yuv420p" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["cuts_audio_640x360_2997.mp4", "odd/fragmented_2997.mp4", "odd/vp9_opus.webm"])
def test_real_clips_keep_their_times_and_sound(shared_data: Path, tmp_path: Path, name: str) -> None:
    source = shared_data / "video" / name
    words = ["video", str(source), "-o", str(tmp_path), *BUILTIN[:-2], "--end", "0.6", "--preset"]
    done = CliRunner().invoke(app, [*words, "8" if name.endswith("webm") else "ultrafast"])
    assert done.exit_code == 0, done.stderr
    shown = times_of(tmp_path / source.name)[:-1]
    assert shown == times_of(source)[: len(shown)] and len(shown) >= 15
    for was, now in zip(sound_of(source), sound_of(tmp_path / source.name), strict=True):
        assert [digest for digest, _ in was][: len(now)] == [digest for digest, _ in now]


def test_a_clip_through_onnx_is_the_clip_through_torch(clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra gfpcli[onnx] is not installed")
    frames = []
    for runtime in ("torch", "onnx"):
        folder, target = tmp_path / runtime, tmp_path / f"{runtime}.mp4"
        done = video(clip, "-o", target, "--end", 0.3, "--runtime", runtime, "--precision", "fp32",
                     "--frames-dir", folder)  # fmt: skip
        assert done.exit_code == 0, done.stderr
        frames.append([cv2.imread(str(path)).astype(int) for path in sorted(folder.rglob("*.png"))])  # type: ignore[union-attr]
    assert len(frames[0]) == len(frames[1]) > 2
    off = np.abs(np.stack(frames[0]) - np.stack(frames[1]))
    assert off.max() <= 2 and (off > 1).mean() < 1e-5  # a level of the crop and one of the face seldom add up
