"""One clock for a clip that starts near 0 and only grows, where the file's own starts anywhere, wraps or jumps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, pairwise, repeat

from av.packet import Packet

RECORDINGS = ("mpegts", "mpeg")  # ffmpeg's names of containers whose clock is the broadcaster's and may jump
LONGEST_GAP = Fraction(10)  # seconds without a packet; a longer gap in a recording is a jump of the clock
BACK = Fraction(1, 2)  # seconds that decoding times go back at a jump; less is a slip of the multiplexer
NEAR = Fraction(2)  # seconds by which streams of one recording begin or end apart


@dataclass(frozen=True, slots=True)
class Jump:
    """Where a recording's clock jumps; the clip goes on there without a gap."""

    at: Fraction  # seconds of the clip's clock
    by: Fraction  # seconds of the file's clock


@dataclass(frozen=True, slots=True)
class Timeline:
    """How times of the file's clock become times of the clip's: seconds that are added to them."""

    shift: Fraction = Fraction(0)  # for packets before the first jump
    shifts: tuple[tuple[int, tuple[tuple[int, Fraction], ...]], ...] = ()  # by stream: (number of packets, seconds)
    jumps: tuple[Jump, ...] = ()

    def mend(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        """Packets of a file read from its start on, or where there is no jump from anywhere, with the clip's times."""
        runs = {index: chain.from_iterable(repeat(by, n) for n, by in parts) for index, parts in self.shifts}
        shift = self.shift
        for packet in packets:
            if packet.size:
                shift = next(runs.get(packet.stream_index, iter(())), shift)
                _move(packet, shift)
            yield packet


def _move(packet: Packet, shift: Fraction) -> None:
    ticks = round(shift / packet.time_base)
    if ticks:
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks


@dataclass(slots=True)
class ClockRun:
    """Packets of one stream, one after the other in the file, whose times grow; seconds of the file's clock."""

    first: Fraction
    end: Fraction
    n_packets: int = 1


@dataclass(slots=True)
class StreamClock:
    """Splits the packets of one stream into runs as they are read."""

    runs: list[ClockRun] = field(default_factory=list)
    last: Fraction | None = None  # decoding time of the packet before

    def add(self, decoded: Fraction | None, shown: Fraction | None, duration: Fraction) -> None:
        """The next packet; times are seconds of the file's clock, None where it has none."""
        at = decoded if decoded is not None else shown
        if at is None:
            if self.runs:
                self.runs[-1].n_packets += 1
            return
        first = shown if shown is not None else at
        if self.last is None or not -BACK <= at - self.last <= LONGEST_GAP:
            self.runs.append(ClockRun(first, first + duration))
        else:
            run = self.runs[-1]
            run.first, run.end, run.n_packets = min(run.first, first), max(run.end, first + duration), run.n_packets + 1
        self.last = at


def timeline_of(clocks: dict[int, StreamClock], main: int) -> Timeline:
    """The timeline of a recording: it begins at 0 with its earliest stream, and its jumps are closed.

    A jump of the video is one of the recording, unless another stream goes on through it: then only video is missing.

    Args:
        clocks: of the video and audio streams, by index.
        main: index of the restored video stream.
    """
    others = [run for index, clock in clocks.items() if index != main for run in clock.runs]
    sections = _sections_of(clocks[main].runs, others)
    homes = {index: _homes_of(clock.runs, sections) for index, clock in clocks.items()}
    spans = [[section.first, section.end] for section in sections]
    for index, clock in clocks.items():
        for run, home in zip(clock.runs, homes[index], strict=True):
            if sections[home].first - NEAR <= run.first and run.end <= sections[home].end + NEAR:
                spans[home] = [min(spans[home][0], run.first), max(spans[home][1], run.end)]
    shifts, jumps, at = [], [], Fraction(0)
    for i, (first, end) in enumerate(spans):
        jumps += [Jump(at, first - spans[i - 1][1])] if i else []
        shifts.append(at - first)
        at += end - first
    moved = tuple(
        (index, tuple((run.n_packets, shifts[home]) for run, home in zip(clock.runs, homes[index], strict=True)))
        for index, clock in clocks.items()
    )
    return Timeline(shifts[0], moved if jumps else (), tuple(jumps))


def _sections_of(runs: list[ClockRun], others: list[ClockRun]) -> list[ClockRun]:
    """The runs of the video; two are one section where another stream goes on through the gap between them."""
    sections = [ClockRun(runs[0].first, runs[0].end)]
    for before, run in pairwise(runs):
        is_through = before.end < run.first and any(
            each.first <= before.end + NEAR and run.first - NEAR <= each.end for each in others
        )
        if is_through:
            sections[-1].end = run.end
        else:
            sections.append(ClockRun(run.first, run.end))
    return sections


def _homes_of(runs: list[ClockRun], sections: list[ClockRun]) -> list[int]:
    """The number of the section that each run of a stream belongs to; numbers only grow."""
    homes, home = [], 0
    for i, run in enumerate(runs):
        went_back = i > 0 and run.first < runs[i - 1].end - BACK
        later = range(home + went_back, len(sections))
        fits = (k for k in later if sections[k].first - NEAR <= run.first <= sections[k].end + NEAR)
        home = next(fits, home)
        homes.append(home)
    return homes
