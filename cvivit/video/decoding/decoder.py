"""Decode the packets of one track, and report every error.

With one thread, a decoder reports at once what is wrong with a packet. With several, it reports it later, in
another call, and PyAV drops an error if the same call returned frames. So several threads are used only as
long as a file seems undamaged. At the first sign of damage `OddityError` is raised, and the caller reads the
file again with one thread. So the frames do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

import av
from av import VideoFrame

from cvivit.errors import CorruptVideoError, ResolutionChangedError, VideoError
from cvivit.video.containers.continuity import GapError
from cvivit.video.containers.kinds import Container
from cvivit.video.containers.opening import (
    BROKEN,
    OpenTrack,
    VideoPacket,
    too_many_frames,
    too_many_pixels,
)
from cvivit.video.containers.tracks import claimed_pixels
from cvivit.video.decoding.bitstream import Bitstream, Spare
from cvivit.video.decoding.ledger import MOST_HELD, Ledger
from cvivit.video.decoding.packets import PacketQueue
from cvivit.video.timing.stamps import SortedStamps, Stamp, StampLog, are_decoding_times

NO_KEYFRAME: Final = "the video has no keyframe that decoding could start from"


class OddityError(Exception):
    """Several threads cannot tell exactly what is wrong. The file has to be read again with one thread."""


class Decoder:
    """Yields the frames of a track in the order they are shown, each with the stamp of its packet.

    Args:
        track: what is read.
        log: receives the stamps of the packets.
        is_spare: returns whether the frame of a stamp is not needed. None: every frame is decoded.
        second: tells where in the video a stamp is, for errors.
        exact: whether the track is decoded with one thread.
        first_index: the number of the packet at which the container stands.
    """

    def __init__(
        self,
        track: OpenTrack,
        log: StampLog,
        *,
        exact: bool,
        is_spare: Callable[[Stamp, bool], bool] | None = None,
        second: Callable[[Stamp | None], float | None] = lambda _: None,
        first_index: int = 0,
    ) -> None:
        self._track = track
        self._context = track.stream.codec_context
        self._limits = track.source.limits
        self._kind = track.source.kind
        # A transport stream may begin anywhere and lose packets on its way: what cannot be decoded is left
        # out, as players do. In any other file it means that the file is broken.
        self._forgiving = self._kind is Container.MPEG_TS
        self._log = log
        self._is_spare = is_spare
        self._second = second
        self._exact = exact
        self._bitstream = Bitstream(track.stream)
        self._queue = PacketQueue(track, log, first_index=first_index)
        self._sorted: SortedStamps | None = None
        self._size: tuple[int, int] | None = None
        self._skipping = False
        self._frames = 0
        self._ledger = Ledger(late=0 if self._bitstream.in_order else MOST_HELD)
        self._keyframe_seen = False
        self._sound_seen = False
        self.packets = 0
        """Packets that were read, empty ones included."""
        self.filled = 0
        """Packets that were read and hold anything."""
        self.left_out = 0
        """Packets of them that cannot be decoded, so that their frames are missing from what is read."""

    def __iter__(self) -> Iterator[tuple[VideoFrame, Stamp | None]]:
        if not self._exact and not self._bitstream.may_have_threads:
            raise OddityError
        self._queue.fill()
        # AVI has no presentation times. FFmpeg makes them up, wrongly for codecs whose frames it does not
        # parse.
        made_up = self._kind is Container.AVI and self._context.name in ("h264", "hevc")
        if made_up or (self._context.has_b_frames and are_decoding_times(self._queue.stamps())):
            self._sorted, self._is_spare = SortedStamps(), None
        last: Stamp | None = None
        try:
            for packet, stamp in self._queue:
                self.packets += 1
                self.filled += packet.size > 0
                if packet.size:
                    last = stamp
                    yield from self._decoded(packet, stamp)
            yield from self._flushed(last)
        except (av.FFmpegError, GapError) as error:
            if not self._exact:
                raise OddityError from error
            if isinstance(error, MemoryError):
                raise
            raise self._damage(last) from error
        if self.filled and not self._sound_seen:
            raise CorruptVideoError(BROKEN if self._keyframe_seen else NO_KEYFRAME)

    def _decoded(self, packet: VideoPacket, stamp: Stamp) -> Iterator[tuple[VideoFrame, Stamp | None]]:
        """Decode one packet, or leave it out."""
        if packet.is_corrupt and (self._track.source.truncated or self._kind is Container.ISO):
            raise CorruptVideoError("the video is truncated: a frame is missing its end")
        if not self._forgiving and self._bitstream.is_damaged(packet):
            raise self._damage(stamp)
        self._bitstream.note(packet)
        is_keyframe = self._bitstream.is_keyframe(packet)
        self._keyframe_seen |= is_keyframe
        if self._bitstream.needs_keyframe and not self._keyframe_seen:
            self._leave_out(stamp)
            return
        spare = Spare.DECODE
        # Threads tell of an error in the last packets only by a frame that is missing: all of those are
        # decoded.
        may_skip = self._exact or not self._queue.ended
        if may_skip and self._is_spare is not None and self._is_spare(stamp, self._queue.ended):
            spare = self._bitstream.spare(packet)
        if spare is not Spare.DECODE:
            stamp.skipped = True
            self._ledger.skip(stamp)
            self._check_count()
            if spare is Spare.DROP:
                return
        if (spare is Spare.NONREF) != self._skipping:
            self._skipping = spare is Spare.NONREF
            self._context.skip_frame = "NONREF" if self._skipping else "DEFAULT"
        if not packet.is_discard:
            if self._sorted is not None:
                self._sorted.push(stamp)
            if spare is Spare.DECODE and self._bitstream.gives_frame(packet):
                self._ledger.owe(stamp)
            elif not self._exact:
                self._ledger.doubt(stamp)
        packet.pts = stamp.index  # comes back in the frame
        try:
            frames = self._context.decode(packet)
        except av.FFmpegError as error:
            self._judge_error(error, packet, stamp)
            return
        for frame in frames:
            yield from self._checked(frame)

    def _check_overdue(self, frame: VideoFrame) -> None:
        """Raise where a frame that should have come before this one did not."""
        overdue = self._ledger.overdue(frame.pts) if frame.pts is not None else None
        if overdue is not None and not self._exact:
            raise OddityError
        if overdue is not None and not self._forgiving:
            raise self._damage(overdue)

    def _flushed(self, last: Stamp | None) -> Iterator[tuple[VideoFrame, Stamp | None]]:
        """Take the frames that the decoder still holds."""
        if last is None:
            return
        try:
            frames = self._context.decode(None)
        except av.FFmpegError as error:
            if not self._exact:
                raise OddityError from error
            raise
        for frame in frames:
            yield from self._checked(frame)
        lost = self._ledger.lost()
        if not self._exact and (lost is not None or self._ledger.doubts(last.index)):
            raise OddityError
        if lost is not None and not self._forgiving:
            raise self._damage(lost)

    def _judge_error(self, error: av.FFmpegError, packet: VideoPacket, stamp: Stamp) -> None:
        """Return if an error of the decoder may be ignored, and otherwise raise what it stands for."""
        if not self._exact:
            raise OddityError from error
        failure = self._explain(packet, stamp)
        if not isinstance(failure, CorruptVideoError):
            raise failure from error
        if isinstance(error, MemoryError):
            raise error
        started = self._keyframe_seen or self._sound_seen
        if not self._forgiving and started and self._bitstream.has_picture(packet):
            raise failure from error
        self._leave_out(stamp)
        self._ledger.forgive(stamp)
        if self._sorted is not None:
            self._sorted.drop(stamp)

    def _leave_out(self, stamp: Stamp | None) -> None:
        self.left_out += 1
        if stamp is not None:
            stamp.without_frame = True

    def drained(self) -> Iterator[tuple[VideoFrame, Stamp | None]]:
        """Yield the frames from before an error that the decoder still holds."""
        if self._exact:
            with suppress(av.FFmpegError, VideoError):
                for frame in self._context.decode(None):
                    yield from self._checked(frame)

    def _checked(self, frame: VideoFrame) -> Iterator[tuple[VideoFrame, Stamp | None]]:
        stamp = self._stamp_of(frame)
        self._check_overdue(frame)
        if frame.is_corrupt and not self._exact:
            raise OddityError
        if frame.is_corrupt:
            if self._forgiving:
                self._leave_out(stamp)
                return
            if not self._sound_seen and not frame.key_frame:
                return  # what it refers to lies before the beginning
            raise self._damage(stamp)
        self._sound_seen = True
        size = frame.width, frame.height
        self._size = self._size or size
        if size != self._size:
            raise ResolutionChangedError("the video changes its resolution")
        pixels, limit = frame.width * frame.height, self._limits.max_pixels
        if limit is not None and pixels > limit:
            raise too_many_pixels(pixels, limit)
        self._frames += 1
        self._check_count()
        yield frame, stamp

    def _stamp_of(self, frame: VideoFrame) -> Stamp | None:
        if frame.pts is not None:
            self._ledger.settle(frame.pts)
        if self._sorted is None:
            stamp = self._log.get(frame.pts)
        else:
            entry = self._sorted.pop()
            stamp = self._log.get(entry[1]) if entry is not None else None
            if entry is not None and stamp is not None:
                stamp.pts = entry[0]
        if stamp is not None:
            self._log.forget_before(stamp.index)
        return stamp

    def _check_count(self) -> None:
        limit = self._limits.max_frames
        if limit is not None and self._frames + self._ledger.skipped > limit:
            raise too_many_frames(limit)

    def _damage(self, stamp: Stamp | None) -> CorruptVideoError:
        second = self._second(stamp)
        if second is None:
            return CorruptVideoError("the video is damaged at its beginning")
        return CorruptVideoError(f"the video is damaged at second {max(0.0, second):.1f}")

    def _explain(self, packet: VideoPacket, stamp: Stamp) -> VideoError:
        """Say why a packet could not be decoded: the frames are larger than allowed, or it is damaged.

        A decoder that refuses a size does not tell it, so a second one without the limit reads the headers
        alone.
        """
        limit = self._limits.max_pixels
        if limit is not None:
            context = av.VideoCodecContext.create(self._context.name, "r")
            assert isinstance(context, av.VideoCodecContext)
            context.extradata = self._context.extradata
            context.skip_frame = "ALL"
            context.thread_count = 1
            with suppress(av.FFmpegError):
                context.decode(packet)
            pixels = max(claimed_pixels(self._track.stream), context.width * context.height)
            if pixels > limit:
                return too_many_pixels(pixels, limit)
        return self._damage(stamp)
