"""Read videos as pictures at a fixed rate and as clips, and write videos. Nothing here imports torch."""

from cvivit.video.reading import ClipReader, ReadClips, display_size, read_clips, read_frames
from cvivit.video.settings import ClipFormat, Fit, VideoLimits
from cvivit.video.source import VideoSource
from cvivit.video.writing import VideoContainer, encode_video, write_video

__all__ = [
    "ClipFormat",
    "ClipReader",
    "Fit",
    "ReadClips",
    "VideoContainer",
    "VideoLimits",
    "VideoSource",
    "display_size",
    "encode_video",
    "read_clips",
    "read_frames",
    "write_video",
]
