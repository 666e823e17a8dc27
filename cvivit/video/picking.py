"""Pick the frame of a video that is on screen at each tick of a clip, and decode no more than needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Final

from av import VideoFrame
from av.video.stream import VideoStream

from cvivit.errors import CorruptVideoError, EmptyVideoError, VideoTooLargeError
from cvivit.video.containers.completeness import TRUNCATED
from cvivit.video.containers.kinds import Container
from cvivit.video.containers.opening import BROKEN, OpenTrack, VideoFile, opened_track
from cvivit.video.containers.seeking import find_keyframe, may_seek, seek
from cvivit.video.decoding.decoder import Decoder, OddityError
from cvivit.video.pictures.framing import Framer
from cvivit.video.timing.media_end import stated_end
from cvivit.video.timing.skipping import SkipPlan
from cvivit.video.timing.stamps import Stamp, StampLog
from cvivit.video.timing.ticks import COUNTED_ROUNDING, ROUNDING, Ticks
from cvivit.video.timing.timeline import Timeline, TimeRules
from cvivit.video.watching import Watcher

_LONGEST_GUESS: Final = Fraction(1)
"""Seconds that a last frame of unstated duration stays on screen, at most."""
_INDEX_FRAMES: Final = 1_000_000
"""Frames of an index that takes some 24 MB or more."""
_BROADCAST: Final = TimeRules(longest_gap=Fraction(10), wrap=1 << 33, states_decoding=True)
"""The rules of transport streams. In program streams a stamp may stand for several packets."""
_RULES: Final = {
    Container.ISO: TimeRules(states_decoding=True),
    Container.MPEG_TS: _BROADCAST,
    Container.MPEG_PS: replace(_BROADCAST, filled_in=True),
}


@dataclass(frozen=True, kw_only=True)
class Picking:
    """The pictures to read: their rate, and the part of the video."""

    fps: float
    start: float = 0.0
    """Seconds after the first frame appeared."""
    seconds: float | None = None
    """Length of what is read. None: to the end."""
    strict: bool = False
    """Whether every frame is decoded, so that damage in any of them is found."""


@dataclass(frozen=True, kw_only=True)
class PickedFrame:
    """A frame that is on screen at one tick or more."""

    frame: VideoFrame
    framer: Framer
    """Turns the frames of its stream into pictures."""
    ticks: int
    first_tick: int
    """The number of the first of these ticks; the first one of all is 0."""
    shown: Fraction
    """When the frame appears, in seconds after the first frame of the video."""


def pick_frames(
    video: VideoFile,
    picking: Picking,
    *,
    threads: int,
    framers: Callable[[VideoStream], Framer],
    watcher: Watcher | None = None,
) -> Iterator[PickedFrame]:
    """Yield the frames that ticks fall on. Errors are those of `cvivit.video.read_frames`.

    With several threads, a damaged file is read again with one thread, and the frames that were already
    yielded are skipped. `framers` makes the framer of a stream before its first frame is decoded. `watcher`
    is told what is read, for a report.
    """
    given = 0
    picker = partial(_Picker, video, picking, framers=framers, watcher=watcher)
    if threads != 1:
        try:
            for picked in picker(threads=threads).frames():
                yield picked
                given += picked.ticks
        except OddityError:
            pass
        else:
            return
    for picked in picker(threads=1).frames():
        repeated = min(given, picked.ticks)
        given -= repeated
        if picked.ticks > repeated:
            yield replace(picked, ticks=picked.ticks - repeated, first_tick=picked.first_tick + repeated)


class _Picker:
    """One pass over a file."""

    def __init__(
        self,
        video: VideoFile,
        picking: Picking,
        *,
        threads: int,
        framers: Callable[[VideoStream], Framer],
        watcher: Watcher | None,
    ) -> None:
        self._video = video
        self._picking = picking
        self._threads = threads
        self._framers = framers
        self._watcher = watcher
        self._exact = threads == 1
        self._picked = 0
        self._failure: CorruptVideoError | None = None

    def frames(self) -> Iterator[PickedFrame]:
        """Yield the frames that ticks fall on."""
        if may_seek(self._video, self._picking.start) and (place := self._start_place()) is not None:
            origin, target = place
            with opened_track(self._video, threads=self._threads) as track:
                if seek(track, target):
                    yield from self._pick(track, origin)
                    return
        with opened_track(self._video, threads=self._threads) as track:
            yield from self._pick(track, None)
        if self._video.truncated:
            raise CorruptVideoError(TRUNCATED)

    def _start_place(self) -> tuple[Fraction | int, int] | None:
        """Return the time stamps of the first frame and of the keyframe from which reading starts."""
        with opened_track(self._video, threads=1) as track:
            time_base = _time_base(track)
            log = StampLog()
            timeline = Timeline(log, time_base=time_base, rate=None, rules=_RULES.get(self._video.kind))
            for _, stamp in Decoder(track, log, exact=True):
                timeline.place(stamp)
                break
        if timeline.origin is None:
            return None
        start = Fraction(self._picking.start).limit_denominator(1_000_000) / time_base
        target = find_keyframe(self._video, timeline.origin + start)
        return None if target is None else (timeline.origin, target)

    def _pick(self, track: OpenTrack, origin: Fraction | int | None) -> Iterator[PickedFrame]:
        stream, limits = track.stream, self._video.limits
        framer = self._framers(stream)
        if not self._exact:
            # With several threads any damage is an error at once, because the order of their reports varies.
            options = stream.codec_context.options
            detected = f"{options.get('err_detect', '')}+explode".lstrip("+")
            stream.codec_context.options = {**options, "err_detect": detected}
        rate = stream.average_rate or stream.guessed_rate
        time_base = _time_base(track)
        log = self._watcher.log() if self._watcher else StampLog()
        reordered = bool(stream.codec_context.has_b_frames)
        timeline = Timeline(
            log,
            time_base=time_base,
            rate=max(rate, 1 / _LONGEST_GUESS) if rate else None,
            rules=_RULES.get(self._video.kind),
            reordered=reordered,
            origin=origin,
        )
        picking = self._picking
        ticks = Ticks(
            fps=picking.fps,
            time_base=time_base,
            start=picking.start,
            seconds=picking.seconds,
            rounding=COUNTED_ROUNDING if self._video.kind is Container.AVI else ROUNDING,
        )
        plan = None if picking.strict else SkipPlan(log, timeline, ticks, reordered=reordered)
        decoder = Decoder(
            track,
            log,
            exact=self._exact,
            is_spare=plan.is_spare if plan else None,
            second=lambda stamp: _second(stamp, timeline, time_base),
        )
        if self._watcher:
            self._watcher.begin(track, timeline, decoder, time_base)
        current: VideoFrame | None = None
        start: Fraction | int = 0
        end: Fraction | int = 0
        for frame, stamp in self._sound(decoder):
            shown = timeline.place(stamp)
            if timeline.mended and plan is not None and not self._exact:
                # What is left out would depend on how far the threads are ahead of this frame.
                raise OddityError
            if limits.max_seconds is not None:
                _check_length(shown.end * time_base, limits.max_seconds)
            if current is not None and (count := ticks.until(shown.start)):
                yield self._give(current, framer, count, start * time_base)
                if ticks.over:
                    return
            current, start, end = frame, shown.start, shown.end
        if origin is None and self._failure is None:
            _check_end(track, decoder)
        if current is None and self._failure is None:
            raise EmptyVideoError("the video has no frames")
        if current is not None:
            if self._video.kind is Container.ISO and not timeline.mended and self._failure is None:
                stated = _stated_end(track, timeline, start)
                if stated is not None and (reordered or stated < end):
                    end = stated
                if limits.max_seconds is not None:
                    _check_length(end * time_base, limits.max_seconds)
            count = ticks.until(end)
            if not self._picked and not count and picking.start == 0:
                count = 1
            if count:
                yield self._give(current, framer, count, start * time_base)
        if self._failure is not None:
            raise self._failure
        if not self._picked:
            length = float(end * time_base)
            raise EmptyVideoError(
                f"the video ends at second {length:.1f}, before the part that was asked for"
            )

    def _sound(self, decoder: Decoder) -> Iterator[tuple[VideoFrame, Stamp | None]]:
        """Yield the frames up to the place where the video is damaged, and note the damage."""
        try:
            yield from decoder
        except CorruptVideoError as error:
            if not self._exact:
                raise OddityError from error
            self._failure = error
            yield from decoder.drained()

    def _give(self, frame: VideoFrame, framer: Framer, ticks: int, shown: Fraction) -> PickedFrame:
        first_tick, self._picked = self._picked, self._picked + ticks
        return PickedFrame(frame=frame, framer=framer, ticks=ticks, first_tick=first_tick, shown=shown)


def _stated_end(track: OpenTrack, timeline: Timeline, last_start: Fraction | int) -> Fraction | None:
    """Return when the track of an MP4 ends, if it tells that and the last frame starts before then."""
    if timeline.origin is None:
        return None
    time_base = _time_base(track)
    end = stated_end(track.source.file, track.stream.id, timeline.origin * time_base)
    return end / time_base if end is not None and end > last_start * time_base else None


def _time_base(track: OpenTrack) -> Fraction:
    return track.stream.time_base or Fraction(1, 90_000)


def _second(stamp: Stamp | None, timeline: Timeline, time_base: Fraction) -> float | None:
    if stamp is None or stamp.pts is None or timeline.origin is None:
        return None
    return float((stamp.pts - timeline.origin) * time_base)


def _check_end(track: OpenTrack, decoder: Decoder) -> None:
    """Raise where the packets ended before the video did."""
    if not decoder.filled and _index_was_too_large(track):
        raise MemoryError  # FFmpeg goes on without an index that it has no memory for
    index = track.stream.index_entries
    if track.source.kind is Container.ISO and decoder.packets < len(index):
        following = index[decoder.packets]
        if following.pos + following.size > track.container.size:
            raise CorruptVideoError(BROKEN)


def _index_was_too_large(track: OpenTrack) -> bool:
    """Return whether an MP4 claims so many frames that FFmpeg may have had no memory for their index."""
    return (
        track.source.kind is Container.ISO
        and track.stream.frames > _INDEX_FRAMES
        and not track.stream.index_entries
    )


def _check_length(end: Fraction, limit: float) -> None:
    if end > limit:
        raise VideoTooLargeError(
            f"the video is {float(end):.1f} seconds long or longer, {limit:g} are allowed",
            limit_name="max_seconds",
            limit=limit,
            actual=float(end),
        )
