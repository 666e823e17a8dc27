"""Say what the reader would read of a video: which track, frames, region and colours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Final, Literal

import av
from av import VideoFrame

from cvivit.video.containers.opening import OpenTrack, open_video
from cvivit.video.picking import PickedFrame, Picking, pick_frames
from cvivit.video.pictures.colours.light import USUAL_PEAK
from cvivit.video.pictures.colours.names import ColourNames
from cvivit.video.pictures.framing import Framer, Framing, display_size_of
from cvivit.video.settings import ClipFormat, Fit, VideoLimits, check_span
from cvivit.video.source import VideoSource
from cvivit.video.watching import MeasuredRate, Watcher

_ENLARGED: Final = 1.001
"""The scale from which on a picture counts as enlarged."""


@dataclass(frozen=True, kw_only=True)
class TrackReport:
    """The track that is read."""

    index: int
    codec: str
    pixel_format: str
    tracks: int
    """Video tracks of the file."""
    reason: str
    """Why it is this one."""


@dataclass(frozen=True, kw_only=True)
class RateReport:
    """The rate of the source's frames, in frames a second."""

    stated: float | None
    """What the file states."""
    measured: float | None
    """What the time stamps say of the part that was read. None: there is one frame."""
    constant: bool | None
    shortest: float | None
    """The shortest time between two frames in seconds."""
    longest: float | None


@dataclass(frozen=True, kw_only=True)
class GeometryReport:
    """How a frame is brought to the size of a clip. Sizes are (height, width) in pixels."""

    stored: tuple[int, int]
    displayed: tuple[int, int]
    """The size as it is meant to be seen: cropped by the container, upright, in square pixels."""
    pixel_aspect: float
    """The width of a pixel divided by its height."""
    rotation: int
    """Degrees clockwise by which a frame is turned."""
    mirrored: bool
    """Whether left and right change places after that."""
    fit: Fit
    region: tuple[float, float, float, float]
    """Top, left, height and width of what is seen, in pixels of the stored frame, which is not yet turned."""
    scale: tuple[float, float]
    """Pixels of the picture for a pixel of the stored frame: down, and across."""
    picture: tuple[int, int]
    bars: tuple[int, int]
    """Rows and columns of the picture that stay black."""


@dataclass(frozen=True, kw_only=True)
class ColourReport:
    """What the samples are taken for."""

    matrix: str
    matrix_stated: bool
    """Whether the file says so. Otherwise the customary one is taken."""
    range: Literal["full", "limited"]
    range_stated: bool
    transfer: str | None
    """None: not stated."""
    primaries: str | None
    tone_mapped: bool
    """Whether high dynamic range is mapped to the standard one."""
    peak: float | None
    """The brightest light in cd/m² that the mapping counts on, of PQ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PickedPicture:
    """A picture of a clip, and the frame that it shows. Times are seconds after the first frame appeared."""

    time: float
    """The moment that the picture stands for."""
    source_time: float
    """When the frame that is on screen then appeared."""
    repeats: bool
    """Whether it shows the same frame as the picture before."""


@dataclass(frozen=True, kw_only=True)
class VideoReport:
    """What `read_clips` gives of a video, and how it comes to it."""

    container: str
    track: TrackReport
    duration: float | None
    """The length in seconds that the file states."""
    rate: RateReport
    geometry: GeometryReport
    colours: ColourReport
    start: float
    seconds: float | None
    """The part that was asked for."""
    fps: float
    frames: int
    """Pictures, without those that pad the last clip."""
    clip_frames: int
    clips: int
    padding: int
    """Pictures that fill up the last clip."""
    picked: list[PickedPicture]
    warnings: list[str]


def inspect_video(
    source: VideoSource,
    clip_format: ClipFormat | None = None,
    *,
    limits: VideoLimits | None = None,
    start: float = 0.0,
    seconds: float | None = None,
) -> VideoReport:
    """Read a video as `read_clips` does, without making its pictures, and report what would be read.

    Arguments and errors are those of `cvivit.video.read_frames`.
    """
    clip_format, limits = clip_format or ClipFormat(), limits or VideoLimits()
    check_span(start, seconds)
    picking = Picking(fps=clip_format.fps, start=start, seconds=seconds)
    watcher, notes = Watcher(), _Notes(clip_format.fps, start)
    facts: tuple[TrackReport, float | None, float | None, tuple[int, int]] | None = None
    with open_video(source, limits) as video:
        framers = partial(Framer, clip_format)
        for picked in pick_frames(video, picking, threads=0, framers=framers, watcher=watcher):
            if facts is None:  # while the file is open
                assert watcher.track is not None
                facts = _facts(watcher.track, picked.frame)
            notes.add(picked)
        assert facts is not None  # a video without a picture is an error
        track, stated, duration, displayed = facts
        framing = notes.framings[0]
        frames = len(notes.picked)
        clips = ceil(frames / clip_format.clip_frames)
        measured = watcher.rate()
        geometry = _geometry(framing, displayed, clip_format)
        return VideoReport(
            container=video.kind.title,
            track=track,
            duration=duration,
            rate=_rate(stated, measured),
            geometry=geometry,
            colours=_colours(framing),
            start=start,
            seconds=seconds,
            fps=clip_format.fps,
            frames=frames,
            clip_frames=clip_format.clip_frames,
            clips=clips,
            padding=clips * clip_format.clip_frames - frames,
            picked=notes.picked,
            warnings=[*notes.warnings(watcher), *_enlarging(geometry)],
        )


class _Notes:
    """What is noted of the picked frames."""

    def __init__(self, fps: float, start: float) -> None:
        self._fps = fps
        self._start = start
        self._interlaced = False
        self._alpha = False
        self.picked: list[PickedPicture] = []
        self.framings: list[Framing] = []
        """Those of the first frame and of the first one that differs."""

    def add(self, picked: PickedFrame) -> None:
        """Note a frame and the pictures that it is shown in."""
        frame, framing = picked.frame, picked.framer.framing(picked.frame)
        if not self.framings or (len(self.framings) == 1 and framing != self.framings[0]):
            self.framings.append(framing)
        self._interlaced |= frame.interlaced_frame
        self._alpha |= any(component.is_alpha for component in frame.format.components)
        source_time = float(picked.shown)
        for tick in range(picked.first_tick, picked.first_tick + picked.ticks):
            repeats = bool(self.picked) and self.picked[-1].source_time == source_time
            self.picked.append(
                PickedPicture(time=self._start + tick / self._fps, source_time=source_time, repeats=repeats)
            )

    def warnings(self, watcher: Watcher) -> list[str]:
        """Return what a user may not expect."""
        found = []
        repeats = sum(picture.repeats for picture in self.picked)
        if repeats:
            found.append(
                f"{repeats} of {len(self.picked)} pictures repeat the one before: their frame is shown for "
                f"longer than 1/{self._fps:g} s"
            )
        if watcher.left_out:
            many = watcher.left_out > 1
            frames = f"{watcher.left_out} frames" if many else "1 frame"
            found.append(f"{frames} cannot be decoded and {'are' if many else 'is'} left out")
        if watcher.mended:
            found.append("time stamps contradict their neighbours and were corrected")
        if len(self.framings) > 1:
            found.append("frames change their shape or colours: the first one's are reported")
        if self._interlaced:
            found.append("the frames are interlaced: both fields are taken woven together")
        if self._alpha:
            found.append("the video may be transparent in places, where the colours underneath are seen")
        return found


def _enlarging(geometry: GeometryReport) -> list[str]:
    if max(geometry.scale) <= _ENLARGED:
        return []
    return ["the video has fewer pixels than the model's pictures: it is enlarged"]


def _facts(
    track: OpenTrack, frame: VideoFrame
) -> tuple[TrackReport, float | None, float | None, tuple[int, int]]:
    """Return the track, the stated rate and length, and the size that frames are meant to be seen in."""
    stream, choice = track.stream, track.choice
    stated = stream.average_rate or stream.guessed_rate
    duration: float | None = None
    if stream.duration is not None and stream.time_base is not None:
        duration = float(stream.duration * stream.time_base)
    elif track.container.duration is not None:
        duration = track.container.duration / av.time_base
    report = TrackReport(
        index=choice.index,
        codec=stream.codec_context.codec.name,
        pixel_format=frame.format.name,
        tracks=choice.tracks,
        reason=choice.reason,
    )
    return report, float(stated) if stated else None, duration, display_size_of(frame, stream)


def _rate(stated: float | None, measured: MeasuredRate | None) -> RateReport:
    return RateReport(
        stated=stated,
        measured=measured.mean if measured else None,
        constant=measured.constant if measured else None,
        shortest=measured.shortest if measured else None,
        longest=measured.longest if measured else None,
    )


def _geometry(framing: Framing, displayed: tuple[int, int], clip_format: ClipFormat) -> GeometryReport:
    top, left, bottom, right = framing.placement.box
    rows, columns = framing.placement.size
    turned = clip_format.image_size[:: -1 if framing.orientation.transpose else 1]
    bars = turned[0] - rows, turned[1] - columns
    return GeometryReport(
        stored=framing.frame,
        displayed=displayed,
        pixel_aspect=framing.aspect,
        rotation=framing.orientation.rotation,
        mirrored=framing.orientation.mirrored,
        fit=clip_format.fit,
        region=(framing.cropping.top + top, framing.cropping.left + left, bottom - top, right - left),
        scale=(rows / (bottom - top), columns / (right - left)),
        picture=clip_format.image_size,
        bars=bars[::-1] if framing.orientation.transpose else bars,
    )


def _colours(framing: Framing) -> ColourReport:
    names = ColourNames.of(framing.colours)
    is_rgb = framing.model == "rgb"
    pq = framing.tone_mapped and names.transfer == "PQ"
    return ColourReport(
        matrix="RGB" if is_rgb else names.matrix,
        matrix_stated=is_rgb or framing.matrix_stated,
        range="full" if framing.colours.full_range else "limited",
        range_stated=is_rgb or framing.range_stated,
        transfer=names.transfer,
        primaries=names.primaries,
        tone_mapped=framing.tone_mapped,
        peak=(framing.peak or USUAL_PEAK) if pq else None,
    )
