"""Video files as pictures on the clip's clock, and as clips of them. No torch in here."""

from cvivit.video.reading import ClipReader, read_clips, read_frames
from cvivit.video.settings import ClipFormat, Fit, VideoLimits
from cvivit.video.source import VideoSource

__all__ = ["ClipFormat", "ClipReader", "Fit", "VideoLimits", "VideoSource", "read_clips", "read_frames"]
