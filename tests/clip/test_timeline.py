"""Clips whose clock starts late, wraps or jumps, or that hide frames: what is shown comes out, from 0 on."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from gfpcli.clip.clip import Clip, notes_of, open_clip
from gfpcli.clip.encode import choose_encoder
from gfpcli.clip.mux import check_times, segment_times
from gfpcli.clip.probe import VideoInfo, probe
from gfpcli.clip.read import read_frames
from gfpcli.clip.timeline import StreamClock, timeline_of
from gfpcli.errors import InputError, OutputError
from gfpcli.files.jobs import VideoJob
from gfpcli.options import VideoOptions
from tests.clip.reencode import FAST, reencode, segment_of
from tests.clips import faceless, ffmpeg, times_of, write_clip

REPORTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "reports" / "video"
SUFFIXES = (".mp4", ".mkv", ".mov", ".webm")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds with a tone, a key frame every half."""
    options = {"crf": "20", "preset": "veryfast", "g": "12"}
    return write_clip(tmp_path_factory.mktemp("plain") / "in.mp4", faceless(50, 64, 64), tone=True, options=options)


def report(name: str) -> Path:
    path = REPORTS / name
    if not path.exists():
        pytest.skip(f"{name} of the shared reports is not here")
    return path


def moved(plain: Path, target: Path, seconds: float, *words: object) -> Path:
    """The clip with its clock that much later."""
    ffmpeg("-i", plain, "-c", "copy", *words, "-output_ts_offset", seconds, target)
    return target


def heard(path: Path) -> list[float]:
    """When each decoded piece of sound begins."""
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(audio=0)]


def notes(info: VideoInfo) -> str:
    target = info.path.with_name("out.mp4")
    return "; ".join(notes_of(Clip(info, (), choose_encoder(FAST, info, target), FAST, target)))


def check_lip_sync(source: Path, out: Path) -> None:
    """The first sound comes as long before or after the first frame as in the source."""
    apart = [heard(path)[0] - float(times_of(path)[0]) for path in (source, out)]
    assert abs(apart[0] - apart[1]) < 0.03, apart


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_only_what_an_edit_list_shows_is_restored(suffix: str, tmp_path: Path) -> None:
    source = report("editlist.mp4")
    info = probe(source)
    assert (info.n_frames, info.start, info.end) == (62, 0, Fraction(62, 25))
    fast = replace(FAST, preset="8") if suffix == ".webm" else FAST
    out = reencode(source, tmp_path / f"out{suffix}", fast)
    assert len(times_of(out)) - 1 == 62 and abs(times_of(out)[-1] - Fraction(62, 25)) < 0.003
    assert abs(heard(out)[0]) < 0.02 and abs(heard(out)[-1] - heard(source)[-1]) < 0.07
    part = reencode(source, tmp_path / f"part{suffix}", replace(fast, start=1.0, end=2.0))
    assert len(times_of(part)) - 1 == 25 and times_of(part)[0] == 0
    assert abs(heard(part)[0]) < 0.07 and abs(heard(part)[-1] - 1) < 0.07


def test_an_edit_list_may_cut_the_end_too(plain: Path, tmp_path: Path) -> None:
    ffmpeg("-ss", 0.7, "-t", 0.8, "-i", plain, "-c", "copy", tmp_path / "cut.mp4")
    data = (tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "short.mp4").write_bytes(_with_shorter_edits(data, 0.5))
    info = probe(tmp_path / "short.mp4")
    with av.open(str(tmp_path / "short.mp4")) as container:
        shown = [frame.time for frame in container.decode(video=0)]
    assert info.n_frames < probe(tmp_path / "cut.mp4").n_frames and info.start == 0
    assert [float(frame.pts) for frame in read_frames(info) if frame.pts is not None] == shown
    assert len(times_of(reencode(tmp_path / "short.mp4", tmp_path / "out.mp4"))) - 1 == len(shown)


def _with_shorter_edits(data: bytes, part: float) -> bytes:
    """Each edit of an MP4 that shows something shows only that part of it."""
    out, at = bytearray(data), data.find(b"elst")
    while at >= 0:
        for i in range(int.from_bytes(data[at + 8 : at + 12], "big")):
            entry = at + 12 + 12 * i
            duration, media = (int.from_bytes(data[k : k + 4], "big", signed=True) for k in (entry, entry + 4))
            if media >= 0:
                out[entry : entry + 4] = int(duration * part).to_bytes(4, "big")
        at = data.find(b"elst", at + 1)
    return bytes(out)


def test_a_matroska_clock_may_start_late(plain: Path, tmp_path: Path) -> None:
    for seconds, first in ((1.5, 1.5), (50_000, 0.0)):  # a start so late that it is a piece of something longer goes
        source = moved(plain, tmp_path / f"late{seconds}.mkv", seconds)
        assert abs(float(probe(source).start) - first) < 0.03
        for suffix in (".mp4", ".mkv"):
            out = reencode(source, tmp_path / f"out{seconds}{suffix}")
            assert len(times_of(out)) - 1 == 50 and abs(float(times_of(out)[0]) - first) < 0.03
            check_lip_sync(source, out)


@pytest.mark.parametrize("kind", ["mp4", "mkv", "mov", "webm", "ts", "mts", "vob", "avi", "flv", "gif"])
def test_every_output_is_accepted_as_input(kind: str, plain: Path, tmp_path: Path) -> None:
    words = {
        "vob": ("-c:v", "mpeg2video", "-c:a", "mp2", "-f", "vob"), "gif": ("-an", "-t", 1),
        "webm": ("-c:v", "libvpx-vp9", "-cpu-used", 8, "-c:a", "libopus"),
        "mts": ("-mpegts_m2ts_mode", 1, "-f", "mpegts"),
    }.get(kind, ())  # fmt: skip
    base = () if kind in ("vob", "gif", "webm") else ("-c", "copy")
    source = tmp_path / f"in.{kind}"
    ffmpeg("-i", plain, *base, *words, source)
    n_frames = probe(source).n_frames
    for suffix in SUFFIXES:
        options = replace(FAST, preset="8") if suffix == ".webm" or kind == "webm" else FAST
        out = reencode(source, tmp_path / f"out{suffix}", options)
        again = probe(out)
        assert again.n_frames == len(times_of(out)) - 1 == n_frames and abs(again.start) < 0.1, suffix


KINDS = [(codec, suffix) for codec, suffixes in {
    "h264": (".mp4", ".m4v", ".mov", ".mkv"), "h265": (".mp4", ".mov", ".mkv"), "av1": (".mp4", ".mkv", ".webm"),
    "vp9": (".mp4", ".mkv", ".webm"), "prores": (".mov", ".mkv"), "copy-of-source": (".gif", ".webp"),
}.items() for suffix in suffixes]  # fmt: skip


@pytest.mark.parametrize("is_clear", [False, True])
@pytest.mark.parametrize(("codec", "suffix"), KINDS)
def test_what_gfp_writes_it_reads_with_the_same_frames_and_times(
    codec: str, suffix: str, is_clear: bool, tmp_path: Path
) -> None:
    """Uneven times in hundredths, which every container holds; what has transparency keeps it, or it is told."""
    ticks = [128 * each for each in (0, 4, 9, 20, 26, 31, 35, 40, 52)]
    source = write_clip(tmp_path / "plain.mp4", faceless(9, 64, 64), ticks=ticks)
    if is_clear:
        clear = "format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='if(lt(X,32),0,255)'"
        words = ("-c:v", "qtrle", "-fps_mode", "passthrough", "-enc_time_base", "1:12800")
        ffmpeg("-i", source, "-vf", clear, *words, tmp_path / "clear.mov")
        source = tmp_path / "clear.mov"
    presets = {"h264": "ultrafast", "h265": "ultrafast", "av1": "12", "vp9": "8"}
    options = VideoOptions(codec=codec, preset=presets.get(codec, ""))
    out = reencode(source, tmp_path / f"out{suffix}", options, n_segment=4)
    first, second = (open_clip(VideoJob(path, tmp_path / f"x{suffix}"), options) for path in (source, out))
    frames, again = list(first.decode()), list(second.decode())
    times = [[frame.pts or 0 for frame in each] for each in (frames, again)]
    assert len(frames) == second.info.n_frames == len(again) == 9
    assert max(abs(at - other) for at, other in zip(*times, strict=True)) <= Fraction(1, 1000)
    keeps = is_clear and (suffix in (".gif", ".webp") or codec == "prores" or codec == "vp9" and suffix != ".mp4")
    assert (again[4].alpha is not None) == keeps == first.encoder.has_alpha
    assert ("its transparency is lost" in "; ".join(notes_of(first))) == (is_clear and not keeps)
    for alpha in (frame.alpha for frame in again if frame.alpha is not None):
        assert alpha[:, :24].max() < 0.02 * np.iinfo(alpha.dtype).max
        assert alpha[:, 40:].min() > 0.98 * np.iinfo(alpha.dtype).max


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("seconds", [50_000, 95_442.7, 95_380])  # of 2**33 ticks = 95443.7 s, at which the clock wraps
def test_a_transport_stream_begins_at_0_wherever_its_clock_begins(
    seconds: float, suffix: str, plain: Path, tmp_path: Path
) -> None:
    source = moved(plain, tmp_path / "in.ts", seconds - 1.4)
    out = reencode(source, tmp_path / f"out{suffix}")
    times = times_of(out)
    assert len(times) - 1 == 50 and 0 <= times[0] < 0.1 and abs(float(times[-1] - times[0]) - 2) < 0.01
    assert all(one < other for one, other in itertools.pairwise(times))
    check_lip_sync(source, out)
    part = reencode(source, tmp_path / f"part{suffix}", replace(FAST, start=0.5, end=1.5))
    assert len(times_of(part)) - 1 == 25 and times_of(part)[0] == 0 and abs(heard(part)[0]) < 0.06


@pytest.mark.parametrize("name", ["late.ts", "wrap.ts"])
def test_reports_of_transport_streams(name: str, tmp_path: Path) -> None:
    source = report(name)
    for suffix in (".mp4", ".mkv"):
        times = times_of(reencode(source, tmp_path / f"out{suffix}"))
        assert len(times) - 1 == 75 and 0 <= times[0] < 0.1 and 3 <= times[-1] <= 3.1


def test_lost_packets_are_told_with_their_place(tmp_path: Path) -> None:
    source = report("loss.ts")
    info = probe(source)
    told = notes(replace(info, path=tmp_path / "loss.ts"))
    assert "frames may be damaged at 1.16 s" in told and "frames are missing: 0.28 s at 1.16 s" in told
    times = times_of(reencode(source, tmp_path / "out.mp4"))
    assert len(times) - 1 == 68 and abs(float(times[-1] - times[0]) - 3) < 0.01


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_jumps_of_a_recording_are_closed(suffix: str, plain: Path, tmp_path: Path) -> None:
    pieces = [moved(plain, tmp_path / f"{at}.ts", at) for at in (100, 20, 300)]
    source = tmp_path / "joined.ts"
    source.write_bytes(b"".join(path.read_bytes() for path in (pieces[0], pieces[0], pieces[1], pieces[2])))
    info = probe(source)
    assert len(info.timeline.jumps) == 3 and "its clock jumps at 2.0" in notes(info)
    out = reencode(source, tmp_path / f"out{suffix}", n_segment=60)
    times = times_of(out)
    assert len(times) - 1 == 200 and 8 <= times[-1] <= 8.4 and 0 <= times[0] < 0.1
    sounds = heard(out)
    assert all(0 < later - one < 0.1 for one, later in itertools.pairwise(sounds)) and abs(sounds[-1] - 8.1) < 0.2
    part = reencode(source, tmp_path / f"part{suffix}", replace(FAST, start=1.0, end=5.0))
    assert abs(float(times_of(part)[-1]) - 4) < 0.1 and abs(heard(part)[-1] - 4) < 0.1


def test_a_gap_through_which_the_sound_goes_on_is_no_jump() -> None:
    clocks = {0: StreamClock(), 1: StreamClock()}
    for second in (*range(5), *range(25, 30)):
        clocks[0].add(Fraction(second), Fraction(second), Fraction(1))
    for second in range(30):
        clocks[1].add(Fraction(second), Fraction(second), Fraction(1))
    assert timeline_of(clocks, 0).jumps == () and timeline_of(clocks, 0).shift == 0
    assert len(timeline_of({0: clocks[0]}, 0).jumps) == 1


def test_a_change_of_size_is_refused_by_name(plain: Path, tmp_path: Path) -> None:
    small = moved(plain, tmp_path / "small.ts", 10)
    ffmpeg("-i", plain, "-vf", "scale=96:64", "-c:v", "libx264", "-output_ts_offset", 12, tmp_path / "wide.ts")
    source = tmp_path / "in.ts"
    source.write_bytes(small.read_bytes() + (tmp_path / "wide.ts").read_bytes())
    told_of = r"changes from 64x64 to 96x64 at [\d.]+ s: .* --end [\d.]+ and --start"
    with pytest.raises(InputError, match=told_of) as told:
        reencode(source, tmp_path / "out.mp4")
    at = float(str(told.value).rsplit(" ", 1)[1])
    for name, part in (("one", replace(FAST, end=at)), ("two", replace(FAST, start=at))):
        assert len(times_of(reencode(source, tmp_path / f"{name}.mp4", part))) - 1 > 30


@pytest.mark.parametrize(("encoder", "name"), [("mpeg2video", "mpeg2video"), ("libx265", "hevc")])
def test_a_change_of_codec_is_refused_by_name(encoder: str, name: str, plain: Path, tmp_path: Path) -> None:
    one, two = moved(plain, tmp_path / "one.ts", 10), tmp_path / "two.ts"
    quiet = ("-x265-params", "log-level=none") if encoder == "libx265" else ()
    ffmpeg("-i", plain, "-c:v", encoder, *quiet, "-output_ts_offset", 12, two)
    source = tmp_path / "in.ts"
    source.write_bytes(one.read_bytes() + two.read_bytes())
    told_of = rf"codec changes from h264 to {name} at [\d.]+ s: --end [\d.]+ restores what comes before"
    with pytest.raises(InputError, match=told_of) as told:
        reencode(source, tmp_path / "out.mp4")
    end = float(str(told.value).split("--end ")[1].split()[0])
    assert len(times_of(reencode(source, tmp_path / "one.mp4", replace(FAST, end=end)))) - 1 >= 45


def test_a_finished_file_that_lacks_frames_or_times_is_found_out(plain: Path, tmp_path: Path) -> None:
    segments = [segment_of("one.mp4", Fraction(0), Fraction(2), n_frames=50)]
    ffmpeg("-i", plain, "-an", "-c", "copy", tmp_path / "one.mp4")
    meant = segment_times(segments, tmp_path, Fraction(0))
    assert check_times(meant, 50, tmp_path / "one.mp4") == []
    ffmpeg("-i", plain, "-an", "-c", "copy", "-t", 1.5, tmp_path / "short.mp4")
    with pytest.raises(OutputError, match=r"it shows \d\d of 50 frames"):
        check_times(meant, 50, tmp_path / "short.mp4")
    ffmpeg("-itsoffset", 0.25, "-i", plain, "-an", "-c", "copy", tmp_path / "later.mp4")
    (note,) = check_times(meant, 50, tmp_path / "later.mp4")
    assert "differ from the source's by up to 0.250 s" in note
